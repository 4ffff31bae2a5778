"""Tones, and how loud one is in a mixture: for the tests of audio."""

from __future__ import annotations

import numpy as np


def tone(hz: float, rate_hz: int, seconds: float, level: float = 8_000.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.int16)


def level_db(pcm: np.ndarray, hz: float, rate_hz: int) -> float:
    """The level of one frequency, in dB of full scale."""
    window = np.hanning(len(pcm))
    t = np.arange(len(pcm)) / rate_hz
    amplitude = 2 * abs(np.sum(pcm * window * np.exp(-2j * np.pi * hz * t))) / window.sum()
    return float(20 * np.log10(max(amplitude, 1e-9) / 32_768))
