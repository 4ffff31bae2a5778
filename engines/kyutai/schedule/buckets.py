"""In which sizes batches are computed, and what a step of each size costs. Pure: measured times are arguments.

A captured graph has one size. A model is captured at a few of them, and a batch is computed at the smallest that holds it, so
that a half-empty engine does not pay for its empty half.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

Cost = Callable[[int], float]
"""Seconds that one step takes, by the size of its bucket. Never falls as buckets grow."""

RECENT = 64
"""Steps of one size that are remembered."""


@dataclass(frozen=True)
class Batch:
    """Who takes part in one step.

    ``slots``: the slots that step, in the order of urgency. ``rows``: the slots whose state makes the batch, ascending, each
    once; as many as the bucket is wide. Rows that do not step are masked: their state must be the same afterwards. Rows are
    ``0 .. bucket - 1`` where that holds everybody, so that nothing has to be gathered.
    """

    slots: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def bucket(self) -> int:
        return len(self.rows)

    @property
    def mask(self) -> tuple[bool, ...]:
        """Which of ``rows`` step, shape ``[bucket]``."""
        stepping = set(self.slots)
        return tuple(row in stepping for row in self.rows)


class Buckets:
    """The sizes at which one model is captured; the largest is the number of its slots.

    :raises ValueError: where there are no sizes, or one is below 1
    """

    def __init__(self, sizes: Iterable[int]) -> None:
        self.sizes = tuple(sorted(set(sizes)))
        if not self.sizes or self.sizes[0] < 1:
            raise ValueError("buckets: sizes of at least 1 are wanted")

    @property
    def slots(self) -> int:
        return self.sizes[-1]

    def holds(self, count: int) -> int:
        """The smallest bucket for ``count`` slots.

        :raises ValueError: where no bucket holds so many, or there are none to hold
        """
        if not 1 <= count <= self.slots:
            raise ValueError(f"buckets: {count} slots in buckets of up to {self.slots}")
        return self.sizes[bisect_left(self.sizes, count)]

    def most(self, count: int, within_s: float, cost: Cost) -> int:
        """How many of ``count`` slots one step of at most ``within_s`` takes; 0 where not even the smallest bucket fits."""
        if count < 1:
            return 0
        fitting = [size for size in self.sizes if size <= self.holds(count) and cost(size) <= within_s]
        return min(count, fitting[-1]) if fitting else 0

    def batch(self, slots: Sequence[int]) -> Batch:
        """The batch in which ``slots`` (at least one, all different) step."""
        bucket = self.holds(len(slots))
        if max(slots) < bucket:
            return Batch(tuple(slots), tuple(range(bucket)))
        return Batch(tuple(slots), tuple(sorted([*slots, *self._fill(set(slots), bucket - len(slots))])))

    def _fill(self, taken: Collection[int], count: int) -> list[int]:
        idle = (slot for slot in range(self.slots) if slot not in taken)
        return [next(idle) for _ in range(count)]


class StepCosts:
    """What steps cost, as measured: of the last ``RECENT`` of each size the longest, but for a tenth of them. Those are taken
    for what a machine's other work costs, which no plan can avoid. To be given where a ``Cost`` is wanted."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[float]] = {}
        self._costs: dict[int, float] = {}

    def measured(self, bucket: int, took_s: float) -> None:
        """A step of this size took so long, in seconds."""
        self._seen.setdefault(bucket, deque(maxlen=RECENT)).append(took_s)
        self._count(bucket)

    def doubt(self, bucket: int) -> None:
        """Forgets the slower half of what was measured of this size and of smaller ones. What was slow by chance would be
        remembered for ever of a size that is not used because of it."""
        for size, seen in self._seen.items():
            if size <= bucket:
                kept = sorted(seen)[: (len(seen) + 1) // 2]
                seen.clear()
                seen.extend(kept)
                self._count(size)

    def __call__(self, bucket: int) -> float:
        """Seconds. A size that was never measured costs no more than the next larger one, nor more per slot than the next
        smaller.

        :raises ValueError: where nothing was measured yet
        """
        if not self._costs:
            raise ValueError("step costs: nothing was measured yet; warm the engine up first")
        smaller = [size for size in self._costs if size <= bucket]
        least = max((self._costs[size] for size in smaller), default=0.0)
        if bucket in self._costs:
            return least
        larger = min((size for size in self._costs if size > bucket), default=None)
        if larger is not None:
            return max(least, self._costs[larger])
        return max(least, self._costs[max(smaller)] * bucket / max(smaller))

    def _count(self, bucket: int) -> None:
        seen = sorted(self._seen[bucket])
        self._costs[bucket] = seen[-1 - len(seen) // 10]
