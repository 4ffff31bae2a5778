"""What can be read off a waveform: where speech lies in a clip, and when voiced audio arrived. Pure; times are passed in.

Clips are numpy ``int16`` arrays of shape ``(samples,)``. Arrival times are seconds on one monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pcm16 = NDArray[np.int16]

VOICED_PEAK = 500
"""A packet whose largest sample exceeds this is voiced: -36 dBFS, far above a codec's noise and below any speech."""

SPEECH_RMS = 200.0
"""A 10 ms window with an RMS above this belongs to speech: -44 dBFS, for clips recorded near a microphone."""


def peak(pcm: Pcm16) -> int:
    """The largest absolute sample, 0 for an empty array."""
    return int(np.abs(pcm.astype(np.int32)).max()) if pcm.size else 0


def window_rms(pcm: Pcm16, rate_hz: int, window_ms: int = 10) -> NDArray[np.float64]:
    """RMS of consecutive whole windows of ``window_ms``; shape ``(len(pcm) // window,)``."""
    size = rate_hz * window_ms // 1000
    count = len(pcm) // size
    windows = pcm[: count * size].reshape(count, size).astype(np.float64)
    return np.asarray(np.sqrt((windows**2).mean(axis=1)), dtype=np.float64)


def voice_spans(
    pcm: Pcm16, rate_hz: int, *, threshold_rms: float = SPEECH_RMS, join_s: float = 0.2, window_ms: int = 10
) -> list[tuple[int, int]]:
    """Where ``pcm`` is voiced, as ``(start, end)`` sample pairs in order; gaps shorter than ``join_s`` are bridged."""
    size = rate_hz * window_ms // 1000
    spans: list[tuple[int, int]] = []
    for index in np.flatnonzero(window_rms(pcm, rate_hz, window_ms) > threshold_rms):
        start, end = int(index) * size, (int(index) + 1) * size
        if spans and start - spans[-1][1] < join_s * rate_hz:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def trim(pcm: Pcm16, rate_hz: int, *, threshold_rms: float = SPEECH_RMS) -> Pcm16:
    """``pcm`` from its first to its last voiced 10 ms window; empty where nothing is voiced."""
    spans = voice_spans(pcm, rate_hz, threshold_rms=threshold_rms)
    return pcm[spans[0][0] : spans[-1][1]] if spans else pcm[:0]


def normalise(pcm: Pcm16, to_peak: int = 12_000) -> Pcm16:
    """``pcm`` scaled so that its largest sample is ``to_peak``; silence stays silence."""
    top = peak(pcm)
    return (pcm.astype(np.float64) * (to_peak / top)).astype(np.int16) if top else pcm


@dataclass(frozen=True, slots=True)
class BargeIn:
    """How an interruption went.

    ``sounding``: whether the answer was still playing at the onset of the learner's speech. ``stopped_after_s``: from that
    onset to the arrival of the answer's last voiced packet; ``None`` where none followed: it had ended by itself.
    """

    sounding: bool
    stopped_after_s: float | None


class HeardLog:
    """Every packet of the tutor's audio: when it arrived, and whether it was voiced. Packets are added in order of arrival."""

    def __init__(self, voiced_peak: int = VOICED_PEAK) -> None:
        self._threshold = voiced_peak
        self._voiced: list[float] = []
        self.packets = 0

    def add(self, arrived_at: float, packet_peak: int) -> None:
        """One packet, whose largest absolute sample is ``packet_peak``."""
        self.packets += 1
        if packet_peak > self._threshold:
            self._voiced.append(max(arrived_at, self._voiced[-1]) if self._voiced else arrived_at)

    @property
    def voiced_packets(self) -> int:
        """How many of the packets were voiced."""
        return len(self._voiced)

    def last_voiced(self) -> float | None:
        """Arrival of the latest voiced packet so far."""
        return self._voiced[-1] if self._voiced else None

    def first_voiced(self, after: float, before: float = float("inf")) -> float | None:
        """Arrival of the first voiced packet in ``(after, before)``."""
        index = bisect_right(self._voiced, after)
        return self._voiced[index] if index < len(self._voiced) and self._voiced[index] < before else None

    def end_of_run(self, start: float, gap_s: float = 0.5) -> float | None:
        """Arrival of the last voiced packet of the run that sounds at or after ``start``; a gap over ``gap_s`` ends a run."""
        last: float | None = None
        for arrived_at in self._voiced[bisect_left(self._voiced, start) :]:
            if last is not None and arrived_at - last > gap_s:
                break
            last = arrived_at
        return last

    def sounding_at(self, at: float, within_s: float = 0.3) -> bool:
        """Whether a voiced packet arrived in the ``within_s`` before ``at``."""
        return self.first_voiced(at - within_s, at) is not None

    def voice_to_voice_s(self, speech_end: float, before: float = float("inf")) -> float | None:
        """From the end of the learner's speech to the first voiced packet of the answer; ``None``: none came."""
        first = self.first_voiced(speech_end, before)
        return None if first is None else first - speech_end

    def barge_in(self, onset: float, gap_s: float = 0.5) -> BargeIn:
        """How long the answer went on after the learner's speech began at ``onset``."""
        sounding = self.sounding_at(onset)
        # A run that begins later than a gap after the onset is another answer, not the rest of the old one.
        first = self.first_voiced(onset)
        if first is None or first - onset > gap_s:
            return BargeIn(sounding, None)
        last = self.end_of_run(onset, gap_s)
        return BargeIn(sounding, None if last is None else last - onset)
