"""How far what was made of a voice is ahead of what was played of it. Pure: times are arguments.

A player begins with the first frame it gets and then plays in real time. When it has played all that was made, it waits, and
goes on with the next frame: the listener hears a gap.
"""

from __future__ import annotations

from engines.kyutai.schedule.backlog import FRAME_S


class Playout:
    """Of one session. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._dry_s: float | None = None
        self._made_s = 0.0

    @property
    def made_s(self) -> float:
        """Seconds of audio made so far."""
        return self._made_s

    @property
    def dry_s(self) -> float | None:
        """When the player has played all that was made, ``None`` before the first frame."""
        return self._dry_s

    def made(self, now_s: float) -> float:
        """A frame was made. Returns the gap before it, in seconds: 0.0 where it came in time."""
        gap_s = 0.0 if self._dry_s is None else max(0.0, now_s - self._dry_s)
        self._dry_s = max(now_s, self._dry_s if self._dry_s is not None else now_s) + FRAME_S
        self._made_s += FRAME_S
        return gap_s

    def playing(self, since_s: float) -> None:
        """The player says that it plays since then, without a gap: what is ahead counts from there."""
        self._dry_s = since_s + self._made_s
