"""Audio of one session that was received and not yet stepped, counted in samples. Pure.

A frame is what the model takes in one step: frame ``k`` of a session is its samples ``[k * FRAME, (k + 1) * FRAME)``, counted
from the first sample it sent. A frame is stepped as soon as it is whole. Who sends faster than real time, or meets an engine
that is late, gets a backlog; beyond its bound the oldest whole frames are dropped, because what is being said now matters
more.
"""

from __future__ import annotations

FRAME = 1920
"""Samples of one step: 80 ms at 24 kHz."""
FRAME_S = 0.08


class Backlog:
    """``limit``: whole frames that may wait, at least 1."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.received = 0
        """Samples received so far."""
        self.next = 0
        """The frame that is stepped next."""

    @property
    def whole(self) -> int:
        """Whole frames that wait."""
        return self.received // FRAME - self.next

    def add(self, samples: int) -> range:
        """So many samples came. Returns the frames that are dropped for it, which are the oldest that wait; they are never
        stepped."""
        self.received += samples
        first = self.next
        self.next += max(0, self.whole - self._limit)
        return range(first, self.next)

    def take(self) -> int:
        """The next frame, which is stepped now.

        :raises ValueError: where no whole frame waits
        """
        if self.whole < 1:
            raise ValueError("backlog: no whole frame waits")
        self.next += 1
        return self.next - 1
