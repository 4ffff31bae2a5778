"""When a session's words were said, and which of them were told. Pure.

A speech-to-text model of the delayed-streams kind writes a word ``delay`` steps after it heard it. A session counts its own
steps from 0: the batch's steps mean nothing to it, as it comes later, stalls, and may lose frames. So the time of a word is
that of the frame that was heard ``delay`` of the session's own steps ago.

A flush runs the steps that follow before their audio is there. Each step's words are told once: by the flush where it was
committed in time, by the live step otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


def heard_frame(fed: Sequence[int], delay: int) -> int:
    """The frame of which the last step writes, where ``fed`` are the frames of the steps since the state was new (at least
    one)."""
    return fed[-1 - delay] if len(fed) > delay else fed[0]


class WordTimes:
    """Of one session. ``delay``: frames by which the model writes later than it hears."""

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self._fed: deque[int] = deque(maxlen=delay + 1)
        self.steps = 0
        """Live steps so far."""
        self._told = 0  # words of steps below this were told

    @property
    def fed(self) -> tuple[int, ...]:
        """The frames of the last steps, at most ``delay + 1``, oldest first."""
        return tuple(self._fed)

    def stepped(self, frame: int) -> tuple[int, bool]:
        """A live step is made with this frame. Returns the frame of which it writes, and whether its words are to be told:
        where a committed flush told them, they are not."""
        self._fed.append(frame)
        self.steps += 1
        return heard_frame(self._fed, self._delay), self.steps > self._told

    def renewed(self) -> None:
        """The model's state was reset: it knows nothing of the frames before."""
        self._fed.clear()

    def committed(self, begun: int, length: int) -> range:
        """A flush that began after ``begun`` live steps and ran ``length`` further ones holds. Returns which of its steps
        (0 is its first) have words that nobody has told yet; from now on they are told."""
        first = max(self.steps, self._told)
        self._told = max(self._told, begun + length)
        return range(max(0, first - begun), max(0, first - begun, length))
