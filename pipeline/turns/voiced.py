"""Where the learner's voice began and ended in the audio itself. Pure: levels and positions in, positions out.

The voice activity detector decides late by design (it waits for evidence); latency is measured from the last voiced
sample, so that sample is looked up afterwards in a short memory of levels.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

WINDOW_S = 0.01
"""Length of a level window, as in the waveform measures of the benchmark."""
RELATIVE_THRESHOLD = 0.03
"""A window is voiced above this fraction (-30 dB) of the loudest window near it ..."""
NOISE_FACTOR = 2.5
"""... and above this multiple (+8 dB) of the noise floor, the 10th percentile of the memory."""
FLOOR_RMS = 60.0
"""... and never below this RMS of int16 samples (-55 dBFS), the hiss of a quiet microphone."""


class VoicedTracker:
    """A memory of the RMS of the last ``memory_s`` seconds of audio, one value per 10 ms.

    ``add`` takes pcm16 mono audio; the position of its end in media time is given in seconds.
    """

    def __init__(self, rate_hz: int = 16_000, memory_s: float = 12.0) -> None:
        self._window = int(rate_hz * WINDOW_S)
        self._levels: deque[tuple[float, float]] = deque(maxlen=int(memory_s / WINDOW_S))
        self._rest: npt.NDArray[np.int16] = np.zeros(0, np.int16)

    def add(self, pcm16: bytes, end_s: float) -> None:
        """Audio that ends at ``end_s``. Samples that do not fill a window wait for the next call."""
        samples = np.frombuffer(pcm16, np.int16)
        if len(self._rest):
            samples = np.concatenate([self._rest, samples])
        count = len(samples) // self._window
        self._rest = samples[count * self._window :]
        if count == 0:
            return
        frames = samples[: count * self._window].reshape(count, self._window).astype(np.float32)
        rms = np.sqrt(np.einsum("ij,ij->i", frames, frames) / self._window)
        last_end_s = end_s - len(self._rest) / self._window * WINDOW_S
        for i, level in enumerate(rms.tolist()):
            self._levels.append((last_end_s - (count - 1 - i) * WINDOW_S, level))

    def last_voiced_s(self, since_s: float) -> float | None:
        """End position of the last voiced window after ``since_s``, or ``None`` where there is none."""
        threshold = self._threshold(since_s)
        for end_s, level in reversed(self._levels):
            if end_s < since_s:
                return None
            if level >= threshold:
                return end_s
        return None

    def first_voiced_s(self, since_s: float) -> float | None:
        """Start position of the first voiced window after ``since_s``, or ``None`` where there is none."""
        threshold = self._threshold(since_s)
        for end_s, level in self._levels:
            if end_s - WINDOW_S >= since_s and level >= threshold:
                return end_s - WINDOW_S
        return None

    def voiced_s(self, since_s: float) -> float:
        """Seconds of voiced audio after ``since_s``."""
        threshold = self._threshold(since_s)
        return WINDOW_S * sum(level >= threshold for end_s, level in self._levels if end_s - WINDOW_S >= since_s)

    @property
    def end_s(self) -> float | None:
        """Position of the end of the newest window."""
        return self._levels[-1][0] if self._levels else None

    def _threshold(self, since_s: float) -> float:
        if not self._levels:
            return FLOOR_RMS
        levels = np.array([level for _, level in self._levels])
        recent = [level for end_s, level in self._levels if end_s >= since_s]
        peak = max(recent, default=0.0)
        # A floor taken over speech alone would sit inside the speech, so it may not pass a tenth of the peak.
        floor = min(float(np.percentile(levels, 10)), peak / 10)
        return max(FLOOR_RMS, NOISE_FACTOR * floor, RELATIVE_THRESHOLD * peak)
