"""Which rows of a model's state make up a batch.

The lowest rows are a view of the state. Any others are gathered by an index and written back by it; both forms have fixed
shapes, so that a step over them can be captured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """``slots``: which rows of the state, ``[bucket]`` int64, on the state's device. ``lowest``: whether they are ``0 .. bucket
    - 1``."""

    slots: Tensor
    lowest: bool

    @property
    def bucket(self) -> int:
        return self.slots.shape[0]

    def of(self, state: Tensor) -> Tensor:
        """These rows of ``state``, ``[slots, …]``: a view where they are the lowest, a copy otherwise."""
        return state.narrow(0, 0, self.bucket) if self.lowest else state.index_select(0, self.slots)

    def put(self, state: Tensor, values: Tensor) -> None:
        """Writes ``values``, ``[bucket, …]``, to these rows."""
        if self.lowest:
            state.narrow(0, 0, self.bucket).copy_(values)
        else:
            state.index_copy_(0, self.slots, values)


def lowest(bucket: int, device: torch.device) -> Rows:
    """The rows ``0 .. bucket - 1``."""
    return Rows(torch.arange(bucket, device=device), lowest=True)
