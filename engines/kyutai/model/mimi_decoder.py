"""Mimi's decoder for many slots at once: codes of one frame in, 80 ms of audio out.

The weights are those of moshi's ``MimiModel``. Its streaming convolutions each keep their own buffers and mask each of them
with what steps; here all buffers of a slot lie in one row, so that a step has one masked write for them, and an admission one
in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.seanet import SEANetResnetBlock
from torch import Tensor, nn
from torch.nn import functional

from engines.kyutai.model.rows import Rows
from engines.kyutai.model.transformer import RingTransformer


@dataclass(frozen=True)
class _Buffer:
    """What a convolution keeps of the past: ``[channels, length]``."""

    channels: int
    length: int

    @property
    def size(self) -> int:
        return self.channels * self.length


class _Past:
    """The buffers of one step in the order of the convolutions; what they are afterwards is gathered."""

    def __init__(self, parts: Iterator[Tensor]) -> None:
        self._parts = parts
        self.after: list[Tensor] = []

    def next(self, buffer: _Buffer) -> Tensor:
        return next(self._parts).unflatten(1, (buffer.channels, buffer.length))

    def keep(self, part: Tensor) -> None:
        self.after.append(part.flatten(1))


class MimiDecoder:
    """``mimi``: moshi's ``MimiModel``. ``n_q``: codebooks of a frame. ``slots``: rows of state.

    ``past``: what the convolutions keep, ``[slots, numbers]``; all 0 in a new slot. ``ring``: the transformer.

    :raises ValueError: where the model is of another kind than the released ones
    """

    def __init__(self, mimi: Any, *, n_q: int, slots: int) -> None:
        first, rest = mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest
        if mimi.quantizer.n_q_semantic != 1 or n_q > mimi.quantizer.total_codebooks:
            raise ValueError(f"Mimi: one semantic codebook of at least {n_q} in all is wanted")
        layers = [*first.vq.layers[:1], *rest.vq.layers[: n_q - 1]]
        if not all(isinstance(layer.project_out, nn.Identity) for layer in layers):
            raise ValueError("Mimi: codebooks with projections of their own are not supported")
        self._tables = torch.cat([layer.embedding for layer in layers])
        self._starts = torch.arange(n_q, device=self._tables.device) * int(mimi.cardinality)
        self._project_first, self._project_rest = (_matrix(part.output_proj, self._tables) for part in (first, rest))
        self._upsample = mimi.upsample.convtr
        if mimi.decoder_transformer.input_proj is not None or not isinstance(
            mimi.decoder_transformer.output_projs[0], nn.Identity
        ):
            raise ValueError("Mimi: a decoder without projections is wanted")
        self.ring = RingTransformer(mimi.decoder_transformer.transformer, slots)
        self._modules = mimi.decoder.model
        self._rate = self._upsample.convtr.convtr.stride[0]
        self._sizes = [buffer.size for buffer in _buffers([self._upsample, *self._modules])]
        self.past = torch.zeros(slots, sum(self._sizes), device=self._tables.device, dtype=self._tables.dtype)

    def step(self, codes: Tensor, frames: Tensor, rows: Rows, mask: Tensor) -> Tensor:
        """One frame of each row.

        ``codes``: int64 ``[bucket, n_q]``, all at least 0. ``frames``: frames that each row has had so far, ``[bucket]`` int64.
        ``mask``: which rows step, bool ``[bucket, 1]``. Returns the audio, ``[bucket, samples]``.
        """
        before = rows.of(self.past)
        past = _Past(iter(before.split(self._sizes, dim=1)))
        embedded = functional.embedding(codes + self._starts, self._tables)
        x = embedded[:, 0].mm(self._project_first)
        if codes.shape[1] > 1:
            x = torch.addmm(x, embedded[:, 1:].sum(1), self._project_rest)
        x = _spread(self._upsample, x[:, :, None], past)
        x = self.ring.step(x.transpose(1, 2), frames * self._rate, rows).transpose(1, 2)
        for module in self._modules:
            x = _through(module, x, past)
        rows.put(self.past, torch.where(mask, torch.cat(past.after, 1), before))
        return x[:, 0]


def _matrix(projection: nn.Module, like: Tensor) -> Tensor:
    if isinstance(projection, nn.Identity):
        return torch.eye(like.shape[1], dtype=like.dtype, device=like.device)
    return projection.weight[:, :, 0].t()


def _buffer(module: nn.Module) -> _Buffer | None:
    if isinstance(module, StreamingConv1d):
        if module.pad_mode != "constant":
            raise ValueError("Mimi: a decoder padded with zeros is wanted")
        length = module._effective_kernel_size - module._stride
        return _Buffer(module.conv.conv.in_channels, length) if length else None
    if isinstance(module, StreamingConvTranspose1d):
        length = module._kernel_size - module._stride
        return _Buffer(module.convtr.convtr.out_channels, length) if length else None
    return None


def _buffers(modules: Any) -> Iterator[_Buffer]:
    for module in modules:
        if isinstance(module, SEANetResnetBlock):
            if not isinstance(module.shortcut, nn.Identity):
                raise ValueError("Mimi: a decoder with true residuals is wanted")
            yield from _buffers(module.block)
        elif buffer := _buffer(module):
            yield buffer


def _through(module: nn.Module, x: Tensor, past: _Past) -> Tensor:
    if isinstance(module, StreamingConv1d):
        return _convolve(module, x, past)
    if isinstance(module, StreamingConvTranspose1d):
        return _spread(module, x, past)
    if isinstance(module, SEANetResnetBlock):
        y = x
        for part in module.block:
            y = _through(part, y, past)
        return x + y
    return module(x)


def _convolve(module: StreamingConv1d, x: Tensor, past: _Past) -> Tensor:
    """``x``: ``[bucket, channels, steps]``."""
    if buffer := _buffer(module):
        x = torch.cat([past.next(buffer), x], dim=2)
        past.keep(x[:, :, -buffer.length :])
    return module.conv.conv(x)


def _spread(module: StreamingConvTranspose1d, x: Tensor, past: _Past) -> Tensor:
    """A transposed convolution: what reaches beyond these steps is added to the next ones."""
    inner = module.convtr.convtr
    y = functional.conv_transpose1d(x, inner.weight, None, inner.stride, groups=inner.groups)
    if buffer := _buffer(module):
        y[:, :, : buffer.length] += past.next(buffer)
        past.keep(y[:, :, -buffer.length :])
        y = y[:, :, : -buffer.length]
    return y if inner.bias is None else y + inner.bias[:, None]
