"""Embeddings of a step's tokens as one look-up each.

moshi looks up every codebook, and both text streams, in a module of its own, each of which also minds the token that stands
for nothing: some 250 operations for a step of 32 codebooks. Here all rows lie in one table, the one that stands for nothing
is a row of zeros, and a step is one look-up and one sum. Where a text stream is multiplied by a matrix, the table holds the
products. The modules' own weights of the codebooks become parts of the table, so that they are not there twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def _text_rows(embedding: Any) -> tuple[Tensor, Tensor | None]:
    """Rows for each token of the main stream, and of the stream that is ahead, where the model has one.

    :raises ValueError: where the embedding has a norm of its own
    """
    if embedding.norm is not None:
        raise ValueError("text embedding: one without a norm is wanted")
    weight = embedding.weight.data
    if embedding.demux_second_stream:
        return embedding.out1(weight), embedding.out2(weight)
    return weight if embedding.low_rank is None else embedding.low_rank(weight), None


class TextTable:
    """``embedding``: moshi's ``ScaledEmbedding`` of text, with one stream or two."""

    @torch.no_grad()
    def __init__(self, embedding: Any) -> None:
        main, second = _text_rows(embedding)
        self._second = len(main)
        self._two = second is not None
        parts = [main, second] if second is not None else [main]
        self._table = torch.cat([*parts, main.new_zeros(1, main.shape[1])])

    def __call__(self, main: Tensor, second: Tensor) -> Tensor:
        """``main``, ``second``: int64 ``[rows]``; ``second`` may be -1 for nothing. Returns ``[rows, dim]``."""
        if not self._two:
            return functional.embedding(main, self._table)
        nothing = len(self._table) - 1
        second = torch.where(second < 0, nothing, second + self._second)
        return functional.embedding(torch.stack([main, second], 1), self._table).sum(1)


class InputTable:
    """What the backbone reads. ``audio``: rows ``[codebooks * card, dim]`` of the codebooks that are fed, ``card`` tokens each.
    ``text``: of the main stream, ``second``: of the stream that is ahead. ``first``: what else is read in step 0, 1, …, with a
    row of zeros at the end for all later ones."""

    def __init__(self, audio: Tensor, card: int, text: Tensor, second: Tensor | None, first: Tensor) -> None:
        parts = [audio, text, *([] if second is None else [second]), first]
        self._table = torch.cat(parts)
        self._card_starts = torch.arange(len(audio) // card, device=audio.device) * card
        self._text = len(audio)
        self._second = None if second is None else len(audio) + len(text)
        self._first = len(self._table) - len(first)
        self._nothing = len(self._table) - 1
        self.audio = self._table[: len(audio)]

    def __call__(self, step: Tensor, main: Tensor, second: Tensor, codes: Tensor) -> Tensor:
        """``step``, ``main``, ``second``: int64 ``[rows]``. ``codes``: int64 ``[rows, codebooks]``. -1 is nothing, in the last
        two. Returns ``[rows, dim]``."""
        nothing = self._nothing
        audio = torch.where(codes < 0, nothing, codes + self._card_starts)
        places = [(main + self._text)[:, None], (step + self._first).clamp(max=nothing)[:, None], audio]
        if self._second is not None:
            places.append(torch.where(second < 0, nothing, second + self._second)[:, None])
        return functional.embedding(torch.cat(places, 1), self._table).sum(1)


@torch.no_grad()
def input_table(lm: Any, n_q: int) -> InputTable:
    """``lm``: moshi's ``LMModel``. ``n_q``: codebooks that are fed.

    In its first steps, up to its delay, a codebook is fed the start token, whether it is made or not.

    :raises ValueError: where embeddings have norms of their own
    """
    if any(embedding.norm is not None or embedding.low_rank is not None for embedding in lm.emb):
        raise ValueError("audio embeddings: plain ones are wanted")
    delays = lm.delays[lm.audio_offset :]
    first = lm.emb[0].weight.new_zeros(max(delays) + 2, lm.dim)
    for step in range(len(first) - 1):
        for delay, embedding in zip(delays, lm.emb, strict=True):
            if step <= delay:
                first[step] += embedding.weight[lm.initial_token_id]
    text, second = _text_rows(lm.text_emb)
    used = list(lm.emb[:n_q])
    card = used[0].weight.shape[0]
    table = InputTable(torch.cat([embedding.weight for embedding in used]), card, text, second, first)
    for embedding, part in zip(used, table.audio.split(card), strict=True):
        embedding.weight.data = part
    return table
