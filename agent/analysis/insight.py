"""What can be said of a single turn of the learner while the call goes on: its mistakes, and the levels of its words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from agent.analysis.levels import LEVELS, word_levels
from agent.analysis.mistakes import together
from agent.analysis.spoken import corrections
from agent.record import Turn

NOTABLE = frozenset(("B2", "C1", "C2"))
"""Levels whose words are named: those that a learner may be proud of."""


def insight(turn: Turn) -> dict[str, Any]:
    """``{"corrections": [{original, correction, explanation}], "levels": {"A1": n, …}, "notable": [{word, level}]}``.

    All of it rests on words that were typed or heard well; where none was, it is empty.
    """
    levels = word_levels([turn])
    counts = Counter(levels.values())
    found = together(turn, corrections(turn))
    return {
        "corrections": [{"original": c.original, "correction": c.correction, "explanation": c.explanation} for c in found],
        "levels": {level: counts[level] for level in LEVELS if counts[level]},
        "notable": [{"word": word, "level": level} for word, level in levels.items() if level in NOTABLE],
    }
