"""The two scores of the report, and when there is none.

``grammar_score`` is the share of the learner's sure words that stand as they are: 100 × (1 − edits / words), where the edits
are those that the corrections make; the idea is that of the translation edit rate (Snover et al. 2006), with the corrected text
as the reference. ``final_score`` is the plain mean of the grammar score, the pace against the level's target, and the learner's
share of the talk against one half; a part that was not measured is left out. It describes this call; it is no language level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.analysis.mistakes import FoundMistake
from agent.analysis.words import CONFIDENT, learner_turns, plural, said
from agent.record import CallRecord, Level

MIN_WORDS = 25
"""Words of the learner below which nothing is scored: one edit would be worth more than 4 points."""
MIN_TURNS = 3
"""Turns of the learner below which nothing is scored."""
MAX_UNSURE_SHARE = 0.5
"""Share of the learner's words under the confidence threshold above which nothing is scored."""
PACE_TARGET_WPM: Mapping[Level, float] = {"beginner": 60.0, "intermediate": 90.0, "advanced": 120.0}
"""Words a minute that count in full: our own targets for practice. Native conversation is at 150 and more."""

NOT_ENOUGH = "not enough speech"
NOT_HEARD = "not heard well enough to judge"


@dataclass(frozen=True, slots=True)
class Speech:
    """How much the learner said, and how much of it is sure."""

    turns: int
    words: int
    sure: int
    typed: int

    @property
    def verdict(self) -> str | None:
        """Why nothing can be scored, or ``None``."""
        if self.words < MIN_WORDS or self.turns < MIN_TURNS:
            return NOT_ENOUGH
        if self.words - self.sure > MAX_UNSURE_SHARE * self.words or self.sure < MIN_WORDS:
            return NOT_HEARD
        return None

    @property
    def basis(self) -> str:
        """What was measured on, in words."""
        if not self.words:
            return "You said nothing, and typed nothing."
        spoken = self.words - self.typed
        typed = f", {self.typed} typed" if self.typed else ""
        heard = f", {self.sure - self.typed} of the spoken ones heard well (confidence {CONFIDENT} or more)" if spoken else ""
        return f"Measured on {plural(self.turns, 'turn')} with {plural(self.words, 'word')}{typed}{heard}."


def speech(record: CallRecord) -> Speech:
    """Count the learner's words."""
    turns = learner_turns(record)
    words = [(turn.typed, word) for turn in turns for word in said(turn)]
    return Speech(len(turns), len(words), sum(w.sure for _, w in words), sum(typed for typed, _ in words))


def grammar_score(of: Speech, found: Sequence[FoundMistake]) -> int | None:
    """0 to 100, or ``None`` where ``of.verdict`` says why."""
    if of.verdict is not None:
        return None
    return _clip(100 * (1 - sum(m.edits for m in found) / of.sure))


def final_score(grammar: int | None, level: str, wpm: float | None, talk: float | None) -> int | None:
    """0 to 100, or ``None`` where there is no grammar score."""
    if grammar is None:
        return None
    parts = [float(grammar)]
    target = {str(k): v for k, v in PACE_TARGET_WPM.items()}.get(level)
    if wpm is not None and target is not None:
        parts.append(100 * min(1.0, wpm / target))
    if talk is not None:
        parts.append(100 * min(1.0, talk / 0.5))
    return _clip(sum(parts) / len(parts))


def _clip(score: float) -> int:
    return round(min(100.0, max(0.0, score)))
