"""Edits of corrected sentences, compared with those of a reference. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Edit = tuple[int, int, tuple[str, ...]]
"""Tokens ``start:end`` of the original become these words."""


@dataclass(frozen=True, slots=True)
class Score:
    """Edits that are right, that are wrong, and that are missing."""

    right: int = 0
    wrong: int = 0
    missing: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.wrong + other.wrong, self.missing + other.missing)

    @property
    def precision(self) -> float:
        """Right of all that were proposed; 1 where nothing was."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Right of all that should have been proposed; 1 where nothing should."""
        return self.right / (self.right + self.missing) if self.right + self.missing else 1.0

    @property
    def f05(self) -> float:
        """F with beta 0.5, which counts precision twice as much as recall (Ng et al. 2014)."""
        p, r = self.precision, self.recall
        return 1.25 * p * r / (0.25 * p + r) if p + r else 0.0


def tokens(text: str) -> list[str]:
    """Lower-case words without marks: case and punctuation cannot be heard."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)*", text.lower().replace("’", "'"))


def edits(before: str, after: str) -> set[Edit]:
    """The changes that make ``after`` of ``before``, neighbouring ones merged."""
    a, b = tokens(before), tokens(after)
    ops = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return {(i1, i2, tuple(b[j1:j2])) for tag, i1, i2, j1, j2 in ops if tag != "equal"}


def score(original: str, proposed: str, references: Sequence[str]) -> Score:
    """``proposed`` against the reference that it fits best, by F0.5, then by wrong edits: the idea of Dahlmeier and Ng 2012."""
    ours = edits(original, proposed)
    found = [_against(ours, edits(original, reference)) for reference in references]
    return max(found, key=lambda s: (s.f05, -s.wrong, -s.missing))


def on_correct(sentence: str, proposed: str) -> Score:
    """``proposed`` for a sentence in which nothing is wrong."""
    return Score(wrong=len(edits(sentence, proposed)))


def total(scores: Iterable[Score]) -> Score:
    """All together."""
    return sum(scores, Score())


def _against(ours: set[Edit], theirs: set[Edit]) -> Score:
    return Score(len(ours & theirs), len(ours - theirs), len(theirs - ours))
