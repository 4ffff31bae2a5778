"""A speech-to-text model whose words can be foretold: a frame's loudness is the token that is written ``delay`` steps later.

It keeps the rules of ``SttModel`` and says so where somebody breaks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from engines.kyutai.model.interface import FRAME_SAMPLES, Floats, SttOutput
from engines.kyutai.schedule.buckets import Batch, Buckets
from engines.kyutai.text import PADDING, WORD_END

DELAY = 6
_SCALE = 1000


def spoken(text: str) -> Floats:
    """A voice that says ``text``: a frame for each letter, and for each space one that is a word's end; a dot is silence."""
    return np.concatenate([np.full(FRAME_SAMPLES, _loudness(letter), np.float32) for letter in text])


def written(tokens: list[int]) -> str:
    return "".join(chr(token) for token in tokens)


def _loudness(letter: str) -> float:
    return {" ": 1, ".": 0}.get(letter, ord(letter)) / _SCALE


class FakeStt:
    """``deaf``: slots that write nothing until they are reset. ``prs``: the pause heads give the number of the frame."""

    def __init__(self, sizes: Sequence[int] = (1, 2, 4), *, heads: int = 4) -> None:
        self.buckets = Buckets(sizes)
        self.slots = self.buckets.slots
        self.delay = DELAY
        self.heads = heads
        self.deaf: set[int] = set()
        self.steps = 0
        self.shape = (0, 0)
        self.largest = 0
        self._heard: dict[int, list[int]] = {}
        self._saved: dict[int, list[int]] = {}
        self._kept: dict[int, list[int]] = {}

    def step(self, batch: Batch, pcm: Floats) -> SttOutput:
        assert pcm.shape == (batch.bucket, FRAME_SAMPLES)
        assert pcm.dtype == np.float32
        assert set(batch.slots) <= set(batch.rows)
        self.steps += 1
        self.largest = max(self.largest, len(batch.slots))
        tokens, pauses = [], []
        for slot in batch.slots:
            heard = self._heard.setdefault(slot, [])
            level = round(float(np.abs(pcm[batch.rows.index(slot)]).max()) * _SCALE)
            heard.append({0: PADDING, 1: WORD_END}.get(level, level))
            writes = heard[-1 - DELAY] if len(heard) > DELAY and slot not in self.deaf else PADDING
            tokens.append(writes)
            pauses.append([len(heard) / _SCALE] * self.heads)
        return SttOutput(np.array(tokens, np.int64), np.array(pauses, np.float32).reshape(len(tokens), self.heads))

    def reset(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._heard.pop(slot, None)
            self.deaf.discard(slot)

    def save(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._saved[slot] = deepcopy(self._heard.get(slot, []))

    def restore(self, slots: Sequence[int]) -> None:
        for slot in slots:
            if slot not in self._saved:
                raise ValueError(f"slot {slot} was not saved")
            self._heard[slot] = self._saved.pop(slot)

    def keep(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._kept[slot] = deepcopy(self._heard.get(slot, []))

    def load(self, slots: Sequence[int]) -> None:
        for slot in slots:
            if slot not in self._kept or slot not in self._saved:
                raise ValueError(f"slot {slot} was not kept, or not saved first")
            self._heard[slot] = deepcopy(self._kept[slot])
