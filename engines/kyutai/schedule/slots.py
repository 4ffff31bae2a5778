"""Which session has which slot of a batched model. Pure.

A slot is one row of the model's state. The lowest free one is given first, so that those in use lie close together and a
small bucket needs no gathering. A slot that was stepped for somebody else is reset before it is used again.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

Session = str
"""What the front-end calls one connection."""


class NoFreeChannels(Exception):
    """Neither a slot nor a place in the line is free. The text is what moshi-server says on its wire."""

    def __init__(self) -> None:
        super().__init__("no free channels")


class Slots:
    """``count`` slots and who has them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))
        heapify(self._free)
        self._used: set[int] = set()
        self._holders: dict[int, Session] = {}

    @property
    def free(self) -> int:
        """How many are free."""
        return len(self._free)

    def holder(self, slot: int) -> Session | None:
        """Who has this slot."""
        return self._holders.get(slot)

    def take(self, session: Session) -> tuple[int, bool]:
        """The lowest free slot, now the session's, and whether it must be reset first.

        :raises NoFreeChannels: where none is free
        """
        if not self._free:
            raise NoFreeChannels
        slot = heappop(self._free)
        self._holders[slot] = session
        dirty = slot in self._used
        self._used.add(slot)
        return slot, dirty

    def give_back(self, slot: int) -> None:
        """The slot is free at once."""
        del self._holders[slot]
        heappush(self._free, slot)
