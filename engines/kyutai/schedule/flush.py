"""The words a session still owes, before their time: one flush and the line of those that wait. Pure.

When somebody stops speaking, the last words come only after the model's delay. A flush runs these steps at once: what was
received of the unfinished frame, filled up with zeros, then zeros. It is a branch. The session's own state is kept before and
put back after, in every tick; live frames go on meanwhile, and nothing of the zeros stays in the session's context. So it may
be asked on suspicion and withdrawn as if it had never been.
"""

from __future__ import annotations

from dataclasses import dataclass

from engines.kyutai.schedule.backlog import FRAME
from engines.kyutai.schedule.words import heard_frame


@dataclass
class Flush:
    """Of one session, in the state ``asked`` → begun → done.

    ``asked``: samples that the session had sent when it asked. ``number``: its place in the order of asking. ``begun``: the
    session's live steps when the branch was made, ``None`` before. ``rest``: samples of the unfinished frame, 0 to ``FRAME -
    1``. ``length``: its steps in all; ``ran``: steps so far. ``fed``: the frames of the last live steps when it began,
    ``frame`` the next. ``covered``: live steps when all that it asked for had been stepped, ``None`` before.
    """

    asked: int
    number: int
    begun: int | None = None
    rest: int = 0
    length: int = 0
    ran: int = 0
    fed: tuple[int, ...] = ()
    frame: int = 0
    covered: int | None = None

    @property
    def done(self) -> bool:
        return self.begun is not None and self.ran == self.length

    def begin(self, steps: int, next_frame: int, fed: tuple[int, ...], delay: int) -> None:
        """The branch is made now, where all whole frames that it asked for were stepped."""
        self.begun = steps
        self.rest = max(0, self.asked - next_frame * FRAME)
        self.length = delay + (self.rest > 0)
        self.fed = fed
        self.frame = next_frame

    def overtaken(self, steps: int, next_frame: int, delay: int) -> bool:
        """Whether the live steps have written by themselves all that it would. Of one that was begun they make at most
        ``length`` steps meanwhile, so the model need not keep more than that of it."""
        if self.begun is not None:
            return steps >= self.begun + self.length
        if self.covered is None and next_frame * FRAME >= self.asked:
            self.covered = steps
        return self.covered is not None and steps >= self.covered + delay

    def step(self, delay: int) -> tuple[int, int, int]:
        """One of its steps is made. Returns its index, how many samples of the unfinished frame go in before the zeros, and
        the frame of which it writes."""
        index = self.ran
        self.ran += 1
        heard = heard_frame([*self.fed, *range(self.frame, self.frame + index + 1)], delay)
        return index, self.rest if index == 0 else 0, heard
