"""Mimi's encoder for many sessions at once: a frame of sound to codes, with moshi's weights and a state of our own.

Each causal convolution needs the last samples of its input from the frame before. All of them lie in one flat row per slot, so
that keeping, resetting and masking them is one write. The transformer's state is a ``RingTransformer``. The shapes are those of
``moshi.models.compression`` (https://arxiv.org/abs/2410.00037, section 3.3).
"""

from __future__ import annotations

from typing import Any

import torch
from moshi.modules.conv import StreamingConv1d
from moshi.modules.seanet import SEANetResnetBlock
from torch import Tensor, nn
from torch.nn import functional

from engines.kyutai.model.rows import Rows
from engines.kyutai.model.transformer import RingTransformer


class MimiEncoder:
    """``mimi``: moshi's ``MimiModel``. ``slots``: rows of state.

    ``previous``: what convolutions keep, ``[slots, samples]`` float32. ``steps``: entries of the transformer in a frame.
    ``codebooks``: codes of a frame.
    """

    def __init__(self, mimi: Any, slots: int) -> None:
        self._mimi = mimi
        self._stages = list(mimi.encoder.model)
        self._places: dict[int, tuple[int, tuple[int, int]]] = {}  # by the id of the convolution: start, (channels, samples)
        self._width = 0
        for stage in self._stages:
            self._place(stage)
        self._place(mimi.downsample.conv)
        self.transformer = RingTransformer(mimi.encoder_transformer.transformer, slots)
        self.device = self.transformer.device
        self.previous = torch.zeros(slots, self._width, device=self.device)
        self.steps = int(mimi.encoder_frame_rate / mimi.frame_rate)
        self.codebooks = int(mimi.num_codebooks)
        self._parts = (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest)
        self._books = [[Codebook(layer) for layer in part.vq.layers[: part.n_q]] for part in self._parts]

    def encode(self, pcm: Tensor, frames: Tensor, rows: Rows, mask: Tensor) -> Tensor:
        """``pcm``: float32 ``[bucket, 1920]``. ``frames``: how many each row has heard before, ``[bucket]`` int64. ``mask``:
        whether the row steps, ``[bucket]`` bool. Returns codes, ``[bucket, codebooks]`` int64. The caller counts frames."""
        old = rows.of(self.previous)
        new = torch.empty_like(old)
        x = pcm[:, None]
        for stage in self._stages:
            x = self._stage(stage, x, frames, old, new)
        x = self._transform(x, frames, rows)
        x = self._convolve(self._mimi.downsample.conv, x, frames, old, new)
        rows.put(self.previous, torch.where(mask[:, None], new, old))
        return self._quantise(x)

    def _place(self, stage: nn.Module) -> None:
        if isinstance(stage, StreamingConv1d):
            shape = (stage.conv.conv.in_channels, stage._padding_total)
            self._places[id(stage)] = (self._width, shape)
            self._width += shape[0] * shape[1]
        elif isinstance(stage, SEANetResnetBlock):
            for part in (*stage.block, stage.shortcut):
                self._place(part)

    def _stage(self, stage: nn.Module, x: Tensor, frames: Tensor, old: Tensor, new: Tensor) -> Tensor:
        if isinstance(stage, StreamingConv1d):
            return self._convolve(stage, x, frames, old, new)
        if isinstance(stage, SEANetResnetBlock):
            inner = x
            for part in stage.block:
                inner = self._stage(part, inner, frames, old, new)
            return self._stage(stage.shortcut, x, frames, old, new) + inner
        return stage(x)

    def _convolve(self, stage: StreamingConv1d, x: Tensor, frames: Tensor, old: Tensor, new: Tensor) -> Tensor:
        start, shape = self._places[id(stage)]
        if shape[1]:
            end = start + shape[0] * shape[1]
            before = old[:, start:end].unflatten(1, shape)
            if stage.pad_mode == "replicate":
                before = torch.where((frames == 0)[:, None, None], x[..., :1], before)
            x = torch.cat([before, x], dim=-1)
            new[:, start:end].unflatten(1, shape).copy_(x[..., -shape[1] :])
        return stage.conv.conv(x)

    def _transform(self, x: Tensor, frames: Tensor, rows: Rows) -> Tensor:
        projected = self._mimi.encoder_transformer
        x = x.transpose(1, 2)
        if projected.input_proj is not None:
            x = projected.input_proj(x)
        x = self.transformer.step(x, frames * self.steps, rows)
        return projected.output_projs[0](x).transpose(1, 2)

    def _quantise(self, x: Tensor) -> Tensor:
        codes = []
        for part, books in zip(self._parts, self._books, strict=True):
            residual = part.input_proj(x)[:, :, 0]
            for number, book in enumerate(books):
                chosen = book.nearest(residual)
                codes.append(chosen)
                if number + 1 < len(books):
                    residual = residual - functional.embedding(chosen, book.centroids)
        return torch.stack(codes, dim=1)


class Codebook:
    """One of Mimi's codebooks. ``centroids``: ``[bins, dim]``."""

    def __init__(self, layer: Any) -> None:
        if not isinstance(layer.project_in, nn.Identity):
            raise ValueError("mimi: codebooks with a projection of their own are not supported")
        self.centroids = layer._codebook.embedding.contiguous()
        self._across = self.centroids.t()
        self._half_norms = self.centroids.square().sum(dim=1) / -2

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest centroid of each row of ``[bucket, dim]``: where ``x·c - |c|²/2`` is greatest, ``|x - c|²`` is least."""
        return torch.addmm(self._half_norms, x, self._across).argmax(dim=1)
