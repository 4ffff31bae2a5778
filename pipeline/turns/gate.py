"""What answers a guess is held until the turn is over. Pure: things go in, and those that may go on come out.

A guess that is withdrawn leaves things on their way behind it. A mark follows the last of them down the same path, and until it
has come everything is dropped, so that nothing of a withdrawn answer is taken for the next one.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Gate(Generic[Item]):
    """Passes things on, holds them, or drops them; in the order in which they came."""

    def __init__(self) -> None:
        self._held: list[Item] = []
        self._holding = False
        self._marks_due = 0

    @property
    def holding(self) -> bool:
        """Whether what comes is held."""
        return self._holding

    @property
    def held(self) -> int:
        """How many things are held."""
        return len(self._held)

    def hold(self) -> None:
        """Hold what comes from now on, but for the rest of what was withdrawn before.

        Raises:
            RuntimeError: another answer is held already.
        """
        if self._holding:
            raise RuntimeError("another answer is held")
        self._holding = True

    def take(self, item: Item) -> list[Item]:
        """One more thing: what goes on now."""
        if self._marks_due:
            return []
        if self._holding:
            self._held.append(item)
            return []
        return [item]

    def release(self) -> list[Item]:
        """The guess was right: what was held goes on, and so does what comes."""
        self._holding = False
        return self.drain()

    def drain(self) -> list[Item]:
        """What is held goes on; what comes is still held, so that it cannot overtake."""
        held, self._held = self._held, []
        return held

    def withdraw(self) -> list[Item]:
        """The guess was wrong: drop what is held, which is returned, and what comes until the next mark."""
        if self._holding:
            self._marks_due += 1
        return self.clear()

    def mark(self) -> None:
        """The last of a withdrawn answer has come by."""
        self._marks_due = max(0, self._marks_due - 1)

    def clear(self) -> list[Item]:
        """Drop what is held, which is returned, and hold no more: an interruption stopped everything before here."""
        self._holding = False
        return self.drain()
