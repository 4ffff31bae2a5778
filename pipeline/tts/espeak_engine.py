"""Speech from espeak-ng for many calls at once: streamed, cancellable, with the time of every word.

espeak-ng speaks one text at a time, some hundred times faster than real time. So all calls share one thread, and a text is
synthesised piece by piece (a sentence, or a part of a long one: at most some 15 ms of work). A call hands in its next piece
when the last is done, behind the pieces of the other calls, which makes them take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from agent.record import Word
from pipeline.tts.espeak_library import MAX_RATE_WPM, MIN_RATE_WPM, EspeakError, EspeakLibrary, WordEvent
from pipeline.tts.spoken_text import Piece, pause_s, pieces
from pipeline.tts.word_times import WordTimer

MAX_TEXT_CHARS = 5_000
_MAX_AHEAD_S = 4.0  # undelivered audio of one call beyond which its next piece waits
_SILENCE_CHUNK_S = 0.06


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """At most 100 ms of speech as mono pcm16 (empty where only words remain), and the words whose end is known with it.

    Word times are seconds from the first sample of the utterance.
    """

    pcm: bytes
    words: list[Word] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Voice:
    name: str
    rate_wpm: int
    pitch: int


class EspeakSynthesizer:
    """espeak-ng behind one thread. ``load`` it first; ``close`` ends the thread."""

    def __init__(self) -> None:
        self._library: EspeakLibrary | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._open: set[Utterance] = set()

    @property
    def rate_hz(self) -> int:
        """Sample rate of all audio."""
        return self._loaded().rate_hz

    @property
    def voices(self) -> tuple[str, ...]:
        """Language codes that name a voice, English ones first."""
        return self._loaded().voices

    @property
    def version(self) -> str:
        """espeak-ng's version."""
        return self._loaded().version

    @property
    def active(self) -> int:
        """Utterances that are neither finished nor cancelled."""
        return len(self._open)

    async def load(self) -> None:
        """Load the library and start the thread. Calling it again changes nothing.

        Raises:
            EspeakError: where the library cannot be had.
        """
        if self._executor is not None:
            return
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="espeak")
        try:
            self._library = await asyncio.wrap_future(executor.submit(EspeakLibrary.open))
        except BaseException:
            executor.shutdown(wait=False)
            raise
        self._executor = executor

    async def close(self) -> None:
        """Cancel every utterance and end the thread. Safe to call twice."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        for utterance in list(self._open):
            utterance.cancel()
        # A cancelled piece stops within 60 ms of audio, so waiting for the thread to come free takes no time.
        await asyncio.wrap_future(executor.submit(lambda: None))
        executor.shutdown(wait=True)

    def check_voice(self, voice: str) -> str:
        """The library's name of ``voice``.

        Raises:
            UnknownVoice: naming the voices there are.
        """
        return self._loaded().voice_name(voice)

    def synthesize(self, text: str, *, voice: str = "en-us", rate_wpm: int = 150, pitch: int = 50) -> Utterance:
        """Speak ``text`` as plain text: no SSML, no phoneme brackets, no control codes. Call it in a running event loop.

        A text of which nothing can be spoken (empty, white space, emoji, punctuation alone) gives no chunk at all. Scripts
        that the voice does not know are spelled or skipped, as espeak-ng does.

        Raises:
            UnknownVoice: naming the voices there are.
            ValueError: naming the value that is out of range.
            EspeakError: where ``load`` has not been called.
        """
        name = self.check_voice(voice)
        if not MIN_RATE_WPM <= rate_wpm <= MAX_RATE_WPM:
            raise ValueError(f"rate_wpm must be {MIN_RATE_WPM} to {MAX_RATE_WPM}, not {rate_wpm}")
        if not 0 <= pitch <= 100:
            raise ValueError(f"pitch must be 0 to 100, not {pitch}")
        if len(text) > MAX_TEXT_CHARS:
            raise ValueError(f"a text may have {MAX_TEXT_CHARS} characters, not {len(text)}")
        utterance = Utterance(self, text, _Voice(name, rate_wpm, pitch))
        self._open.add(utterance)
        utterance._advance()
        return utterance

    def _loaded(self) -> EspeakLibrary:
        if self._library is None or self._executor is None:
            raise EspeakError("espeak is not loaded")
        return self._library


class Utterance(AsyncIterator[SpeechChunk]):
    """The chunks of one text, in order. Belongs to the event loop that made it.

    Iterate it to its end, or ``cancel`` it; nothing else has to be released.
    """

    def __init__(self, owner: EspeakSynthesizer, text: str, voice: _Voice) -> None:
        self._owner = owner
        self._voice = voice
        self._loop = asyncio.get_running_loop()
        self._pieces = deque(pieces(text))
        self._chunks: deque[SpeechChunk] = deque()
        self._arrived = asyncio.Event()
        self._in_flight = False
        self._error: BaseException | None = None
        self._closed = False  # no further piece is synthesised; chunks may wait
        self._cancelled = False
        self._samples = 0  # synthesised so far; only the thread changes it while a piece is in flight
        self._delivered = 0
        self._last_text = ""
        self.produced = 0
        """Chunks that came out of the synthesiser, delivered or not."""

    def cancel(self) -> None:
        """Stop at once: the iterator ends, and the thread is free within 60 ms of audio (well under a millisecond)."""
        self._cancelled = True
        self._close()
        self._chunks.clear()

    async def aclose(self) -> None:
        """``cancel``, under the name that ``contextlib.aclosing`` calls."""
        self.cancel()

    async def __anext__(self) -> SpeechChunk:
        while not self._chunks or self._cancelled:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            # A chunk may have come between the test and the clearing; its thread saw the flag still set.
            if not self._chunks:
                await self._arrived.wait()
        chunk = self._chunks.popleft()
        self._delivered += len(chunk.pcm) // 2
        self._advance()
        return chunk

    def _advance(self) -> None:
        """Hand the next piece to the thread, unless one is there or enough audio waits. Runs on the event loop."""
        if self._closed or self._in_flight:
            return
        if not self._pieces:
            self._close()
            return
        if self._samples - self._delivered > _MAX_AHEAD_S * self._owner.rate_hz:
            return
        executor = self._owner._executor
        if executor is None:
            self._error = EspeakError("espeak was closed")
            self._close()
            return
        self._in_flight = True
        executor.submit(self._run, self._owner._loaded(), self._pieces.popleft())

    def _close(self) -> None:
        self._closed = True
        self._pieces.clear()
        self._owner._open.discard(self)
        self._arrived.set()

    # In the synthesiser's thread.

    def _run(self, library: EspeakLibrary, piece: Piece) -> None:
        error: BaseException | None = None
        try:
            if not self._closed:
                self._speak(library, piece)
        except BaseException as e:
            error = e
        self._call(self._piece_done, error)

    def _speak(self, library: EspeakLibrary, piece: Piece) -> None:
        rate = library.rate_hz
        if self._samples:
            self._emit_silence(round(pause_s(self._last_text, self._voice.rate_wpm) * rate), rate)
        self._last_text = piece.tokens[-1].text
        timer = WordTimer(piece.tokens, rate, self._samples)

        def sink(pcm: bytes, events: list[WordEvent]) -> bool:
            if self._closed:
                return True
            timer.audio(pcm)
            words = [word for event in events for word in timer.start(event.position, event.sample)]
            self._emit(SpeechChunk(pcm, words))
            return False

        library.speak(piece.spoken, voice=self._voice.name, rate_wpm=self._voice.rate_wpm, pitch=self._voice.pitch, sink=sink)
        if not self._closed:
            self._emit(SpeechChunk(b"", timer.finish()))

    def _emit_silence(self, samples: int, rate: int) -> None:
        step = int(_SILENCE_CHUNK_S * rate)
        for start in range(0, samples, step):
            self._emit(SpeechChunk(bytes(2 * min(step, samples - start))))

    def _emit(self, chunk: SpeechChunk) -> None:
        self._samples += len(chunk.pcm) // 2
        self.produced += 1
        self._chunks.append(chunk)
        if not self._arrived.is_set():
            self._call(self._arrived.set)
        # espeak-ng is back for the interpreter's lock so soon that the event loop would often get it only after the switch
        # interval of 5 ms. Letting go of it here brings the 99th percentile of the first chunk from 9 ms to 1 ms.
        time.sleep(0)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody listens
            self._closed = True

    # On the event loop again.

    def _piece_done(self, error: BaseException | None) -> None:
        self._in_flight = False
        if self._closed:
            return
        if error is not None:
            self._error = error
            self._close()
            return
        self._advance()
