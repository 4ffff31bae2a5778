"""The spare voice: the few lines of ``lines.py`` as audio, made when the process starts, for when the tutor's own voice fails.

They are spoken by espeak-ng, which comes with every installation. Where even that cannot be had, two falling tones take their
place: audible, and the words are on the screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from loguru import logger

from pipeline.faults.lines import SPOKEN
from pipeline.tts.espeak_library import EspeakError, EspeakLibrary, UnknownVoice
from pipeline.tts.resample import StreamResampler

_VOICE = "en-us"
_RATE_WPM = 140
_PITCH = 50
_TONE_RATE_HZ = 24_000
_TONES_HZ = (660.0, 440.0)
_TONE_S = 0.25
_TONE_AMPLITUDE = 6000


class SpareVoice:
    """Rendered lines, as pcm16 mono at ``rate_hz``."""

    def __init__(self, lines: Mapping[str, bytes], rate_hz: int) -> None:
        self._lines = lines
        self._rate_hz = rate_hz

    @classmethod
    def render(cls, texts: Iterable[str] = SPOKEN) -> SpareVoice:
        """Speak every line; blocking, some 3 ms each."""
        try:
            library = EspeakLibrary.open()
            voice = library.voice_name(_VOICE)
            return cls({text: _speak(library, voice, text) for text in texts}, library.rate_hz)
        except (EspeakError, UnknownVoice) as e:
            logger.warning("no spare voice, tones instead: {}", e)
            return cls({}, _TONE_RATE_HZ)

    def pcm(self, text: str, rate_hz: int) -> bytes:
        """The line ``text`` as pcm16 mono at ``rate_hz``; two tones for a text that was not rendered. Takes a few ms."""
        pcm = self._lines.get(text)
        from_hz = self._rate_hz
        if pcm is None:
            pcm, from_hz = _tones(), _TONE_RATE_HZ
        resampler = StreamResampler(from_hz, rate_hz)
        return resampler.process(pcm) + resampler.flush()


def _speak(library: EspeakLibrary, voice: str, text: str) -> bytes:
    chunks: list[bytes] = []

    def take(pcm: bytes, _words: object) -> bool:
        chunks.append(pcm)
        return False

    library.speak(text, voice=voice, rate_wpm=_RATE_WPM, pitch=_PITCH, sink=take)
    return b"".join(chunks)


def _tones() -> bytes:
    t = np.arange(round(_TONE_S * _TONE_RATE_HZ)) / _TONE_RATE_HZ
    fade = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.01)
    return b"".join((_TONE_AMPLITUDE * fade * np.sin(2 * np.pi * hz * t)).astype("<i2").tobytes() for hz in _TONES_HZ)
