"""The words of one learner as a recogniser with a delay tells them. Pure: times are seconds of the call's audio.

Three things come together here: words that are told live, some time after they were spoken; the words of a flush, which a live
step would tell later; and words that are told again, because the connection was lost and the last seconds were sent anew.
Whatever happens, each word stands once in the transcript.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.record import Word

FRAME_S = 0.08
"""A step of the model; its times are multiples of it."""
_LEAD_S = 0.4
"""Where the audio that is sent again begins in the middle of speech: how much of it is heard only to get the model going."""
_SHIFT_S = 1.5 * FRAME_S
"""By how much the time of a word may differ when it is recognised again."""
_SAME_WORD_S = 0.3
_WORD_S, _LETTER_S = 0.25, 0.11
"""The longest that a slow speaker takes for a word: so much, and so much a letter."""


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word, when it began and, where that was told, when it ended."""

    text: str
    start_s: float
    end_s: float | None = None


def timed(words: Sequence[HeardWord], began_s: float, until_s: float) -> tuple[Word, ...]:
    """``words`` for the record, with times that count from ``began_s``; speech was over at ``until_s``.

    The model marks the end of a word when it begins the next, so that a pause between the two would count as part of the
    first: no word lasts longer than a slow speaker needs for it.
    """
    out = []
    for index, word in enumerate(words):
        longest_s = word.start_s + _WORD_S + _LETTER_S * len(word.text)
        next_s = words[index + 1].start_s if index + 1 < len(words) else max(until_s, word.start_s + FRAME_S)
        end_s = max(word.start_s, min(longest_s, next_s, word.end_s if word.end_s is not None else math.inf))
        out.append(Word(word.text, round(max(0.0, word.start_s - began_s), 3), round(max(0.0, end_s - began_s), 3)))
    return tuple(out)


class LiveWords:
    """The words since the last final transcript."""

    def __init__(self) -> None:
        self._told: list[HeardWord] = []
        self._ahead: list[HeardWord] = []  # of a flush, that no live step has told yet
        self._final_until_s = 0.0
        self._committing = False
        self._skip_before_s = -math.inf
        self._known = 0  # words that were told before the connection was lost

    @property
    def final_until_s(self) -> float:
        """Everything that was said before is final."""
        return self._final_until_s

    @property
    def words(self) -> tuple[HeardWord, ...]:
        """Those that were told, then those of the flush."""
        return (*self._told, *self._ahead)

    @property
    def text(self) -> str:
        """The same as text."""
        return joined(self.words)

    @property
    def partial(self) -> str:
        """What live steps have told; empty while words that were known already are told again."""
        return joined(self._told) if len(self._told) >= self._known else ""

    def told(self, text: str, start_s: float) -> bool:
        """A live step tells a word; false where it is known already, or no word at all."""
        text = text.strip()
        if not text or start_s < self._skip_before_s or (self._committing and start_s < self._final_until_s):
            return False
        last = self._told[-1] if self._told else None
        if last is not None:
            if (
                math.isfinite(self._skip_before_s)
                and last.text.lower() == text.lower()
                and abs(start_s - last.start_s) < _SAME_WORD_S
            ):
                return False
            if last.end_s is None:
                self._told[-1] = HeardWord(last.text, last.start_s, max(last.start_s, start_s))
        self._told.append(HeardWord(text, start_s))
        self._ahead = [word for word in self._ahead if word.start_s > start_s + 1e-3]
        return True

    def ended(self, stop_s: float) -> None:
        """A live step tells when its last word was over."""
        last = self._told[-1] if self._told else None
        if last is not None and last.end_s is None and stop_s > last.start_s:
            self._told[-1] = HeardWord(last.text, last.start_s, stop_s)

    def flushed(self, words: Iterable[HeardWord]) -> None:
        """A flush tells the words that live steps have not told yet, in order."""
        self._ahead = [HeardWord(word.text.strip(), word.start_s, word.end_s) for word in words if word.text.strip()]

    def withdrawn(self) -> None:
        """The flush was for nothing."""
        self._ahead = []

    def went_on(self, asked_s: float) -> bool:
        """Whether live steps have told of a word that was spoken after ``asked_s``."""
        return bool(self._told) and self._told[-1].start_s > asked_s

    def begin(self, start_s: float) -> None:
        """A voice begins at ``start_s``: words from before belong to no speech of the learner."""
        self._told = [word for word in self._told if word.start_s >= start_s]
        self._ahead = [word for word in self._ahead if word.start_s >= start_s]
        self._known = 0

    def take(self, until_s: float, *, committing: bool = False) -> tuple[HeardWord, ...]:
        """All words are final, and so is everything said before ``until_s``.

        ``committing``: they rest on a flush that the engine has yet to commit. Until ``committed`` its live steps may still
        tell some of them.
        """
        words = self.words
        self._told, self._ahead, self._known = [], [], 0
        self._final_until_s = max(self._final_until_s, until_s)
        self._committing = committing
        return words

    def committed(self) -> None:
        """The engine tells no word of the flush again."""
        self._committing = False

    def lost(self, wanted_s: float, oldest_s: float) -> float:
        """The connection was lost: what is wanted are the words from ``wanted_s`` on, and audio is kept from ``oldest_s`` on.

        Returns from where audio is to be sent again. The words that will be told again are forgotten; where a long speech began
        before the audio that is kept, the words of its beginning stay.
        """
        from_s = max(wanted_s, oldest_s, self._final_until_s)
        self._ahead, self._committing = [], False
        self._known = max(self._known, len(self._told))
        self._skip_before_s = -math.inf
        kept = [word for word in self._told if word.start_s < from_s]
        if kept and from_s == oldest_s:
            kept = [word for word in self._told if word.start_s < from_s + _LEAD_S]
            after = [word.start_s for word in self._told[len(kept) :]]
            self._skip_before_s = (after[0] if after else max(from_s, kept[-1].start_s + FRAME_S)) - _SHIFT_S
        self._told = kept
        return from_s


def joined(words: Iterable[HeardWord]) -> str:
    """The words as text."""
    return " ".join(word.text for word in words)
