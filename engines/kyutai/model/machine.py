"""Which text a text-to-speech model is fed next, for a batch of slots at once, on the device.

The model says at each step whether the next word should begin. It is then fed that word's tokens, one a step, and padding
after them. The rules are those of ``moshi.models.tts.StateMachine``, which keeps Python queues for each session and so has the
device wait for the host in the middle of a step. Here they are operations on whole numbers, a row of columns for each slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto

import torch
from torch import Tensor

NEW_WORD = 0
PAD = 3
NOTHING = -1
"""The token that is embedded as zero."""


class Column(IntEnum):
    """Whole numbers of one slot. Up to ``SECOND`` steps change them, the others are written from outside."""

    STEP = 0
    """Steps made."""
    HEAD = auto()
    """Words begun."""
    MAY_PAD = auto()
    """Paddings that the model may still choose before a word is begun for it."""
    MUST_PAD = auto()
    """Paddings that are still forced."""
    NEXT = auto()
    """Position of the next token to feed."""
    NEXT_END = auto()
    """Position behind the tokens of the word that was begun."""
    SHOWN = auto()
    """As ``NEXT``, for the stream that is ahead."""
    SHOWN_END = auto()
    END = auto()
    """The step at which the model asked for a word and there was none left, -1 before."""
    MAIN = auto()
    """What was fed last, on the main stream."""
    SECOND = auto()
    """And on the stream that is ahead: a token, or ``NOTHING``."""
    KNOWN = auto()
    """Words that stand in the ring."""
    SEED = auto()
    VOICE = auto()


MUTABLE = Column.SECOND + 1
COLUMNS = Column.VOICE + 1


@dataclass(frozen=True)
class Rules:
    """``ahead``: words that a second text stream is ahead, 0 without one. ``max_padding``: steps after a word's beginning
    until the next is begun, at the latest. ``initial_padding``: steps before the first."""

    ahead: int
    max_padding: int = 8
    initial_padding: int = 2

    def fresh(self, start: int) -> list[int]:
        """The columns ``[MUTABLE]`` of a slot that made no step yet. ``start``: the token that is fed first."""
        columns = [0] * MUTABLE
        columns[Column.MAY_PAD] = columns[Column.MUST_PAD] = self.initial_padding
        columns[Column.END] = -1
        columns[Column.MAIN] = start
        columns[Column.SECOND] = NOTHING
        return columns


def advance(rules: Rules, columns: Tensor, words: Tensor, tokens: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the machine.

    ``columns``: int64 ``[rows, COLUMNS]``. ``words``: int64 ``[rows, words, ROW]``, ``tokens``: int64 ``[rows, tokens]``: the
    rings that ``script.py`` describes. ``asked``: int64 ``[rows]``, the token that the model wrote; ``NEW_WORD`` asks for a
    word, all others are padding. Returns the new columns ``[rows, MUTABLE]`` and whether a word was begun, bool ``[rows]``.
    """
    step, head, may_pad, must_pad, feed, feed_end, shown, shown_end, end, _, _, known, *_ = columns.unbind(1)
    busy = (feed < feed_end) | (must_pad > 0)
    wants = ((asked == NEW_WORD) | (may_pad <= 0)) & ~busy
    took = wants & (head < known)
    past = (wants ^ took) & (end < 0)

    index = (head % words.shape[1]).view(-1, 1, 1).expand(-1, 1, words.shape[2])
    start, stop, padding, shown_start, shown_stop = words.gather(1, index).squeeze(1).unbind(1)
    spoken = took & (start < stop)  # a pause has no tokens
    feed = torch.where(spoken, start, feed)
    feed_end = torch.where(spoken, stop, feed_end)
    may_pad = torch.where(spoken, rules.max_padding, may_pad)
    must_pad = torch.where(took, padding, must_pad)
    end = torch.where(past, step, end)
    begins = (spoken | past) if rules.ahead else spoken

    counts = ~begins
    may_pad = may_pad - (counts & (may_pad > 0)).long()
    must_pad = must_pad - (counts & (must_pad > 0)).long()
    fed = feed < feed_end
    main = torch.where(fed, _at(tokens, feed), PAD)
    if rules.ahead:
        # The stream that is ahead also carries the mark of a new word, so that the word's own tokens begin at once. A token of
        # a word that is the same number (it stands for what the tokenizer does not know) is taken for the mark.
        marks = counts & fed & (main == NEW_WORD)
        feed = feed + marks.long()
        fed = feed < feed_end
        main = torch.where(marks, torch.where(fed, _at(tokens, feed), PAD), main)
        begins = begins | marks
        counts = ~begins
        shows = spoken & (shown_start < shown_stop)
        shown = torch.where(shows & (shown >= shown_end), shown_start, shown)
        shown_end = torch.where(shows, shown_stop, shown_end)
        ahead = counts & (shown < shown_end)
        second = torch.where(ahead, _at(tokens, shown), NOTHING)
        second = torch.where(begins, NEW_WORD, second)
        shown = shown + ahead.long()
    else:
        fed = fed & counts
        main = torch.where(begins, NEW_WORD, main)
        second = torch.full_like(main, NOTHING)
    feed = feed + fed.long()
    after = (step + 1, head + took.long(), may_pad, must_pad, feed, feed_end, shown, shown_end, end, main, second)
    return torch.stack(after, 1), took


def _at(ring: Tensor, position: Tensor) -> Tensor:
    return ring.gather(1, (position % ring.shape[1])[:, None])[:, 0]
