"""Levels of words: what is counted, and what is rather left out."""

from __future__ import annotations

import pytest

from agent.analysis.levels import LEVELS, level_of, levels
from agent.record import CallRecord, Turn, Word


def record(*turns: Turn) -> CallRecord:
    return CallRecord("s", 0.0, "websocket", "beginner", "introductions", list(turns))


def typed(text: str) -> Turn:
    return Turn(0, "learner", text, 0.0, 1.0, typed=True)


@pytest.mark.parametrize(
    ("word", "level"),
    [("football", "A1"), ("went", "A2"), ("milk", "A1"), ("don't", "A1"), ("won't", "A1"), ("i'm", "A1"), ("ambiguous", "B2")],
)
def test_words_of_the_list(word: str, level: str) -> None:
    assert level_of(word) == level


@pytest.mark.parametrize("word", ["zzz", "lena", "madrid", "xqzj", "um", "hm", "s", "7", "", "café", "a" * 500])
def test_what_is_no_word_has_no_level(word: str) -> None:
    assert level_of(word) is None


def test_the_profile_counts_different_words() -> None:
    found = levels(record(typed("I like football and I like milk. My brother went to Madrid, zzz!")))
    # i like football and milk my brother to; went; madrid and zzz are left out.
    assert found["profile"] == {"A1": 8, "A2": 1, "B1": 0, "B2": 0, "C1": 0, "C2": 0}
    assert found["words"] == 9
    assert "2 left out" in found["note"]
    assert "not your level" in found["note"]


def test_a_capital_inside_a_sentence_makes_a_name() -> None:
    assert levels(record(typed("a rose is a rose")))["words"] == 3
    assert levels(record(typed("my friend is Rose")))["words"] == 3
    # At the beginning of a sentence, or where everything is in capitals, it says nothing.
    assert levels(record(typed("yes. Football is fun")))["words"] == 4
    assert levels(record(typed("I LIKE FOOTBALL")))["words"] == 3


def test_only_what_was_heard_well_is_counted() -> None:
    words = [Word("football", 0.0, 0.5, 0.9), Word("ambiguous", 0.5, 1.0, 0.3), Word("milk", 1.0, 1.5, None)]
    found = levels(record(Turn(0, "learner", "football ambiguous milk", 0.0, 1.5, words=words)))
    assert {level: n for level, n in found["profile"].items() if n} == {"A1": 1}


def test_nothing_was_said() -> None:
    assert levels(record()) == {
        "profile": dict.fromkeys(LEVELS, 0),
        "words": 0,
        "note": "No word was typed or heard well.",
    }
