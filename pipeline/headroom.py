"""How much room a process has for another call: whether its event loop and the tutor's packets are on time. Pure.

Seconds on one monotonic clock are passed in; verdicts come out. Two series are looked at over the last ``WINDOW_S``: how late
the event loop ran a timer, and how long after it was due a packet of the tutor's voice left. Of each the 99th percentile counts
(nearest rank, but never on the strength of fewer than ``FEWEST`` late values: one collection of garbage refuses nobody).
A listener's packets are 20 ms apart, so packets that leave up to *x* ms late arrive with gaps of up to 20 + *x* ms.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 10.0
FILLED_S = 5.0
"""Nothing is judged before a series reaches back this far: loading and the first call of a process are no sign of load."""
BEGINNING_S = 1.0
"""A call that begins makes the loop late once (keys, session descriptions, stages): what is late then says nothing of what
calls cost while they last, and a class that joins at the same moment would be refused its last members."""
FEWEST = 3
"""Late values that it takes to refuse."""
AGAIN = 0.25
"""Share of headroom at which calls are admitted again after it was used up."""
LOW, AMPLE = 0.3, 0.5
"""Below ``LOW`` headroom counts as low, until it is above ``AMPLE`` again."""
JUDGE_EVERY_S = 1.0
_BIN_S = 0.001
_BINS = 501
_SLOT_S = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the process can take on.

    ``headroom`` is from 1 (everything on time) to 0 (at a limit or beyond it). ``reason`` says in plain words why no call is
    admitted. The percentiles are in seconds, ``None`` where there was too little to judge by.
    """

    headroom: float = 1.0
    admits: bool = True
    low: bool = False
    reason: str | None = None
    loop_lag_p99_s: float | None = None
    packet_late_p99_s: float | None = None


@dataclass(slots=True)
class _Slot:
    begun: float
    bins: list[int] = field(default_factory=lambda: [0] * _BINS)


class Lateness:
    """How late something was over the last ``WINDOW_S``, in bins of 1 ms; half a second and more is one bin."""

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque()
        self._since: float | None = None

    def add(self, late_s: float, now: float) -> None:
        """Something was ``late_s`` late at ``now``; less than nothing counts as on time. ``now`` never falls."""
        if not self._slots or now - self._slots[-1].begun >= _SLOT_S:
            self._drop_old(now)
            if not self._slots:
                self._since = now
            self._slots.append(_Slot(now))
        self._slots[-1].bins[min(_BINS - 1, max(0, math.floor(late_s / _BIN_S)))] += 1

    def p99_s(self, now: float) -> float | None:
        """The 99th percentile, rounded down to 1 ms; ``None`` without values that reach back for ``FILLED_S``."""
        self._drop_old(now)
        if not self._slots or self._since is None or now - self._since < FILLED_S:
            return None
        bins = [sum(counts) for counts in zip(*(slot.bins for slot in self._slots), strict=True)]
        beyond = max(FEWEST - 1, sum(bins) - math.ceil(0.99 * sum(bins)))  # values above the one that is looked for
        for index in range(_BINS - 1, -1, -1):
            beyond -= bins[index]
            if beyond < 0:
                return index * _BIN_S
        return 0.0

    def _drop_old(self, now: float) -> None:
        while self._slots and now - self._slots[0].begun >= WINDOW_S:
            self._slots.popleft()


class Headroom:
    """Takes in lateness, and says whether another call would be served well.

    Args:
        max_loop_lag_s: 99th percentile of the loop's lag beyond which no call is admitted; 0: not looked at.
        max_packet_late_s: The same of packets that leave late.
    """

    def __init__(self, max_loop_lag_s: float = 0.0, max_packet_late_s: float = 0.0) -> None:
        self._max_lag_s = max_loop_lag_s
        self._max_late_s = max_packet_late_s
        self._lag = Lateness()
        self._late = Lateness()
        self._judged_at = self._begun_at = float("-inf")
        self._verdict = Verdict()

    @property
    def low(self) -> bool:
        """Whether there is so little left that work which can be left undone should be. As of the last verdict."""
        return self._verdict.low

    @property
    def verdict(self) -> Verdict:
        """The last one."""
        return self._verdict

    def lagged(self, late_s: float, now: float) -> bool:
        """The event loop ran a timer ``late_s`` late. Judges once every ``JUDGE_EVERY_S``; whether it did."""
        if not self._beginning(now):
            self._lag.add(late_s, now)
        if now - self._judged_at < JUDGE_EVERY_S:
            return False
        self.judge(now)
        return True

    def forget(self) -> None:
        """What was late until now does not count."""
        self._lag, self._late, self._verdict = Lateness(), Lateness(), Verdict()

    def sent(self, late_s: float, now: float) -> None:
        """A packet of the tutor's voice left ``late_s`` after it was due."""
        if not self._beginning(now):
            self._late.add(late_s, now)

    def begun(self, now: float) -> None:
        """A call begins, or is taken up again: for ``BEGINNING_S`` nothing counts."""
        self._begun_at = now

    def _beginning(self, now: float) -> bool:
        return now - self._begun_at < BEGINNING_S

    def judge(self, now: float) -> Verdict:
        """Whether one more call would be served well. What was refused is admitted only when there is some room again."""
        before = self._verdict
        lag, late = self._lag.p99_s(now), self._late.p99_s(now)
        room = min(_room(lag, self._max_lag_s), _room(late, self._max_late_s))
        admits = room > 0 if before.admits else room >= AGAIN
        low = room < LOW or (before.low and room < AMPLE)
        reason = None if admits else self._reason(lag, late)
        self._judged_at = now
        self._verdict = Verdict(room, admits, low, reason, lag, late)
        return self._verdict

    def _reason(self, lag: float | None, late: float | None) -> str:
        # The one that is nearer to its limit, or further beyond it.
        if _used(late, self._max_late_s) > _used(lag, self._max_lag_s):
            return f"the tutor's voice leaves up to {_ms(late)} ms late; the limit is {_ms(self._max_late_s)} ms"
        return f"timers run up to {_ms(lag)} ms late; the limit is {_ms(self._max_lag_s)} ms"


def _used(p99_s: float | None, limit_s: float) -> float:
    return 0.0 if p99_s is None or limit_s <= 0 else p99_s / limit_s


def _room(p99_s: float | None, limit_s: float) -> float:
    return max(0.0, 1.0 - _used(p99_s, limit_s))


def _ms(seconds: float | None) -> str:
    return f"{1000 * (seconds or 0.0):.0f}"
