"""Mel cepstra as pocketsphinx's front end computes them, so that its acoustic model can be used without its search.

pocketsphinx gives no access to its cepstra. The parameters are those of the English model of its wheel (``feat.params``): 25
mel filters from 130 to 6,800 Hz, noise removal, 13 cepstra, liftered. The mel scale is that of Davis and Mermelstein (1980);
the noise removal follows Kim and Stern, "Power-normalized cepstral coefficients" (2012): a lower envelope of each filter's
power is subtracted, weak sounds after loud ones are masked, and the gains are smoothed over neighbouring filters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE_HZ = 16_000
SHIFT = 160
WINDOW = 410
CEPSTRA = 13

_FFT = 512
_FILTERS = 25
_LOW_HZ, _HIGH_HZ = 130.0, 6_800.0
_NARROW_FILTERS = 20
"""Those that hear something of a band of 4 kHz: the 20th lies at 3,446 to 4,212 Hz."""
_PRE_EMPHASIS = 0.97
_LIFTER = 22
_LOG_FLOOR = 1e-4

_POWER_DECAY = 0.7
_RISE, _FALL = 0.995, 0.5
_PEAK_DECAY, _MASKED = 0.85, 0.2
_MAX_GAIN = 20.0
_SMOOTHED = 4


class FrontEnd:
    """The cepstra of one utterance, as its audio comes in. Stateful, one thread.

    ``narrow``: the audio has nothing above 4 kHz (``pipeline.stt.narrowband`` tells). The filters that lie there hear the
    rounding of samples and no speech, and each cepstrum is a sum over all filters, so that emptiness is in all thirteen. They
    take the power of the highest filter that lies below.
    """

    def __init__(self, *, narrow: bool = False) -> None:
        self._narrow = narrow
        self._noise = _NoiseRemoval()
        self._samples = np.zeros(0)
        self._before: float | None = None  # the last sample that pre-emphasis has seen; None before the first

    def process(self, pcm16: bytes) -> Floats:
        """Cepstra of the frames that more mono pcm16 at 16 kHz completes, shape ``(frames, 13)``; half a sample is left out."""
        samples = np.frombuffer(pcm16, "<i2", len(pcm16) // 2).astype(np.float64)
        if len(samples):
            emphasised = samples.copy()
            emphasised[1:] -= _PRE_EMPHASIS * samples[:-1]
            emphasised[0] -= _PRE_EMPHASIS * (self._before or 0.0)
            self._before = float(samples[-1])
            self._samples = np.concatenate([self._samples, emphasised])
        frames = max(0, 1 + (len(self._samples) - WINDOW) // SHIFT)
        out = self._frames(self._samples, frames)
        self._samples = self._samples[frames * SHIFT :]
        return out

    def finish(self) -> Floats:
        """Those of the samples that are left, filled up with zeros: one frame, or none of nothing. The last call."""
        # What a window leaves over for the next one has been heard already, but for an utterance of less than a window.
        heard = WINDOW - SHIFT if self._noise.started else 0
        if len(self._samples) <= heard:
            return self._frames(self._samples, 0)
        return self._frames(np.pad(self._samples, (0, WINDOW - len(self._samples))), 1)

    def _frames(self, signal: NDArray[np.float64], count: int) -> Floats:
        if not count:
            return np.zeros((0, CEPSTRA), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::SHIFT][:count] * np.hamming(WINDOW)
        mel = np.abs(np.fft.rfft(windows, _FFT)) ** 2 @ _MEL
        if self._narrow:
            mel[:, _NARROW_FILTERS:] = mel[:, _NARROW_FILTERS - 1 : _NARROW_FILTERS]
        return (np.log(self._noise.process(mel) + _LOG_FLOOR) @ _COSINES).astype(np.float32)


def cepstra(pcm16: bytes, *, narrow: bool = False) -> Floats:
    """Cepstra of mono pcm16 at 16 kHz, shape ``(frames, 13)``, one frame each 10 ms; their mean is not subtracted.

    The last frame is filled up with zeros. No frames where there is no sample. ``narrow``: see ``FrontEnd``.
    """
    front_end = FrontEnd(narrow=narrow)
    return np.concatenate([front_end.process(pcm16), front_end.finish()])


class _NoiseRemoval:
    """Takes stationary noise out of the mel powers of one frame after another."""

    def __init__(self) -> None:
        self._state: tuple[NDArray[np.float64], ...] = ()

    @property
    def started(self) -> bool:
        """Whether there was a frame."""
        return bool(self._state)

    def process(self, mel: NDArray[np.float64]) -> NDArray[np.float64]:
        """``mel`` of shape ``(frames, filters)``, at least one frame, without the noise."""
        power, noise, floor, peak = self._state or (mel[0], mel[0] / _MAX_GAIN, mel[0] / _MAX_GAIN, np.zeros(_FILTERS))
        gains = np.empty_like(mel)
        for at, now in enumerate(mel):
            power = _POWER_DECAY * power + (1.0 - _POWER_DECAY) * now
            noise = _envelope(power, noise)
            signal = np.maximum(power - noise, 1.0)
            floor = _envelope(signal, floor)
            peak = _PEAK_DECAY * peak
            masked = np.where(signal < _PEAK_DECAY * peak, _MASKED * peak, signal)
            peak = np.maximum(peak, signal)
            gains[at] = np.maximum(masked, floor) / np.maximum(power, 1e-30)
        self._state = power, noise, floor, peak
        return mel * (np.clip(gains, 1.0 / _MAX_GAIN, _MAX_GAIN) @ _SMOOTHING)


def _envelope(value: NDArray[np.float64], floor: NDArray[np.float64]) -> NDArray[np.float64]:
    decay = np.where(value >= floor, _RISE, _FALL)
    return decay * floor + (1.0 - decay) * value


def _mel_filters() -> NDArray[np.float64]:
    """Triangles of equal area, evenly spaced in mel, their corners on FFT bins. Shape ``(bins, filters)``."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (_LOW_HZ, _HIGH_HZ))
    corners_hz = 700.0 * (10.0 ** (np.linspace(low, high, _FILTERS + 2) / 2595.0) - 1.0)
    bin_hz = RATE_HZ / _FFT
    corners_hz = np.floor(corners_hz / bin_hz + 0.5) * bin_hz
    hz = np.arange(_FFT // 2 + 1)[:, None] * bin_hz
    left, middle, right = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    rising, falling = (hz - left) / (middle - left), (right - hz) / (right - middle)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (right - left))


def _liftered_cosines() -> NDArray[np.float64]:
    """The orthonormal DCT-II and the lifter in one matrix. Shape ``(filters, cepstra)``."""
    order = np.arange(CEPSTRA)
    matrix = np.sqrt(2.0 / _FILTERS) * np.cos(np.pi / _FILTERS * np.outer(np.arange(_FILTERS) + 0.5, order))
    matrix[:, 0] /= np.sqrt(2.0)
    return np.asarray(matrix * (1.0 + _LIFTER / 2.0 * np.sin(np.pi * order / _LIFTER)))


def _neighbours() -> NDArray[np.float64]:
    """The mean over up to ``_SMOOTHED`` filters on each side, as a matrix."""
    near = np.abs(np.subtract.outer(np.arange(_FILTERS), np.arange(_FILTERS))) <= _SMOOTHED
    return np.asarray(near / near.sum(axis=0))


_MEL = _mel_filters()
_COSINES = _liftered_cosines()
_SMOOTHING = _neighbours()
