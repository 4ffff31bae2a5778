"""What is said of a single turn."""

from __future__ import annotations

from agent.analysis.insight import insight
from agent.analysis.mistakes import mistakes
from agent.analysis.report import first_report
from agent.record import CallRecord, Correction, Turn, Word


def typed(text: str, *corrections: Correction) -> Turn:
    return Turn(0, "learner", text, 100.0, 103.0, typed=True, corrections=list(corrections))


def test_a_turn_gets_its_mistakes_and_the_levels_of_its_words() -> None:
    found = insight(typed("Yesterday I go to the market and met a reluctant friend."))
    assert [(c["original"], c["correction"]) for c in found["corrections"]] == [("I go to", "I went to")]
    assert found["levels"]["A1"] >= 3
    assert found["notable"] == [{"word": "reluctant", "level": "B2"}]


def test_the_lessons_own_correction_goes_before_the_checkers() -> None:
    lesson = Correction("I go", "I went", "Yesterday is past.")
    found = insight(typed("Yesterday I go to the market and she don't.", lesson))
    assert [c["correction"] for c in found["corrections"]] == ["I went", "she doesn't"]
    assert found["corrections"][0]["explanation"] == "Yesterday is past."


def test_badly_heard_words_say_nothing() -> None:
    words = [Word(w, i * 0.3, i * 0.3 + 0.2, 0.2) for i, w in enumerate(["yesterday", "i", "go"])]
    turn = Turn(0, "learner", "yesterday i go", 100.0, 103.0, words)
    assert insight(turn) == {"corrections": [], "levels": {}, "notable": []}


def test_the_report_tells_what_the_checker_found() -> None:
    record = CallRecord("s", 90.0, "test", "beginner", "x", [typed("Yesterday I go to the market.")])
    assert [m["correction"] for m in first_report(record)["mistakes"]] == ["I went to"]
    assert first_report(record, with_lists=False)["mistakes"] == []
    assert mistakes(record) == ([], 0)


def test_what_was_found_during_the_call_is_told_once() -> None:
    turn = typed("Yesterday I go to the market.")
    turn.corrections = [Correction(**c) for c in insight(turn)["corrections"]]
    record = CallRecord("s", 90.0, "test", "beginner", "x", [turn])
    assert [m["correction"] for m in first_report(record)["mistakes"]] == ["I went to"]
