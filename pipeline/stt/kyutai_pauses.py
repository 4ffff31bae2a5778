"""What the server's pause heads tell of the end of a turn. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.stt.kyutai_words import FRAME_S

_END_HEAD = 2
"""Which of the pause heads tells of the end of a turn (a pause of 2 s)."""
_UNSURE_STEPS = 12
"""The pause heads of the first second of a connection say nothing."""
_LATE_STEPS_S = 0.5
"""What a step says of sound that is so old comes too late."""


class PauseHeads:
    """Counts the steps of one connection."""

    def __init__(self) -> None:
        self.steps = 0

    def restart(self) -> None:
        """A new connection."""
        self.steps = 0

    def step(self) -> None:
        """The server made a step."""
        self.steps += 1

    @property
    def heard_s(self) -> float:
        """How much audio the steps have heard, in seconds of the connection."""
        return self.steps * FRAME_S

    def end_of_turn(self, prs: Sequence[float], late_s: float) -> float | None:
        """How likely the turn is over, by the step that was made ``late_s`` after its audio; ``None`` where it cannot tell."""
        if len(prs) <= _END_HEAD or self.steps <= _UNSURE_STEPS or late_s >= _LATE_STEPS_S:
            return None
        return prs[_END_HEAD]
