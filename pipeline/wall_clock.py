"""The wall clock for what people read, made safe: it never goes back, and within one call it runs evenly.

The system's clock may be set at any moment, by NTP or by hand. What is measured is measured on the monotonic clock; a record
only begins at a time of day, and goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives seconds."""

SLOWED = 0.5
"""How fast this clock runs, compared with a real one, while it is ahead of the system's, which was set back."""


class WallClock:
    """Seconds since the epoch that follow the system's clock forwards at once, and backwards by waiting for it.

    So what began later has the later time. ``wall`` and ``monotonic`` are the clocks that it is made of.
    """

    def __init__(self, wall: Clock | None = None, monotonic: Clock | None = None) -> None:
        self._wall = wall or _system
        self._monotonic = monotonic or time.monotonic
        self._at = self._wall()
        self._asked_at = self._monotonic()

    def now(self) -> float:
        """The time of day."""
        asked_at = self._monotonic()
        self._at = max(self._wall(), self._at + SLOWED * (asked_at - self._asked_at))
        self._asked_at = asked_at
        return self._at

    def from_here(self) -> Clock:
        """A clock that begins at ``now`` and runs on the monotonic clock alone: differences of its times are true durations."""
        at, monotonic = self.now(), self._monotonic
        since = monotonic()
        return lambda: at + (monotonic() - since)


class PatientClock:
    """A clock for deleting by age: what the system's clock says, but never more than has really passed since this began.

    A clock that is set forward makes nothing old; one that is set back makes everything young.
    """

    def __init__(self, wall: Clock | None = None, passed: Clock | None = None) -> None:
        self._wall = wall or _system
        self._passed = passed or _with_sleep
        self._offset = self._wall() - self._passed()

    def now(self) -> float:
        """Seconds since the epoch."""
        return min(self._wall(), self._offset + self._passed())


def _system() -> float:
    return time.time()


def _with_sleep() -> float:
    """Monotonic seconds, those in which the machine slept included where the system counts them."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
