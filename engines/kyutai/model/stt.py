"""Speech to text, many sessions at once, on moshi's weights.

A step takes the frame that has just been heard: its sound becomes Mimi's codes, their embeddings and that of the last text
token go through the language model once, and its most probable next token is what the slot wrote. That is the order of moshi's
own loop for files (``moshi.run_inference``): there, a stream begins with an entry of start tokens alone, and each frame then
makes one further entry. The start, and the silence that some models want to hear first, are the same for everybody. So they are
computed once, when the model is made, and what they leave is written to a slot that is made new.

All state of a slot is how many frames it heard and the last token, what Mimi's convolutions keep, and two rings of keys and
values, whose valid entries follow from the number of frames. So little has to be kept aside to undo steps: the numbers, the
samples of the convolutions, and the few entries of the rings that those steps overwrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.kyutai.model.checkpoint import SttParts
from engines.kyutai.model.interface import FRAME_SAMPLES, Floats, SttOutput
from engines.kyutai.model.mimi_encoder import MimiEncoder
from engines.kyutai.model.rows import Rows, lowest
from engines.kyutai.model.states import Ring, States
from engines.kyutai.model.transformer import RingTransformer, norm, widen_norms
from engines.kyutai.schedule.buckets import Batch, Buckets

LOUDEST = 8.0
"""Samples beyond this are cut to it, and what is no number is silence: a value that is not finite would never leave a ring."""


class BatchedStt:
    """An ``SttModel``. ``parts``: a model as moshi loads it, whose weights are used where they are, on their device and in
    their type. On a GPU the steps of all buckets are captured here, which takes a while.

    ``slot_bytes``: memory that one slot takes.

    :raises ValueError: where the language model has parts that no speech-to-text model has
    """

    def __init__(self, parts: SttParts, buckets: Buckets) -> None:
        lm = parts.lm
        if lm.dep_q or lm.fuser is not None or any(lm.delays) or any(_is_special(emb) for emb in (lm.text_emb, *lm.emb)):
            raise ValueError("stt: a language model without depformer, conditions, delays and factored embeddings is wanted")
        self.buckets = buckets
        self.slots = buckets.slots
        self.delay = parts.delay
        self.heads = len(lm.extra_heads)
        self.device: torch.device = lm.text_linear.weight.device
        self._lm = lm
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # for Mimi; Kyutai's own evaluation of these models does so
        with torch.no_grad():
            widen_norms(lm.out_norm)
            self._mimi = MimiEncoder(parts.mimi, self.slots)
            self._ring = RingTransformer(lm.transformer, self.slots)
            self._table, self._starts = _one_table([lm.text_emb, *lm.emb])
            self._pauses = torch.cat([head.weight for head in lm.extra_heads]) if self.heads else None
            self._numbers = torch.zeros(self.slots, 2, dtype=torch.int64, device=self.device)  # frames heard, last token
            self._inputs = torch.zeros(self.slots, FRAME_SAMPLES + 1, device=self.device)  # sound; whether the row steps
            self._outputs = torch.zeros(self.slots, 1 + self.heads, device=self.device)  # token; pauses
            self._gathered = torch.zeros(self.slots, dtype=torch.int64, device=self.device)
            self._rows = {
                (size, is_lowest): lowest(size, self.device) if is_lowest else Rows(self._gathered[:size], lowest=False)
                for size in buckets.sizes
                for is_lowest in (True, False)
            }
            pinned = self.device.type == "cuda"
            self._sent = torch.zeros(self._inputs.shape, pin_memory=pinned)
            self._sent_rows = torch.zeros(self.slots, dtype=torch.int64, pin_memory=pinned)
            self._told = torch.zeros(self._outputs.shape, pin_memory=pinned)
            self._states = States(
                self._numbers,
                self._mimi.previous,
                [Ring(self._ring, 1, 1), Ring(self._mimi.transformer, 0, self._mimi.steps)],
                reach=self.delay + 1,
            )
            self._begin(parts.prefix)
            self._graphs = self._captured() if self.device.type == "cuda" else {}

    @property
    def slot_bytes(self) -> int:
        return self._states.slot_bytes

    @torch.no_grad()
    def step(self, batch: Batch, pcm: Floats) -> SttOutput:
        """See ``SttModel``.

        :raises ValueError: where the batch is of no bucket, or ``pcm`` has another shape
        """
        size = batch.bucket
        if size not in self.buckets.sizes or pcm.shape != (size, FRAME_SAMPLES):
            raise ValueError(f"stt: {size} rows of {pcm.shape}, in buckets of {self.buckets.sizes}")
        sent = self._sent.numpy()[:size]
        sent[:, :FRAME_SAMPLES] = pcm
        sent[:, FRAME_SAMPLES] = batch.mask
        self._inputs[:size].copy_(self._sent[:size], non_blocking=True)
        is_lowest = batch.rows[-1] == size - 1
        if not is_lowest:
            self._sent_rows.numpy()[:size] = batch.rows
            self._gathered[:size].copy_(self._sent_rows[:size], non_blocking=True)
        graph = self._graphs.get((size, is_lowest))
        if graph is None:
            self._forward(self._rows[size, is_lowest])
        else:
            graph.replay()
        # The one time that the device is waited for. It also holds what was sent in place until it has been read.
        self._told[:size].copy_(self._outputs[:size])
        self._states.stepped(batch.slots)
        order = np.searchsorted(batch.rows, batch.slots)
        told = self._told.numpy()[order]
        return SttOutput(tokens=told[:, 0].astype(np.int64), pauses=told[:, 1:])

    @torch.no_grad()
    def reset(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        self._states.reset(slots)

    @torch.no_grad()
    def save(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        self._states.save(slots)

    @torch.no_grad()
    def restore(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        self._states.restore(slots)

    @torch.no_grad()
    def keep(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        self._states.keep(slots)

    @torch.no_grad()
    def load(self, slots: Sequence[int]) -> None:
        """See ``SttModel``."""
        self._states.load(slots)

    def _begin(self, prefix: int) -> None:
        """The start that all slots share, made in slot 0."""
        first = lowest(1, self.device)
        start = [self._lm.text_initial_token_id] + [self._lm.initial_token_id] * self._mimi.codebooks
        logits, _ = self._think(torch.tensor([start], device=self.device), torch.zeros_like(first.slots), first)
        self._numbers[:1, 1] = self._choose(logits)
        self._inputs[:1, FRAME_SAMPLES] = 1.0
        for _ in range(prefix):
            self._forward(first)
        self._states.begin(prefix)
        self._inputs.zero_()

    def _forward(self, rows: Rows) -> None:
        """One step of these rows, from ``_inputs`` to ``_outputs``. Only work of the device, in fixed shapes."""
        inputs = self._inputs[: rows.bucket]
        mask = inputs[:, FRAME_SAMPLES] > 0.5
        pcm = torch.nan_to_num(inputs[:, :FRAME_SAMPLES]).clamp_(-LOUDEST, LOUDEST)
        numbers = rows.of(self._numbers)
        frames = numbers[:, 0]
        codes = self._mimi.encode(pcm, frames, rows, mask)
        logits, pauses = self._think(torch.cat([numbers[:, 1:], codes], dim=1), frames + 1, rows)
        token = self._choose(logits)
        self._outputs[: rows.bucket, 0].copy_(token)
        if pauses is not None:
            self._outputs[: rows.bucket, 1:].copy_(pauses)
        rows.put(self._numbers, torch.where(mask[:, None], torch.stack([frames + 1, token], dim=1), numbers))

    def _think(self, tokens: Tensor, offsets: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """The language model. ``tokens``: of text and then of each codebook, ``[bucket, 1 + codebooks]``. Returns logits
        ``[bucket, vocabulary]`` and of each pause head its first probability ``[bucket, heads]``."""
        x = functional.embedding(tokens + self._starts, self._table).sum(dim=1, keepdim=True)
        x = norm(self._lm.out_norm, self._ring.step(x, offsets, rows))[:, 0]
        pauses = None
        if self._pauses is not None:
            scores = functional.linear(x, self._pauses).float().unflatten(1, (self.heads, -1))
            pauses = torch.softmax(scores, dim=-1)[..., 0]
        return self._lm.text_linear(x), pauses

    def _choose(self, logits: Tensor) -> Tensor:
        """The token that is written: the most probable one, ``[bucket]``."""
        return logits.argmax(dim=1)

    def _captured(self) -> dict[tuple[int, bool], torch.cuda.CUDAGraph]:
        """A CUDA graph of the step of each bucket, in both forms of rows. No row steps meanwhile."""
        graphs: dict[tuple[int, bool], torch.cuda.CUDAGraph] = {}
        self._gathered.copy_(torch.arange(self.slots, device=self.device))
        pool = torch.cuda.graph_pool_handle()
        # The largest first, so that the others find room in what it has taken.
        for key in sorted(self._rows, reverse=True):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self._forward(self._rows[key])
            torch.cuda.current_stream().wait_stream(side)
            graphs[key] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graphs[key], pool=pool):
                self._forward(self._rows[key])
        return graphs


def _is_special(embedding: Any) -> bool:
    return embedding.norm is not None or embedding.low_rank is not None or embedding.demux_second_stream


def _one_table(embeddings: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """All embeddings in one table, which they share from now on, and the row at which each begins."""
    table = torch.cat([embedding.weight for embedding in embeddings])
    starts = [0]
    for embedding in embeddings:
        end = starts[-1] + embedding.weight.shape[0]
        embedding.weight.data = table[starts[-1] : end]
        starts.append(end)
    return table, torch.tensor(starts[:-1], device=table.device)
