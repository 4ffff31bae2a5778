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
_PRE_EMPHASIS = 0.97
_LIFTER = 22
_LOG_FLOOR = 1e-4

_POWER_DECAY = 0.7
_RISE, _FALL = 0.995, 0.5
_PEAK_DECAY, _MASKED = 0.85, 0.2
_MAX_GAIN = 20.0
_SMOOTHED = 4


def cepstra(pcm16: bytes) -> Floats:
    """Cepstra of mono pcm16 at 16 kHz, shape ``(frames, 13)``, one frame each 10 ms; their mean is not subtracted.

    The last frame is filled up with zeros. No frames where there is no sample.
    """
    samples = np.frombuffer(pcm16, "<i2", len(pcm16) // 2).astype(np.float64)
    if not len(samples):
        return np.zeros((0, CEPSTRA), np.float32)
    frames = 1 + max(0, -(-(len(samples) - WINDOW) // SHIFT))
    signal = np.zeros((frames - 1) * SHIFT + WINDOW)
    signal[: len(samples)] = samples
    signal[1 : len(samples)] -= _PRE_EMPHASIS * samples[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::SHIFT] * np.hamming(WINDOW)
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2
    mel = _without_noise(power @ _MEL)
    return (np.log(mel + _LOG_FLOOR) @ _COSINES).astype(np.float32)


def _without_noise(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel powers of shape ``(frames, filters)`` without stationary noise."""
    power = mel[0].copy()
    noise = mel[0] / _MAX_GAIN
    floor = noise.copy()
    peak = np.zeros_like(noise)
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
