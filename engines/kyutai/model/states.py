"""The state of slots as a whole: made new, kept aside, put back.

A slot's state is a row of whole numbers, the first of which counts the frames that it has heard, a row of samples that
convolutions keep, and a stretch of each ring of keys and values. What is kept aside of a ring is only a window: the entries
that the next ``reach`` frames write, and those of one frame more, as a row that does not step writes too (see
``transformer.py``).

A flush is a branch. It leaves the session's own state at its root and goes on in several ticks, and the session's live frames
go on between them, over the same places of the rings. All that either of them writes lies in the window that begins at the
root, as long as neither makes more than ``reach`` steps from there. So a branch is kept with the window from its root, and
where it is taken up again, what it covers of the live window is kept aside in its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.kyutai.model.transformer import RingTransformer


@dataclass(frozen=True)
class Ring:
    """``transformer``: whose ring. ``start``: entries that a slot has before its first frame. ``per_frame``: entries that a
    frame adds."""

    transformer: RingTransformer
    start: int
    per_frame: int

    def window(self, slots: Tensor, frames: Tensor, count: int) -> Tensor:
        """The places of ``count`` frames from ``frames`` on, ``[n, entries]``."""
        return self.transformer.window(slots, frames * self.per_frame + self.start, count * self.per_frame)


@dataclass(frozen=True)
class Kept:
    """States of some slots, row by row. ``root``: frames that each had heard where its window begins; ``heard``: frames that it
    had heard when it was kept. ``places`` and ``entries``: of each ring."""

    slots: tuple[int, ...]
    root: tuple[int, ...]
    heard: tuple[int, ...]
    numbers: Tensor
    samples: Tensor
    places: tuple[Tensor, ...]
    entries: tuple[Tensor, ...]


Record = tuple[Kept, int]
"""What was kept, and which of its rows."""


class States:
    """``numbers``: ``[slots, …]`` int64. ``samples``: ``[slots, …]``. ``reach``: frames that can be undone."""

    def __init__(self, numbers: Tensor, samples: Tensor, rings: Sequence[Ring], *, reach: int) -> None:
        self._numbers = numbers
        self._samples = samples
        self._rings = tuple(rings)
        self._reach = reach
        self._heard = [0] * numbers.shape[0]  # what the first of the numbers says, known without asking the device
        self._saved: dict[int, Record] = {}
        self._branches: dict[int, Record] = {}
        self._under: dict[int, Record] = {}  # live entries that a branch lies over
        self._new: Kept | None = None

    @property
    def slot_bytes(self) -> int:
        """Memory that one slot takes on the device."""
        tensors = (self._numbers, self._samples)
        return sum(t[0].nbytes for t in tensors) + sum(ring.transformer.ring[:, 0].nbytes for ring in self._rings)

    def begin(self, heard: int) -> None:
        """From now on a new slot is what slot 0 is now, having heard so many frames; all slots are made new."""
        index = self._index([0])
        places = tuple(
            ring.transformer.window(index, torch.zeros_like(index), ring.start + heard * ring.per_frame) for ring in self._rings
        )
        self._new = Kept(
            slots=(0,),
            root=(0,),
            heard=(heard,),
            numbers=self._numbers[:1].clone(),
            samples=self._samples[:1].clone(),
            places=places,
            entries=self._entries(places),
        )
        self.reset(range(len(self._heard)))

    def reset(self, slots: Sequence[int]) -> None:
        """Makes these slots new."""
        assert self._new is not None
        if not slots:
            return
        new, count = self._new, len(slots)
        index = self._index(slots)
        self._numbers.index_copy_(0, index, new.numbers.expand(count, -1))
        self._samples.index_copy_(0, index, new.samples.expand(count, -1))
        for ring, places, entries in zip(self._rings, new.places, new.entries, strict=True):
            if places.shape[1]:
                there = places + index[:, None] * ring.transformer.capacity
                ring.transformer.put(there, entries.expand(-1, count, *entries.shape[2:]))
        for slot in slots:
            self._heard[slot] = new.heard[0]
            for records in (self._saved, self._branches, self._under):
                records.pop(slot, None)

    def stepped(self, slots: Sequence[int]) -> None:
        """These slots have made a step."""
        for slot in slots:
            self._heard[slot] += 1

    def save(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        if not slots:
            return
        kept = self._take(slots, tuple(self._heard[slot] for slot in slots))
        for row, slot in enumerate(slots):
            self._saved[slot] = (kept, row)
            self._under.pop(slot, None)

    def restore(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        for slot in slots:
            if slot not in self._saved:
                raise ValueError(f"states: slot {slot} was not saved")
            kept, row = self._under.get(slot) or self._saved[slot]
            self._within(slot, kept.root[row])
        covered = [slot for slot in slots if slot in self._under]
        for kept, rows in _grouped(self._under.pop(slot) for slot in covered):
            self._put_entries(kept, rows)
        under = set(covered)
        for kept, rows in _grouped(self._saved[slot] for slot in slots):
            self._put_rows(kept, rows)
            self._put_entries(kept, [row for row in rows if kept.slots[row] not in under])
        for slot in slots:
            kept, row = self._saved.pop(slot)
            self._heard[slot] = kept.heard[row]

    def keep(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        roots = []
        for slot in slots:
            if slot not in self._saved:
                raise ValueError(f"states: slot {slot} was not saved")
            kept, row = self._under.get(slot) or self._saved[slot]
            self._within(slot, kept.root[row])
            roots.append(kept.root[row])
        # A branch whose live steps went past its window is never taken up again.
        for slot, (kept, row) in list(self._branches.items()):
            if self._heard[slot] > kept.root[row] + self._reach:
                del self._branches[slot]
        if not slots:
            return
        branch = self._take(slots, tuple(roots))
        for row, slot in enumerate(slots):
            self._branches[slot] = (branch, row)

    def load(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        for slot in slots:
            if slot not in self._branches or slot not in self._saved:
                raise ValueError(f"states: slot {slot} has no branch, or was not saved first")
            kept, row = self._branches[slot]
            self._within(slot, kept.root[row])
        for kept, rows in _grouped(self._branches.pop(slot) for slot in slots):
            places = tuple(_rows(part, rows) for part in kept.places)
            taken = [kept.slots[row] for row in rows]
            under = Kept(
                slots=tuple(taken),
                root=tuple(kept.root[row] for row in rows),
                heard=tuple(self._heard[slot] for slot in taken),
                numbers=self._numbers[:0],
                samples=self._samples[:0],
                places=places,
                entries=self._entries(places),
            )
            self._put_rows(kept, rows)
            self._put_entries(kept, rows)
            for place, (row, slot) in enumerate(zip(rows, taken, strict=True)):
                self._under[slot] = (under, place)
                self._heard[slot] = kept.heard[row]

    def _within(self, slot: int, root: int) -> None:
        if not root <= self._heard[slot] <= root + self._reach:
            raise ValueError(f"states: slot {slot} made more than {self._reach} steps")

    def _index(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots, dtype=torch.int64, device=self._numbers.device)

    def _entries(self, places: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(ring.transformer.entries(part) for ring, part in zip(self._rings, places, strict=True))

    def _take(self, slots: Sequence[int], roots: tuple[int, ...]) -> Kept:
        both = self._index([*slots, *roots]).view(2, -1)
        places = tuple(ring.window(both[0], both[1], self._reach + 1) for ring in self._rings)
        return Kept(
            slots=tuple(slots),
            root=roots,
            heard=tuple(self._heard[slot] for slot in slots),
            numbers=self._numbers.index_select(0, both[0]),
            samples=self._samples.index_select(0, both[0]),
            places=places,
            entries=self._entries(places),
        )

    def _put_rows(self, kept: Kept, rows: list[int]) -> None:
        index = self._index([kept.slots[row] for row in rows])
        self._numbers.index_copy_(0, index, _rows(kept.numbers, rows))
        self._samples.index_copy_(0, index, _rows(kept.samples, rows))

    def _put_entries(self, kept: Kept, rows: list[int]) -> None:
        if rows:
            for ring, places, entries in zip(self._rings, kept.places, kept.entries, strict=True):
                ring.transformer.put(_rows(places, rows), _rows(entries, rows, dim=1))


def _rows(values: Tensor, rows: list[int], dim: int = 0) -> Tensor:
    if rows == list(range(values.shape[dim])):
        return values
    return values.index_select(dim, torch.tensor(rows, device=values.device))


def _grouped(records: Iterator[Record]) -> list[tuple[Kept, list[int]]]:
    """By what they were kept with, as that is written in one go."""
    groups: dict[int, tuple[Kept, list[int]]] = {}
    for kept, row in records:
        groups.setdefault(id(kept), (kept, []))[1].append(row)
    return list(groups.values())
