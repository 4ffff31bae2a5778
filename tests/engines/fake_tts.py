"""A voice without weights, for tests of what goes on around a model: every sample says whose it is and which frame."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from engines.kyutai.model.interface import TtsOutput
from engines.kyutai.schedule.backlog import FRAME
from engines.kyutai.schedule.buckets import Batch, Buckets

LEAD_IN = 4
"""Steps before the first audio."""
PER_WORD = 3
"""Steps that one word takes; the frames after the last are as many as a word's."""


@dataclass
class _Slot:
    voice: object
    seed: int
    words: deque[list[int]] = field(default_factory=deque)
    steps: int = 0
    left: int = 0
    ended: bool = False
    end_step: int | None = None


class FakeTts:
    """Says ``PER_WORD`` frames a word, ``LEAD_IN`` steps later. The samples of frame ``k`` are ``sample(seed, k)``. Says no
    to voices named ``bad``; fails the test where it is told something that no model could carry out."""

    n_q = 8
    frame_rate = 12.5

    def __init__(self, *sizes: int) -> None:
        self.buckets = Buckets(sizes)
        self.slots = self.buckets.slots
        self.live: dict[int, _Slot] = {}
        self.said: list[tuple[int, list[int]]] = []
        """Words as they were begun: the session's seed, and the tokens."""
        self.voices: list[object] = []
        self.batches: list[Batch] = []

    def admit(self, slot: int, voice: object, seed: int) -> None:
        assert 0 <= slot < self.slots
        assert slot not in self.live, "admitted twice"
        if isinstance(voice, str) and voice.startswith("bad"):
            raise ValueError(f"the file of the voice {voice} is broken")
        self.voices.append(voice)
        self.live[slot] = _Slot(voice, seed)

    def give(self, slot: int, tokens_of_words: list[list[int]]) -> None:
        assert not self.live[slot].ended, "words after the end"
        if not all(tokens_of_words):
            raise ValueError("a word without tokens")
        self.live[slot].words.extend(tokens_of_words)

    def end(self, slot: int) -> None:
        self.live[slot].ended = True

    def free(self, slot: int) -> None:
        self.live.pop(slot, None)

    def step(self, batch: Batch) -> TtsOutput:
        assert len(set(batch.rows)) == batch.bucket in self.buckets.sizes
        assert set(batch.slots) <= set(batch.rows)
        self.batches.append(batch)
        made = [self._step(self.live[slot]) for slot in batch.slots]
        pcm, has_audio, words, step_index, done = zip(*made, strict=True)
        return TtsOutput(
            pcm=np.stack(pcm),
            has_audio=np.array(has_audio),
            words=np.array(words, np.int64),
            step_index=np.array(step_index, np.int64),
            done=np.array(done),
        )

    def _step(self, one: _Slot) -> tuple[np.ndarray, bool, int, int, bool]:
        assert one.end_step is None or one.steps < one.end_step + LEAD_IN + PER_WORD, "stepped after it was done"
        step, words = one.steps, 0
        one.steps += 1
        if one.left == 0 and one.words:
            self.said.append((one.seed, one.words.popleft()))
            one.left, words = PER_WORD, 1
        if one.left:
            one.left -= 1
        else:
            assert one.ended, "stepped with nothing to say"
            one.end_step = step if one.end_step is None else one.end_step
        frame = step - LEAD_IN
        done = one.end_step is not None and step + 1 == one.end_step + LEAD_IN + PER_WORD
        return np.full(FRAME, sample(one.seed, frame), np.float32), frame >= 0, words, step, done


def sample(seed: int, frame: int) -> float:
    """The samples of a frame, in [0, 0.5): a whole number of 16-bit steps, and exact in 32-bit floats."""
    return ((seed % 16) * 1024 + frame % 1024) / 32768


def frames(words: int) -> int:
    """How many frames so many words (at least one) make."""
    return (words + 1) * PER_WORD
