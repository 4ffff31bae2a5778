"""How many different words the learner used."""

from __future__ import annotations

from agent.analysis.measure import Measure
from agent.analysis.words import learner_turns, said, tokens
from agent.record import CallRecord


def sure_words(record: CallRecord) -> list[str]:
    """The learner's words that were heard well or typed, lower case, in order."""
    return [t for turn in learner_turns(record) for word in said(turn) if word.sure for t in tokens(word.text)]


def vocabulary_size(record: CallRecord) -> Measure:
    """Different word forms ("go" and "goes" are two)."""
    words = sure_words(record)
    if not words:
        return Measure(None, "different words", "No word was typed or heard well.")
    return Measure(len(set(words)), "different words", f"The {len(words)} words that were typed or heard well.")
