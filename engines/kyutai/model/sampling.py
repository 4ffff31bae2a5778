"""Which token a slot takes, for a batch of slots at once.

moshi draws from the global random generator, so that what one session says depends on who else is in the batch. Here each draw
is a function of the slot's seed, its own step and the place of the draw in the step (a counter-based generator): a session says
the same alone and among others. The mixing function is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", 2014); the choice is by the Gumbel-max trick, which draws from the softmax of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX = ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64)))


@dataclass(frozen=True)
class Sampling:
    """``temp``: temperature, 0 for the most probable token. ``top_k``: of how many of the most probable is drawn; 0: of all."""

    temp: float
    top_k: int

    def draws(self, card: int) -> int:
        """Numbers that one choice among ``card`` tokens needs."""
        if self.temp <= 0:
            return 0
        return min(self.top_k, card) if self.top_k else card


def mixed(x: Tensor) -> Tensor:
    """SplitMix64's output function. ``x``: int64, any shape; its products wrap around."""
    for shift, factor in _MIX:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def gumbel(seeds: Tensor, steps: Tensor, count: int) -> Tensor:
    """Gumbel noise, float32 ``[rows, count]``. ``seeds``, ``steps``: int64 ``[rows]``. The first numbers are the same whatever
    the ``count``."""
    places = torch.arange(1, count + 1, device=seeds.device) * _GOLDEN
    # Steps that follow each other must not be shifted copies, so seed and step are mixed before the place comes in.
    whole = mixed(mixed(mixed(seeds) + steps)[:, None] + places)
    uniform = (((whole >> 40) & 0xFFFFFF).float() + 0.5) * 2.0**-24
    return uniform.log_().neg_().log_().neg_()


def choose(logits: Tensor, how: Sampling, noise: Tensor | None) -> Tensor:
    """One token for each row, int64 ``[rows]``. ``logits``: ``[rows, card]``. ``noise``: ``[rows, how.draws(card)]``; for the
    most probable token none is used."""
    if how.temp <= 0 or noise is None:
        return logits.argmax(-1)
    scores = logits.float()
    if noise.shape[1] == logits.shape[1]:
        return torch.add(noise, scores, alpha=1 / how.temp).argmax(-1)
    best, tokens = scores.topk(noise.shape[1])
    index = torch.add(noise, best, alpha=1 / how.temp).argmax(-1, keepdim=True)
    return tokens.gather(-1, index)[:, 0]
