"""What the engines' services ask of the batched models. No torch here: services and their tests import it without.

A model has ``slots`` rows of state. Whoever steps names a ``Batch``; rows of it that do not step come out as they went in, and
slots outside of it are not touched at all. Results are in the order of ``batch.slots``. Frames are 80 ms: 1,920 samples of
24 kHz mono.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.kyutai.schedule.buckets import Batch, Buckets

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SAMPLE_RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_RATE_HZ = 12.5


@dataclass(frozen=True)
class SttOutput:
    """Of one step, in the order of ``batch.slots``.

    ``tokens``: the text token that each slot wrote, ``[n]``. ``pauses``: of each pause head the probability that the speaker
    pauses, ``[n, heads]``.
    """

    tokens: Ints
    pauses: Floats


@dataclass(frozen=True)
class TtsOutput:
    """Of one step, in the order of ``batch.slots``.

    ``pcm``: ``[n, 1920]``, to be used where ``has_audio`` (``[n]``) says so. ``words``: how many words began in this step,
    ``[n]``. ``step_index``: the slot's own step, from 0, for the times of words, ``[n]``. ``done``: nothing follows, ``[n]``.
    """

    pcm: Floats
    has_audio: Bools
    words: Ints
    step_index: Ints
    done: Bools


class SttModel(Protocol):
    """Speech to text, many sessions at once. A slot that was never stepped, or was reset, is new.

    ``slots``: rows of state. ``delay``: frames by which words come later than they were said. ``buckets``: the sizes of
    batches. ``heads``: pause heads, 0 where the model has none.
    """

    slots: int
    delay: int
    buckets: Buckets
    heads: int

    def step(self, batch: Batch, pcm: Floats) -> SttOutput:
        """One frame for each of ``batch.slots``. ``pcm``: ``[len(batch.rows), 1920]``, a row for each of ``batch.rows``; what
        stands in rows that do not step is not heard."""

    def reset(self, slots: Sequence[int]) -> None:
        """Makes these slots new."""

    def save(self, slots: Sequence[int]) -> None:
        """Keeps the state of these slots aside, so that up to ``delay + 1`` steps can be undone by ``restore``. What was saved
        of a slot before is forgotten."""

    def restore(self, slots: Sequence[int]) -> None:
        """Puts back what ``save`` kept of these slots.

        :raises ValueError: where a slot was not saved, or stepped too often since
        """

    def keep(self, slots: Sequence[int]) -> None:
        """Keeps the branch that these slots are on since ``save``, so that a later tick can go on with it."""

    def load(self, slots: Sequence[int]) -> None:
        """Goes on with the branch that ``keep`` kept, whatever the slot was stepped since; ``save`` comes before it.

        :raises ValueError: where no branch of a slot was kept, or the slot was not saved first
        """


class TtsModel(Protocol):
    """Text to speech, many sessions at once.

    ``slots``: rows of state. ``buckets``: the sizes of batches. ``n_q``: codebooks that are made. ``frame_rate``: steps in a
    second of speech.
    """

    slots: int
    buckets: Buckets
    n_q: int
    frame_rate: float

    def admit(self, slot: int, voice: str | Floats | None, seed: int) -> None:
        """Makes the slot new, for this voice: a name among the voices, an embedding, or ``None`` for the default. ``seed``
        alone decides what is sampled, whoever else is in the batch.

        :raises KeyError: where no voice has this name
        :raises ValueError: where an embedding has a wrong shape
        """

    def give(self, slot: int, tokens_of_words: list[list[int]]) -> None:
        """Adds words to the queue of the slot, each as its text tokens."""

    def end(self, slot: int) -> None:
        """No words will follow."""

    def free(self, slot: int) -> None:
        """The slot's session is over; its voice and its words are dropped."""

    def step(self, batch: Batch) -> TtsOutput:
        """One step of each of ``batch.slots``."""
