"""Where in the tutor's audio a client is: when each sample was due, and how far behind that its loudspeaker is. Pure.

Times are seconds on the process's monotonic clock, positions samples in the outgoing stream. Nothing is known of the client's
clock: what it reports is dated by when the report arrived, as the learner's voice is dated by when its packets arrived. So what
"is heard" at a time is what the learner had heard when they made the sound, or pressed the key, that arrives at that time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

FRESH_S = 1.0
"""A report older than this no longer overrules what is known of the door: clients report every 0.25 s while they play."""
_SAME_RUN_S = 0.001


class _Run(NamedTuple):
    """Audio without a pause in it: its first sample, and when that was due."""

    position: int
    due_at: float


class Listener:
    """An ideal listener plays each sample when it is due; this one is behind by its network, its buffer and its loudspeaker.

    Args:
        rate_hz: Of the stream.
        behind_s: What the door knows of such a client's buffers: how far it is behind as long as it does not report.
        keep: Unbroken runs of audio that are remembered.
    """

    def __init__(self, rate_hz: int, behind_s: float = 0.0, keep: int = 64) -> None:
        self._rate_hz = rate_hz
        self._known_s = behind_s
        self._runs: deque[_Run] = deque(maxlen=keep)
        self._end = 0
        self._reported_s: float | None = None
        self._reported_at = 0.0
        self._held_at: float | None = None
        self._held_s = 0.0

    def hold(self, at: float) -> None:
        """The client was told to stand still."""
        if self._held_at is None:
            self._held_at = at

    def go_on(self, at: float) -> None:
        """It was told to go on with the very next sample, or what it held was dropped."""
        if self._held_at is not None:
            self._held_s += at - self._held_at
            self._held_at = None

    def _running(self, at: float) -> float:
        """``at`` on a clock that stands still while the client is held; what is due is due by this clock."""
        return (at if self._held_at is None else self._held_at) - self._held_s

    def sent(self, position: int, samples: int, due_at: float) -> None:
        """``samples`` from ``position`` on have left, the first of them to be played at ``due_at`` by an ideal listener."""
        # Nobody plays a sample before the one in front of it has been played.
        expected_at = self._end_due_at()
        due_at = max(self._running(due_at), expected_at)
        if not self._runs or position != self._end or due_at - expected_at >= _SAME_RUN_S:
            self._runs.append(_Run(position, due_at))
        self._end = position + samples

    def reported(self, position: int, at: float) -> None:
        """A report arrived at ``at``: the client had played the stream up to ``position``, which has been sent."""
        earliest, latest = self._due(position)
        running = self._running(at)
        behind_s = max(self.behind_s(at), running - latest)
        # Nobody hears a sample before it is due: a client that says so has counted what it was sent, not what it played.
        self._reported_s = max(0.0, min(behind_s, running - earliest))
        self._reported_at = at

    def behind_s(self, at: float) -> float:
        """Seconds between a sample's being due and its being played, as seen from here at ``at``."""
        if self._reported_s is None:
            return self._known_s
        # A client that fell silent may have stopped playing, too; it is at least not ahead of one that never reported.
        return self._reported_s if at - self._reported_at <= FRESH_S else max(self._reported_s, self._known_s)

    def position_at(self, at: float) -> int:
        """The next sample that the client plays at ``at``; never more than was sent."""
        if not self._runs:
            return 0
        played_at = self._running(at) - self.behind_s(at)
        index = bisect_right(self._runs, played_at, key=lambda run: run.due_at) - 1
        run = self._runs[max(0, index)]
        end = self._runs[index + 1].position if index + 1 < len(self._runs) else self._end
        return max(0, min(end, run.position + int((played_at - run.due_at) * self._rate_hz + 1e-6)))

    def heard_at(self, position: int, at: float) -> float:
        """When the client played the sample at ``position``, by what is known of it at ``at``; no hold lies in between."""
        running_at = self._due(position)[1 if position < self._end else 0] + self.behind_s(at)
        return running_at + at - self._running(at)

    def _due(self, position: int) -> tuple[float, float]:
        """The earliest and the latest time at which an ideal listener has played up to ``position`` and no further."""
        if not self._runs:
            return float("-inf"), float("inf")
        index = max(0, bisect_right(self._runs, position, key=lambda run: run.position) - 1)
        run = self._runs[index]
        at = run.due_at + (position - run.position) / self._rate_hz
        if position >= self._end:
            return at, float("inf")
        if position == run.position and index > 0:
            before = self._runs[index - 1]
            return before.due_at + (position - before.position) / self._rate_hz, at
        return at, at

    def _end_due_at(self) -> float:
        if not self._runs:
            return float("-inf")
        run = self._runs[-1]
        return run.due_at + (self._end - run.position) / self._rate_hz
