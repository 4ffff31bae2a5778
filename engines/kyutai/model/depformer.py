"""The audio tokens of one frame, one codebook after the other, for a batch of slots at once.

The depth transformer has its own weights for each codebook, and its context is the frame: what it knows of the codebooks
before begins anew with every frame, so no slot has state in it. It runs ``n_q`` times, not as often as the model has codebooks.
As it is the larger part of all operations of a step, it does without what moshi's general modules do: projections of the
backbone's output for all codebooks are one product, residual sums are part of the products before them.

The weights are those of moshi's ``LMModel``, on which nothing is copied but the input projections, which are made one tensor
(the module's own weights are then views of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.kyutai.model.sampling import Sampling, choose
from engines.kyutai.model.transformer import norm


@dataclass(frozen=True)
class _Layer:
    """The weights of one layer for one codebook, transposed."""

    norm1: nn.Module
    norm2: nn.Module
    attend_in: Tensor
    attend_out: Tensor
    gate_in: Tensor
    gate_out: Tensor
    activation: Any


class Depformer:
    """``lm``: moshi's ``LMModel``. ``n_q``: codebooks that are made. ``rows``: of the largest batch.

    :raises ValueError: where the model's depth transformer is of a kind that no released model has
    """

    def __init__(self, lm: Any, *, n_q: int, rows: int) -> None:
        if lm.depformer is None or not 1 <= n_q <= lm.dep_q:
            raise ValueError(f"the model makes at most {lm.dep_q} codebooks, not {n_q}")
        transformer = lm.depformer
        first = transformer.layers[0]
        if (
            transformer.positional_embedding != "none"
            or not isinstance(first.layer_scale_1, nn.Identity)
            or first.gating is None
        ):
            raise ValueError("depth transformer: one with gating, and without positions and layer scales, is wanted")
        if first.self_attn.kv_repeat != 1:
            raise ValueError("depth transformer: grouped keys are not supported")
        self.n_q = n_q
        self._heads = first.self_attn.num_heads
        schedule = lm.depformer_weights_per_step_schedule or range(lm.dep_q)
        self._in_index = [schedule[k] if lm.depformer_multi_linear else 0 for k in range(n_q)]
        self._in = _joined([lm.depformer_in[i] for i in range(max(self._in_index) + 1)])
        self._layers = [[_layer(layer, schedule[k]) for layer in transformer.layers] for k in range(n_q)]
        self._embeddings = list(lm.depformer_emb[: n_q - 1])
        for embedding in self._embeddings:
            if embedding.norm is not None:
                raise ValueError("depth transformer: embeddings with a norm are not supported")
        self._low_rank = [e.low_rank.weight.t() if e.low_rank is not None else None for e in self._embeddings]
        self._norms = list(lm.depformer_norms[:n_q])
        self._heads_out = [lm.linears[k].weight.t() for k in range(n_q)]
        self._biases = [lm.linears[k].bias for k in range(n_q)]
        self._card = int(lm.card)
        weight = first.self_attn.in_projs[0].weight
        dim = weight.shape[1]
        shape = (len(transformer.layers), rows, n_q, 2, self._heads, dim // self._heads)
        self._frame = torch.zeros(shape, dtype=weight.dtype, device=weight.device)

    def draws(self, how: Sampling) -> int:
        """Numbers that one frame needs."""
        return self.n_q * how.draws(self._card)

    def step(self, text: Tensor, context: Tensor, how: Sampling, noise: Tensor | None) -> Tensor:
        """``text``: the embedded text token that is fed next, ``[rows, depth_dim]``. ``context``: the backbone's output,
        ``[rows, dim]``. ``noise``: ``[rows, draws]`` or ``None``. Returns the tokens, int64 ``[rows, n_q]``."""
        rows = text.shape[0]
        inputs = context.mm(self._in).view(rows, -1, text.shape[1]).unbind(1)
        noises = [None] * self.n_q if noise is None else noise.chunk(self.n_q, dim=1)
        tokens: list[Tensor] = []
        for k in range(self.n_q):
            x = inputs[self._in_index[k]]
            if k == 0:
                x = x + text
            else:
                embedded = functional.embedding(tokens[-1], self._embeddings[k - 1].weight)
                low_rank = self._low_rank[k - 1]
                x = x + embedded if low_rank is None else torch.addmm(x, embedded, low_rank)
            for number, layer in enumerate(self._layers[k]):
                x = self._through(number, layer, x, k)
            last = self._norms[k]
            x = x if isinstance(last, nn.Identity) else norm(last, x)
            logits = (
                x.mm(self._heads_out[k]) if self._biases[k] is None else torch.addmm(self._biases[k], x, self._heads_out[k])
            )
            tokens.append(choose(logits, how, noises[k]))
        return torch.stack(tokens, 1)

    def _through(self, number: int, layer: _Layer, x: Tensor, k: int) -> Tensor:
        rows, dim = x.shape
        frame = self._frame[number, :rows]
        projected = norm(layer.norm1, x).mm(layer.attend_in).view(rows, 3, self._heads, -1)
        frame[:, k].copy_(projected[:, 1:])
        # [rows, 2, heads, codebooks so far, head_dim]
        keys, values = frame[:, : k + 1].permute(2, 0, 3, 1, 4).unbind(0)
        heard = functional.scaled_dot_product_attention(projected[:, 0, :, None], keys, values)
        x = torch.addmm(x, heard.reshape(rows, dim), layer.attend_out)
        opened, value = norm(layer.norm2, x).mm(layer.gate_in).chunk(2, dim=-1)
        return torch.addmm(x, layer.activation(opened).mul_(value), layer.gate_out)


def _layer(layer: Any, index: int) -> _Layer:
    attention = layer.self_attn
    gating = layer.gating[index] if isinstance(layer.gating, nn.ModuleList) else layer.gating
    own = index if len(attention.in_projs) > 1 else 0
    return _Layer(
        norm1=layer.norm1,
        norm2=layer.norm2,
        attend_in=attention.in_projs[own].weight.t(),
        attend_out=attention.out_projs[own].weight.t(),
        gate_in=gating.linear_in.weight.t(),
        gate_out=gating.linear_out.weight.t(),
        activation=gating.activation,
    )


def _joined(linears: list[nn.Linear]) -> Tensor:
    """The weights of all, as one tensor ``[in, all outs]``; the modules' own become parts of it."""
    joined = torch.cat([linear.weight.data for linear in linears])
    for linear, part in zip(linears, joined.split([linear.out_features for linear in linears]), strict=True):
        linear.weight.data = part
    return joined.t()
