"""espeak-ng through ctypes: one library per process, one text at a time.

The library and its data come with the ``espeakng-loader`` package; espeak-ng is GPL-3, licensed separately from this program.
Its C API keeps global state and is not thread-safe, so a lock lets one text through at a time. The calls release the GIL; the
callback takes it for some microseconds per 60 ms of audio. The library stays initialised until the process ends.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

# speak_lib.h of espeak-ng 1.52.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1  # and nothing else: no SSML (0x10), no [[phonemes]] (0x100)
_POS_CHARACTER = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_EVENT_LIST_TERMINATED = 0
_EVENT_WORD = 1

MIN_RATE_WPM, MAX_RATE_WPM = 80, 450


class EspeakError(RuntimeError):
    """espeak-ng could not be loaded, or failed on a text."""


class UnknownVoice(ValueError):
    """A voice that espeak-ng does not have."""


@dataclass(frozen=True, slots=True)
class WordEvent:
    """A word starts: ``position`` is its character in the text, from 0; ``sample`` its sample in the text's audio."""

    position: int
    sample: int


Sink = Callable[[bytes, list[WordEvent]], bool]
"""Takes a chunk of pcm16 and the words that start in it; returns true to stop the synthesis."""


class _EventId(ctypes.Union):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class _Voice(ctypes.Structure):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class EspeakLibrary:
    """The process's espeak-ng. Get it with ``open``; every method may be called from any thread."""

    _instance: ClassVar[EspeakLibrary | None] = None
    _opening: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def open(cls) -> EspeakLibrary:
        """Load the library, or return the one that is loaded. Takes some ms the first time.

        Raises:
            EspeakError: where the package is missing or does not fit this machine.
        """
        with cls._opening:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    def __init__(self) -> None:
        try:
            import espeakng_loader

            lib = ctypes.CDLL(espeakng_loader.get_library_path())
            data = Path(espeakng_loader.get_data_path())
        except (ImportError, OSError, RuntimeError) as e:
            raise EspeakError(f"the espeak voice needs the package espeakng-loader: pip install espeakng-loader ({e})") from e
        self._lib = lib
        self._lock = threading.Lock()
        self._sink: Sink | None = None
        self._failure: BaseException | None = None
        self._voice: str | None = None
        lib.espeak_Info.restype = ctypes.c_char_p
        lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self.rate_hz: int = lib.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), _INITIALIZE_DONT_EXIT)
        """Sample rate of all audio."""
        if self.rate_hz <= 0:
            raise EspeakError("espeak-ng could not be initialised with the data of espeakng-loader")
        self.version: str = lib.espeak_Info(None).decode(errors="replace")
        self._callback = _Callback(self._on_audio)  # kept: the library holds only the address
        lib.espeak_SetSynthCallback(self._callback)
        self._names, self.voices = self._list_voices()
        """``voices``: the language codes that name a voice, English ones first."""
        self._variants = {p.name.lower(): p.name for p in (data / "voices" / "!v").glob("*") if p.is_file()}

    def _list_voices(self) -> tuple[dict[str, str], tuple[str, ...]]:
        names: dict[str, str] = {}
        codes: list[str] = []
        listed = self._lib.espeak_ListVoices(None)
        i = 0
        while listed[i]:
            voice = listed[i].contents
            identifier = voice.identifier.decode(errors="replace")
            code = ctypes.string_at(voice.languages + 1).decode(errors="replace")  # behind a byte of priority
            codes.append(code)
            for name in (code, identifier, voice.name.decode(errors="replace")):
                names.setdefault(name.lower(), identifier)
            i += 1
        return names, tuple(sorted(set(codes), key=lambda c: (not c.startswith("en"), c)))

    def voice_name(self, voice: str) -> str:
        """The library's own name of ``voice``: a language code, a name or an identifier, with an optional ``+variant``.

        Raises:
            UnknownVoice: naming the voices or variants there are.
        """
        base, plus, variant = voice.strip().partition("+")
        identifier = self._names.get(base.lower())
        if identifier is None:
            raise UnknownVoice(f"espeak has no voice {base[:60]!r}; it has {', '.join(self.voices)}")
        if not plus:
            return identifier
        known = self._variants.get(variant.lower())
        if known is None:
            raise UnknownVoice(f"espeak has no voice variant {variant[:60]!r}; it has {', '.join(sorted(self._variants))}")
        return f"{identifier}+{known}"

    def speak(self, text: str, *, voice: str, rate_wpm: int, pitch: int, sink: Sink) -> None:
        """Synthesise ``text`` as plain text, blocking; ``sink`` is called in this thread with each chunk of some 60 ms.

        ``voice`` is one that ``voice_name`` returned. What ``sink`` raises comes out of here.

        Raises:
            EspeakError: where espeak-ng refuses the voice or the text.
        """
        data = text.encode("utf-8", errors="replace").replace(b"\0", b" ") + b"\0"
        with self._lock:
            if voice != self._voice:
                self._voice = None
                if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
                    raise EspeakError(f"espeak-ng could not load the voice {voice!r}")
                self._voice = voice
            self._lib.espeak_SetParameter(_PARAMETER_RATE, rate_wpm, 0)
            self._lib.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
            self._sink, self._failure = sink, None
            try:
                status = self._lib.espeak_Synth(data, len(data), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
                failure = self._failure
            finally:
                self._sink = self._failure = None
        if failure is not None:
            raise failure
        if status != 0:
            raise EspeakError(f"espeak-ng failed with status {status} on a text of {len(text)} characters")

    def _on_audio(self, wav: int | None, samples: int, events: Any) -> int:
        """The library's callback: 0 goes on, 1 stops. It must not raise, because ctypes would swallow that."""
        try:
            if self._sink is None:
                return 1
            words: list[WordEvent] = []
            i = 0
            while events[i].type != _EVENT_LIST_TERMINATED:
                if events[i].type == _EVENT_WORD:
                    words.append(WordEvent(events[i].text_position - 1, events[i].sample))
                i += 1
            pcm = ctypes.string_at(wav, samples * 2) if wav and samples > 0 else b""
            if not pcm and not words:
                return 0
            return 1 if self._sink(pcm, words) else 0
        except BaseException as e:
            self._failure = e
            return 1
