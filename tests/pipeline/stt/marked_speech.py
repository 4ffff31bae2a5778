"""Real speech whose words can be told by machine: each is marked by a high tone of its own, the pilot, over its length.

So a stand-in for a recogniser hears words in the audio itself, whatever part of it reaches it, and through any resampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FIRST_HZ, STEP_HZ, PILOTS = 3600.0, 150.0, 24
"""Below 8 kHz, and each on a multiple of a frame's own frequency (12.5 Hz)."""
PILOT_PEAK = 4000.0
_HEARD = 300.0
RATE_HZ = 16_000
FRAME_HZ = 12.5


def pilot_hz(number: int) -> float:
    return FIRST_HZ + STEP_HZ * (number % PILOTS)


def mark(pcm16: bytes, numbers: Sequence[int], *, begin_s: float, end_s: float) -> bytes:
    """``pcm16`` (16 kHz) with the words ``numbers`` one after the other between the two times, in equal parts."""
    audio = np.frombuffer(pcm16, np.int16).astype(np.float64)
    length_s = (end_s - begin_s) / len(numbers)
    for i, number in enumerate(numbers):
        first = round((begin_s + i * length_s) * RATE_HZ)
        last = round((begin_s + (i + 1) * length_s - 0.04) * RATE_HZ)
        t = np.arange(last - first) / RATE_HZ
        audio[first:last] += PILOT_PEAK * np.sin(2 * np.pi * pilot_hz(number) * t)
    return bytes(audio.clip(-32768, 32767).astype("<i2").tobytes())


def pilot(frame: np.ndarray) -> int | None:
    """Which word a frame of 80 ms belongs to; ``frame`` is float with full scale 1, at 24 kHz."""
    spectrum = np.abs(np.fft.rfft(frame)) / len(frame) * 2 * 32768
    bins = [round(pilot_hz(n) / FRAME_HZ) for n in range(PILOTS)]
    levels = [float(spectrum[b]) for b in bins]
    best = int(np.argmax(levels))
    others = np.delete(levels, best)
    return best if levels[best] > max(_HEARD * 2, 2.5 * float(np.max(others))) else None
