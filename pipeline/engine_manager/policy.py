"""When an engine that ended is started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits twice as long after each end, and forgets them once the engine has worked for a while.

    An engine that has never been ready is given up after ``tries``: what it lacks, it will lack the next time too. One that
    has worked is started again for ever, at most every ``longest_s`` seconds.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    steady_s: float = 120.0
    """After having worked for so long, an end is a first one again."""
    tries: int = 3
    _ends: int = 0
    _worked: bool = False

    def ended(self, worked_s: float | None) -> float | None:
        """Seconds until the next start; ``None``: give up. ``worked_s`` is for how long it had been ready, if it had."""
        if worked_s is not None:
            self._worked = True
            if worked_s >= self.steady_s:
                self._ends = 0
        self._ends += 1
        if not self._worked and self._ends >= self.tries:
            return None
        return float(min(self.longest_s, self.first_s * 2 ** (self._ends - 1)))
