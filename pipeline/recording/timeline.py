"""Where a piece of sound belongs in a recording. Pure: times are passed in, positions come out."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE_S = 0.02
"""Pieces that meet within this are joined without a seam: estimates of their time wander by a few ms."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to put a piece: ``start`` is a sample of the track, the first ``skip`` samples of the piece are left out."""

    start: int
    skip: int


class Timeline:
    """One voice's track at ``rate_hz``; ``origin`` is the monotonic time of its sample 0.

    A piece follows the one before it where its time says so within ``TOLERANCE_S``. A later one leaves silence between them;
    what lies before the end of the track (the estimate of its time was corrected) is left out, so no sample is written twice.
    """

    def __init__(self, rate_hz: int, origin: float) -> None:
        self.rate_hz = rate_hz
        self._origin = origin
        self._end = 0

    @property
    def end(self) -> int:
        """Samples of the track so far."""
        return self._end

    def place(self, samples: int, starts_at: float) -> Place | None:
        """The place of ``samples`` whose first one belongs to ``starts_at``; ``None`` where none of them has one."""
        wanted = round((starts_at - self._origin) * self.rate_hz)
        if abs(wanted - self._end) <= TOLERANCE_S * self.rate_hz:
            wanted = self._end
        skip = max(0, self._end - wanted)
        if skip >= samples:
            return None
        start = wanted + skip
        self._end = start + samples - skip
        return Place(start, skip)
