"""What a voice's frames become on the wire: the four formats of ``format=``, and WAV.

The formats are those of moshi-server (``rust/moshi-server/src/tts.rs``). Two are MessagePack and carry words and errors beside
the audio; two are bare bytes, in which whatever is no audio has no place: their listener learns of an error by the code and
the reason with which the socket closes.
"""

from __future__ import annotations

import struct
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.kyutai.schedule.backlog import FRAME
from engines.wire.kyutai import TTS_FORMATS, Audio, OggOpus, Pcm16, TtsOut, pack

RATE_HZ = 24_000
PEAK_INT16 = 32767
UNKNOWN_LENGTH = 0xFFFFFFFF
"""What stands for a length in the header of a WAV that is still being made."""
_PAGE = b"OggS"
_HEADER_PAGES = 2  # OpusHead and OpusTags

Frame = npt.NDArray[np.float32]
"""Samples in [-1, 1] at 24 kHz, shape ``[samples]``."""


class Encoding(Protocol):
    """One stream's. ``structured``: whether messages other than audio can be sent."""

    structured: bool

    def header(self) -> bytes | None:
        """What is sent before the first frame, once; ``None`` where there is nothing to send."""

    def audio(self, pcm: Frame) -> bytes:
        """A frame, of 80 ms, as one WebSocket message."""


def encoding(name: str, *, pcm16: bool = False) -> Encoding:
    """The encoding of ``format=name``. ``pcm16``: the extension of that name is granted; it changes ``PcmMessagePack`` only.

    :raises ValueError: where there is no such format; the text names those that there are
    """
    if name == "Pcm":
        return _Pcm()
    if name == "PcmMessagePack":
        return _PcmMessages(pcm16)
    if name == "OggOpus":
        return _Opus(structured=False)
    if name == "OggOpusMessagePack":
        return _Opus(structured=True)
    raise ValueError(f"unknown format {name[:40]!r}; there are: {', '.join(TTS_FORMATS)}")


def message(how: Encoding, content: TtsOut) -> bytes | None:
    """A message that is no audio, as it goes to this stream's listener; ``None`` where the format has no place for it."""
    return pack(content) if how.structured else None


def int16(pcm: Frame) -> bytes:
    """Samples as little-endian 16-bit integers; what lies outside [-1, 1] is cut off."""
    return np.rint(np.clip(pcm, -1.0, 1.0) * PEAK_INT16).astype("<i2").tobytes()


def wav_header(samples: int | None = None) -> bytes:
    """The 44 bytes before 16-bit mono samples at 24 kHz. ``samples``: how many follow; ``None``: not known yet."""
    size = UNKNOWN_LENGTH if samples is None else 2 * samples
    whole = UNKNOWN_LENGTH if samples is None else 36 + size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVE" + form + b"data" + struct.pack("<I", size)


class _Pcm:
    structured = False

    def header(self) -> bytes | None:
        return None

    def audio(self, pcm: Frame) -> bytes:
        return pcm.astype("<f4").tobytes()


class _PcmMessages:
    structured = True

    def __init__(self, pcm16: bool) -> None:
        self._pcm16 = pcm16

    def header(self) -> bytes | None:
        return None

    def audio(self, pcm: Frame) -> bytes:
        return pack(Pcm16(int16(pcm)) if self._pcm16 else Audio(pcm.tolist()))


class _Opus:
    """The writer gives its header with the first frame, but a listener wants it at once: it is taken from a writer of its own,
    which writes the same, and cut off where it comes again."""

    def __init__(self, *, structured: bool) -> None:
        import sphn

        self.structured = structured
        self._writer = sphn.OpusStreamWriter(RATE_HZ)
        spare = bytes(sphn.OpusStreamWriter(RATE_HZ).append_pcm(np.zeros(FRAME, np.float32)))
        at = 0
        for _ in range(_HEADER_PAGES):
            at = spare.index(_PAGE, at + 1)
        self._header = spare[:at]
        self._begun = False

    def header(self) -> bytes | None:
        return self._out(self._header)

    def audio(self, pcm: Frame) -> bytes:
        pages = bytes(self._writer.append_pcm(pcm))
        if not self._begun:
            self._begun = True
            pages = pages.removeprefix(self._header)
        return self._out(pages)

    def _out(self, pages: bytes) -> bytes:
        return pack(OggOpus(pages)) if self.structured else pages
