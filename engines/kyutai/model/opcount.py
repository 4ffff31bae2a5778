"""How many operations of PyTorch a step takes. Each is a launch on a GPU, and what a batch of moderate size waits for.

Counted as they are dispatched to ATen, on whatever device, so a CPU and tiny widths do: only a model's depth matters. What only
looks at a tensor in another way (views) is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from moshi.models import LMGen
from moshi.utils.compile import no_compile
from torch.utils._python_dispatch import TorchDispatchMode

from engines.kyutai.model.checkpoint import SttParts
from engines.kyutai.model.interface import FRAME_SAMPLES
from engines.kyutai.model.stt import BatchedStt

WAITING = frozenset({"_local_scalar_dense", "nonzero", "is_nonzero", "item", "equal", "masked_select", "unique"})
"""Operations after which the host must wait for a GPU."""


@dataclass(frozen=True)
class Ops:
    """``calls``: how often each operation was called, by its name. ``views``: how many of all of them only look."""

    calls: Counter[str]
    views: int

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    @property
    def launches(self) -> int:
        return self.total - self.views

    @property
    def waits(self) -> int:
        """Operations for which the host would wait."""
        return sum(count for name, count in self.calls.items() if name in WAITING)


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.views = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        self.views += func.is_view or func.overloadpacket is torch.ops.aten._unsafe_view
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def count(call: Callable[[], object]) -> Ops:
    """The operations of one call."""
    with _Counting() as counting:
        call()
    return Ops(counting.calls, counting.views)


@dataclass(frozen=True)
class SttOps:
    """``step``: of one step with all slots. ``admission``: of making one slot new. ``swap``: of keeping all slots aside and
    putting them back, around a flush; ``None`` where nothing can do that."""

    step: Ops
    admission: Ops
    swap: Ops | None = None


def stt_ops(model: BatchedStt) -> SttOps:
    """Of our batched model. Its slot 0 is new afterwards, and all slots have heard a frame of silence. Captured steps cannot be
    counted: the model must be on a CPU."""
    batch = model.buckets.batch(range(model.slots))
    silence = np.zeros((model.slots, FRAME_SAMPLES), np.float32)
    everyone = range(model.slots)

    def swap() -> None:
        model.save(everyone)
        model.restore(everyone)

    return SttOps(count(lambda: model.step(batch, silence)), count(lambda: model.reset([0])), count(swap))


@torch.no_grad()
def moshi_stt_ops(parts: SttParts, slots: int) -> SttOps:
    """Of the loop of moshi-server's own Python module on the same weights (``rust/moshi-server/batched_asr.py``): execution
    masks, Mimi, the language model, its pause heads; and the reset of one slot."""
    gen = LMGen(parts.lm, temp=0.0, temp_text=0.0)
    everyone = torch.ones(slots, dtype=torch.bool)
    first = torch.arange(slots) == 0
    silence = torch.zeros(slots, 1, FRAME_SAMPLES)

    def step() -> None:
        gen.set_exec_mask(everyone)
        parts.mimi.set_exec_mask(everyone)
        gen.step_with_extra_heads(parts.mimi.encode(silence))

    def reset() -> None:
        gen.reset_streaming(reset_mask=first)
        parts.mimi.reset_streaming(reset_mask=first)

    with no_compile(), parts.mimi.streaming(slots), gen.streaming(slots):
        step()  # the first one also makes what later ones find
        return SttOps(count(step), count(reset))
