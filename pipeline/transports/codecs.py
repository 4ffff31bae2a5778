"""What telephones and clients speak: G.711 and plain samples, and the way from 8 kHz to the recogniser's rate. Pure."""

from __future__ import annotations

import audioop
from typing import Literal

import numpy as np

from pipeline.messages import INPUT_RATE_HZ
from pipeline.tts.resample import StreamResampler

Encoding = Literal["mulaw", "alaw", "pcm16", "pcm16be"]
_SILENCE = {"mulaw": b"\xff", "alaw": b"\xd5", "pcm16": b"\0", "pcm16be": b"\0"}
_HALF_TAPS = 16
"""Half of the doubler's taps at the lower rate, which is its delay, too: 2 ms."""


class Codec:
    """An encoding (ITU-T G.711 µ-law or A-law, or pcm16 in either byte order; mono) at a sample rate."""

    def __init__(self, encoding: Encoding, rate_hz: int = 8_000) -> None:
        self.encoding = encoding
        self.rate_hz = rate_hz
        self.sample_bytes = 1 if encoding in ("mulaw", "alaw") else 2

    def __repr__(self) -> str:
        return f"Codec({self.encoding!r}, {self.rate_hz})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codec) and (self.encoding, self.rate_hz) == (other.encoding, other.rate_hz)

    def __hash__(self) -> int:
        return hash((self.encoding, self.rate_hz))

    def encode(self, pcm16: bytes) -> bytes:
        """Little-endian pcm16 as it is sent."""
        match self.encoding:
            case "mulaw":
                return audioop.lin2ulaw(pcm16, 2)
            case "alaw":
                return audioop.lin2alaw(pcm16, 2)
            case "pcm16be":
                return audioop.byteswap(pcm16, 2)
            case _:
                return pcm16

    def decode(self, encoded: bytes) -> bytes:
        """What was received as little-endian pcm16.

        Raises:
            ValueError: not whole samples.
        """
        if len(encoded) % self.sample_bytes:
            raise ValueError(f"{len(encoded)} bytes are no whole samples")
        match self.encoding:
            case "mulaw":
                return audioop.ulaw2lin(encoded, 2)
            case "alaw":
                return audioop.alaw2lin(encoded, 2)
            case "pcm16be":
                return audioop.byteswap(encoded, 2)
            case _:
                return encoded

    def silence(self, samples: int) -> bytes:
        """``samples`` of silence as they are sent."""
        return _SILENCE[self.encoding] * (samples * self.sample_bytes)


class Doubler:
    """pcm16 of a stream at twice its rate, 2 ms late at 8 kHz.

    A half-band low-pass filter (windowed sinc, Kaiser's window, beta 6: images lie 60 dB down from 0.575 of the output's half
    rate on): samples in between are made, those that there are pass as they are. soxr's streaming resampler would do as well
    but for its blocks: at 8 kHz it gives nothing for 100 ms and then all at once, which every answer would wait for.
    """

    def __init__(self) -> None:
        position = np.arange(-_HALF_TAPS, _HALF_TAPS) + 0.5
        taps = np.sinc(position) * np.kaiser(2 * _HALF_TAPS, 6.0)
        self._taps = (taps / taps.sum()).astype(np.float32)
        self._past = np.zeros(2 * _HALF_TAPS - 1, np.float32)

    def process(self, pcm16: bytes) -> bytes:
        """Twice as many samples as were given."""
        if not pcm16:
            return b""
        samples = np.concatenate([self._past, np.frombuffer(pcm16, np.int16).astype(np.float32)])
        self._past = samples[-(2 * _HALF_TAPS - 1) :]
        count = len(samples) - (2 * _HALF_TAPS - 1)
        doubled = np.empty(2 * count, np.float32)
        # Each of the samples in between lies half a sample behind the middle of its taps.
        doubled[0::2] = samples[_HALF_TAPS - 1 : _HALF_TAPS - 1 + count]
        doubled[1::2] = np.convolve(samples, self._taps, "valid")
        return np.clip(np.rint(doubled), -32768, 32767).astype(np.int16).tobytes()


def to_recogniser(rate_hz: int) -> Doubler | StreamResampler:
    """What brings a stream at ``rate_hz`` to the rate of the pipeline's input."""
    return Doubler() if 2 * rate_hz == INPUT_RATE_HZ else StreamResampler(rate_hz, INPUT_RATE_HZ)
