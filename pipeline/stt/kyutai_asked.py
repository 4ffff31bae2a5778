"""What the server was asked for and has not told yet: a flush, or, where it knows none, a marker. Pure."""

from __future__ import annotations

from dataclasses import dataclass

AT_THE_END_S = 0.02
"""A flush that was asked for so little before the voice ended, as the voice detector has it, has heard all of it."""


@dataclass(slots=True)
class Flush:
    """The words that are still to come were asked for, at ``asked_s`` of the audio, on connection number ``connection``."""

    number: int
    connection: int
    asked_s: float
    eager: bool
    """While the learner may go on speaking."""
    commit: bool = False
    """The turn was committed before the answer came."""
    answered: bool = False
    overtaken: bool = False
    """The engine had heard more already when it answered: there is nothing to commit."""

    def covers(self, voice_end_s: float, connection: int) -> bool:
        """Whether its answer tells, or will tell, all words of the voice that ended at ``voice_end_s``."""
        return self.connection == connection and heard_all(self.asked_s, voice_end_s)


def heard_all(asked_s: float, voice_end_s: float) -> bool:
    """Whether what was asked for at ``asked_s`` takes in the end of the voice."""
    return asked_s >= voice_end_s - AT_THE_END_S


class Asked:
    """At most one flush and one marker are open; an answer to any other is none."""

    def __init__(self) -> None:
        self._numbers = 0
        self.flush: Flush | None = None
        self.marker: int | None = None
        self.marked = False
        """Whether the marker has come back."""

    def new_flush(self, connection: int, asked_s: float, *, eager: bool) -> Flush:
        """A flush is asked for, in place of the one before."""
        self._numbers += 1
        self.flush = Flush(self._numbers, connection, asked_s, eager)
        return self.flush

    def drop_flush(self) -> Flush | None:
        """The flush was for nothing; which one that was."""
        flush, self.flush = self.flush, None
        return flush

    def answered(self, number: int, *, overtaken: bool) -> Flush | None:
        """Flush ``number`` is answered; ``None`` where nobody waits for that."""
        flush = self.flush
        if flush is None or flush.number != number or flush.answered:
            return None
        flush.answered, flush.overtaken = True, overtaken
        return flush

    def new_marker(self) -> int:
        """A marker is sent, of that number."""
        self._numbers += 1
        self.marker, self.marked = self._numbers, False
        return self._numbers

    def marker_came(self, number: int) -> bool:
        """Marker ``number`` came back: whether it is the open one."""
        if number != self.marker:
            return False
        self.marked = True
        return True

    def unmark(self) -> None:
        """The voice ended anew: an earlier marker says nothing of it."""
        self.marker, self.marked = None, False

    def forget(self) -> None:
        """Nothing that was asked for is waited for any more."""
        self.flush = self.marker = None
