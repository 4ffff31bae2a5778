"""Puts a carrier's numbered pieces of audio in order, and silence in place of those that never come. Pure."""

from __future__ import annotations

MAX_HELD = 3
"""Pieces that wait for one before them; after that it counts as lost."""
MAX_FILL = 50
"""A hole of more pieces is no loss, nor is a piece late that is further behind: the stream has begun anew."""


class Order:
    """Pieces in the order of their numbers. What comes in order passes at once."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, bytes] = {}

    def put(self, number: int | None, audio: bytes) -> list[bytes | None]:
        """Take a piece. Returns what may pass now, ``None`` for each that was lost; a piece without a number passes."""
        if number is None:
            return [audio]
        if self._next is None or abs(number - self._next) > MAX_FILL:
            self._next, self._held = number, {}
        if number < self._next or number in self._held:
            return []
        self._held[number] = audio
        passing = self._run()
        if len(self._held) > MAX_HELD:
            passing += self._fill()
        return passing

    def _run(self) -> list[bytes | None]:
        assert self._next is not None
        passing: list[bytes | None] = []
        while self._next in self._held:
            passing.append(self._held.pop(self._next))
            self._next += 1
        return passing

    def _fill(self) -> list[bytes | None]:
        assert self._next is not None
        first = min(self._held)
        lost: list[bytes | None] = [None] * (first - self._next)
        self._next = first
        return lost + self._run()
