"""A causal transformer that many sessions step through at once: the weights are those of moshi's own module, the state is ours.

Keys and values lie in one ring per slot, all layers in one tensor. Which of its entries count follows from the slot's offset
alone, and so does the place of the next one. So a slot is new as soon as its offset is 0, and a row that does not step needs no
mask: what it writes lies where its next step will write, over an entry that is out of that step's reach already. Only offsets,
which belong to the caller, must not move for it. This holds while all that is written is finite, as an entry that does not
count is still multiplied by 0.

What all layers share (places in the ring, the mask, the angles of the rotary embedding) is computed once a step. The shapes of
weights, the order of projections and the kinds of norms are those of ``moshi.modules.transformer``; rotary embeddings are those
of https://arxiv.org/abs/2104.09864 with moshi's order of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from moshi.modules.transformer import (
    LayerScale,
    RMSNorm,
    StreamingTransformer,
    StreamingTransformerLayer,
    create_sin_embedding,
)
from torch import Tensor, nn
from torch.nn import functional

from engines.kyutai.model.rows import Rows

CrossKeys = tuple[Tensor, Tensor]
"""Keys and values of what is attended across, ``[bucket, heads, length, head_dim]`` each; or of each of the things that are
attended across, in the place of ``bucket``, where rows share them."""


def norm(module: nn.Module, x: Tensor) -> Tensor:
    """One of moshi's norms of the last dimension, ``[…, dim]``, in as few operations as there are."""
    if isinstance(module, RMSNorm):
        wide = x if module.dtype is None else x.to(module.dtype)
        return functional.rms_norm(wide, (wide.shape[-1],), module.alpha.view(-1).to(wide.dtype), module.eps).to(x.dtype)
    return module(x)


def widen_norms(module: nn.Module) -> None:
    """Brings the weights of all norms in ``module`` to the type that they are used in, once and not in every step."""
    for part in module.modules():
        if isinstance(part, RMSNorm) and part.dtype is not None:
            part.alpha.data = part.alpha.data.to(part.dtype)


def feed_forward(layer: StreamingTransformerLayer, gating: nn.Module | None, x: Tensor) -> Tensor:
    """The layer's second half without its norm and its residual. ``gating``: which of its gatings, ``None`` where it has
    none."""
    if gating is None:
        return layer.linear2(layer.activation(layer.linear1(x)))
    opened, value = gating.linear_in(x).chunk(2, dim=-1)
    return gating.linear_out(gating.activation(opened) * value)


def add(x: Tensor, update: Tensor, scale: nn.Module) -> Tensor:
    """The residual sum, with the layer's scale where it has one."""
    return torch.addcmul(x, update, scale.scale) if isinstance(scale, LayerScale) else x + update


@dataclass(frozen=True)
class Moment:
    """What all layers of one step share. ``places``: where in the ring of all slots the new entries go, ``[bucket * steps]``.
    ``bias``: 0 where an entry counts and -inf elsewhere, ``[bucket, 1, steps, capacity]``. ``turns``: of the rotary embedding,
    complex ``[bucket, steps, 1, head_dim / 2]``, ``None`` where there is none."""

    places: Tensor
    bias: Tensor
    turns: Tensor | None


class RingTransformer:
    """``source``: a ``StreamingTransformer`` of moshi's whose weights are used where they are. ``slots``: rows of state.

    ``ring``: ``[layers, slots, capacity, 2, heads, head_dim]``; keys are 0 and values 1 of its fourth dimension. ``capacity``:
    entries of a slot, as many as the model's context.

    :raises ValueError: where the module is of a kind that no speech engine uses (not causal, no context, weights per step)
    """

    def __init__(self, source: StreamingTransformer, slots: int) -> None:
        first = source.layers[0].self_attn
        if not first.causal or first.context is None or first.weights_per_step:
            raise ValueError("transformer: a causal one with a context and one set of weights is wanted")
        if not isinstance(first.in_projs[0], nn.Linear):
            raise ValueError("transformer: quantised or low-rank weights are not supported")
        self.source = source
        self.slots = slots
        self.capacity = int(first.context)
        self.heads = int(first.num_heads)
        self.kv_heads = self.heads // int(first.kv_repeat)
        self.head_dim = int(first.embed_dim) // self.heads
        weight = first.in_projs[0].weight
        self.device = weight.device
        self.ring = torch.zeros(
            len(source.layers), slots, self.capacity, 2, self.kv_heads, self.head_dim, device=weight.device, dtype=weight.dtype
        )
        self._flat = self.ring.view(len(source.layers), slots * self.capacity, 2, self.kv_heads, self.head_dim)
        widen_norms(source)
        # Masks are laid out in rows of a multiple of 16, or the attention would pad a copy in every layer.
        self._entries = torch.arange(-(-self.capacity // 16) * 16, device=self.device)
        # On the device from the start: a number of the host could not be sent while a graph is captured.
        self._counts = torch.zeros((), device=self.device, dtype=weight.dtype)
        self._counts_not = torch.full((), float("-inf"), device=self.device, dtype=weight.dtype)
        self._pairs: Tensor | None = None
        if source.rope is not None:
            half = torch.arange(self.head_dim // 2, device=self.device, dtype=torch.float32)
            self._pairs = torch.exp(half * (-math.log(source.rope.max_period) * 2 / self.head_dim))

    def moment(self, offsets: Tensor, rows: Rows, steps: int) -> Moment:
        """``offsets``: entries that each row has had before this step, ``[bucket]`` int64. ``steps``: new entries."""
        at = offsets[:, None] + torch.arange(steps, device=self.device)  # [bucket, steps]
        places = (rows.slots[:, None] * self.capacity + at % self.capacity).flatten()
        newest = at[:, -1:, None]
        held = newest - (newest - self._entries) % self.capacity  # [bucket, 1, capacity and more]: which entry lies there now
        far = at[:, :, None] - held
        counts = (held >= 0) & (far >= 0) & (far < self.capacity)
        bias = torch.where(counts, self._counts, self._counts_not)[:, None, :, : self.capacity]
        turns = None
        if self._pairs is not None:
            angles = (at.float()[:, :, None] * self._pairs)[:, :, None]
            turns = torch.complex(torch.cos(angles), torch.sin(angles))
        return Moment(places, bias, turns)

    def step(
        self,
        x: Tensor,
        offsets: Tensor,
        rows: Rows,
        *,
        cross: Sequence[CrossKeys] | None = None,
        cross_bias: Tensor | None = None,
        which: Tensor | None = None,
    ) -> Tensor:
        """The next ``steps`` entries of each row.

        ``x``: ``[bucket, steps, dim]``. ``offsets``: entries that each row has had so far, ``[bucket]`` int64; the caller moves
        them on by ``steps`` where the row steps. ``cross``: per layer what is attended across, where the layers do that;
        ``cross_bias``, broadcast to ``[bucket, heads, steps, length]``, is added to its scores. Returns ``x``'s shape.
        """
        moment = self.moment(offsets, rows, x.shape[1])
        if self.source.positional_embedding in {"sin", "sin_rope"}:
            at = (offsets[:, None] + torch.arange(x.shape[1], device=self.device))[:, :, None]
            sines = create_sin_embedding(at, x.shape[-1], max_period=self.source.max_period, dtype=x.dtype)
            x = x + self.source.positional_scale * sines
        for number, layer in enumerate(self.source.layers):
            x = add(x, self._attend(number, layer, norm(layer.norm1, x), moment, rows), layer.layer_scale_1)
            if layer.cross_attention is not None:
                assert cross is not None
                crossed = norm(layer.norm_cross, x)
                if which is None:
                    update = attend_across(layer, crossed, cross[number], cross_bias)
                else:
                    update = attend_across_shared(layer, crossed, cross[number], which)
                x = add(x, update, layer.layer_scale_cross)
            x = add(x, feed_forward(layer, layer.gating, norm(layer.norm2, x)), layer.layer_scale_2)
        return x

    def _attend(self, number: int, layer: StreamingTransformerLayer, x: Tensor, moment: Moment, rows: Rows) -> Tensor:
        attention = layer.self_attn
        bucket, steps, _ = x.shape
        projected = attention.in_projs[0](x).view(bucket, steps, self.heads + 2 * self.kv_heads, self.head_dim)
        if moment.turns is not None:
            self._turn(projected[:, :, : self.heads + self.kv_heads], moment.turns)
        query = projected[:, :, : self.heads].transpose(1, 2)
        fresh = projected[:, :, self.heads :].reshape(bucket * steps, 2, self.kv_heads, self.head_dim)
        self._flat[number].index_copy_(0, moment.places, fresh)
        keys, values = rows.of(self.ring[number]).transpose(1, 3).unbind(2)  # [bucket, heads, capacity, head_dim] each
        if self.kv_heads != self.heads:
            keys, values = (part.repeat_interleave(self.heads // self.kv_heads, dim=1) for part in (keys, values))
        heard = functional.scaled_dot_product_attention(query, keys, values, moment.bias)
        return attention.out_projs[0](heard.transpose(1, 2).reshape(bucket, steps, self.heads * self.head_dim))

    def _turn(self, x: Tensor, turns: Tensor) -> None:
        """The rotary embedding, in place. ``x``: ``[bucket, steps, heads, head_dim]``."""
        wide = x.float()
        if self.source.rope.interleave:
            torch.view_as_complex(wide.unflatten(-1, (-1, 2))).mul_(turns)
        else:
            real, imaginary = wide.chunk(2, dim=-1)
            turned = torch.complex(real, imaginary) * turns
            wide = torch.cat([turned.real, turned.imag], dim=-1)
        if wide is not x:
            x.copy_(wide)

    def window(self, slots: Tensor, first: Tensor, count: int) -> Tensor:
        """Where in the ring of all slots the entries ``first .. first + count - 1`` of ``slots`` (``[n]`` each) lie: ``[n,
        entries]``, with at most ``capacity`` entries, as more would name a place twice."""
        places = first[:, None] + torch.arange(min(count, self.capacity), device=self.device)
        return slots[:, None] * self.capacity + places % self.capacity

    def entries(self, places: Tensor) -> Tensor:
        """What lies there, ``[layers, n, entries, 2, heads, head_dim]``, where ``places`` is ``[n, entries]``."""
        return self._flat.index_select(1, places.flatten()).unflatten(1, places.shape)

    def put(self, places: Tensor, entries: Tensor) -> None:
        """Writes what ``entries`` gave to ``places``."""
        self._flat.index_copy_(1, places.flatten(), entries.flatten(1, 2))


def attend_across(layer: StreamingTransformerLayer, x: Tensor, source: CrossKeys, bias: Tensor | None) -> Tensor:
    """Attention across, without its norm and its residual: ``[bucket, steps, dim]``."""
    attention = layer.cross_attention
    bucket, steps, dim = x.shape
    query = (
        functional.linear(x, attention.in_projs[0].weight[:dim]).view(bucket, steps, attention.num_heads, -1).transpose(1, 2)
    )
    heard = functional.scaled_dot_product_attention(query, *source, bias)
    return attention.out_projs[0](heard.transpose(1, 2).reshape(bucket, steps, dim))


def attend_across_shared(layer: StreamingTransformerLayer, x: Tensor, sources: CrossKeys, which: Tensor) -> Tensor:
    """As ``attend_across``, for a single step of rows of which many attend across to the same. ``sources``: keys and values of
    all there is, ``[sources, heads, length, head_dim]`` each. ``which``: each row's, ``[bucket]`` int64.

    All rows attend to every source, and each takes its own: so keys and values are read once for all rows, and none is copied
    for a row, which for some hundred positions costs far more than the products.
    """
    attention = layer.cross_attention
    bucket, _, dim = x.shape
    keys, values = sources
    query = functional.linear(x, attention.in_projs[0].weight[:dim]).view(1, bucket, attention.num_heads, -1).transpose(1, 2)
    heard = functional.scaled_dot_product_attention(query.expand(keys.shape[0], -1, -1, -1), keys, values)
    own = heard[which, :, torch.arange(bucket, device=which.device)]  # [bucket, heads, head_dim]
    return attention.out_projs[0](own.reshape(bucket, 1, dim))


def cross_keys(layer: StreamingTransformerLayer, source: Tensor) -> CrossKeys:
    """Keys and values of ``source``, ``[bucket, length, dim]``, for this layer; they hold as long as ``source`` does."""
    attention = layer.cross_attention
    dim = attention.in_projs[0].weight.shape[0] // 3
    both = functional.linear(source, attention.in_projs[0].weight[dim:])
    keys, values = both.view(*source.shape[:2], 2, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    return keys, values
