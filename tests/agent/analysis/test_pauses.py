"""Pauses, articulation and syllables against values computed by hand."""

from __future__ import annotations

import pytest

from agent.analysis.articulation import articulation_measures
from agent.analysis.pauses import pause_measures, timing
from agent.analysis.syllables import syllables, syllables_by_spelling
from agent.record import CallRecord, Turn, Word


def turn(index: int, *timed: tuple[str, float, float], **more: object) -> Turn:
    words = [Word(text, start, end, 0.9) for text, start, end in timed]
    return Turn(index, "learner", " ".join(w.text for w in words), 10.0, 30.0, words=words, **more)  # type: ignore[arg-type]


def record(*turns: Turn) -> CallRecord:
    return CallRecord("s", 0.0, "websocket", "beginner", "introductions", list(turns))


# Gaps of 0.5 s and 0.2 s; then of 1 s and 0.25 s.
FIRST = turn(1, ("my", 0.0, 0.3), ("name", 0.3, 0.6), ("is", 0.6, 1.0), ("anna", 1.5, 2.0), ("and", 2.2, 3.0))
SECOND = turn(3, ("I", 1.0, 1.5), ("like", 2.5, 3.0), ("table", 3.0, 4.0), ("tennis", 4.25, 5.0))


def values(measures: dict) -> dict:
    return {name: measure.value for name, measure in measures.items()}


def test_a_pause_is_a_gap_of_a_quarter_of_a_second_within_a_turn() -> None:
    first, second = timing(FIRST), timing(SECOND)
    assert first is not None
    assert second is not None
    assert (first.speaking_s, first.pauses_s, first.runs) == (3.0, (0.5,), 2)
    assert (second.speaking_s, second.pauses_s) == (4.0, (1.0, 0.25))
    # 3 pauses of 1.75 s together in 7 s; the 6 s between the turns are none.
    assert values(pause_measures(record(FIRST, SECOND))) == {
        "pauses_per_minute": round(60 * 3 / 7, 1),
        "pause_length_s": 0.58,
        "pause_share": 0.25,
    }


def test_times_with_rounding_errors_and_overlaps() -> None:
    found = timing(turn(0, ("a", 0.0, 0.1), ("b", 0.35, 0.6), ("c", 0.5, 2.0), ("d", 0.55, 0.6), ("e", 2.2, 2.3)))
    assert found is not None
    assert found.pauses_s == pytest.approx((0.25,))
    assert found.speaking_s == 2.3


def test_articulation_leaves_the_pauses_out() -> None:
    # my name is an-na and: 6; I like ta-ble ten-nis: 6. 12 in 5.25 s, in 2 + 3 stretches.
    assert values(articulation_measures(record(FIRST, SECOND))) == {
        "articulation_rate": round(12 / 5.25, 1),
        "mean_length_of_run": 2.4,
    }


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "No spoken turn of the learner."),
        ([Turn(0, "learner", "I typed this", 0.0, 1.0, typed=True)], "No spoken turn of the learner."),
        ([Turn(0, "learner", "no times here", 0.0, 20.0)], "The recogniser gave no word times."),
        ([turn(0, ("no", float("nan"), 1.0))], "The recogniser gave no word times."),
        ([turn(0, ("all", 1.0, 1.0), ("at", 1.0, 1.0))], "The recogniser gave no word times."),
        ([FIRST], "Less than 5 s of speech with word times."),
    ],
)
def test_without_word_times_there_is_no_measure_but_a_reason(turns: list[Turn], reason: str) -> None:
    for measures in (pause_measures(record(*turns)), articulation_measures(record(*turns))):
        assert [(m.value, m.source) for m in measures.values()] == [(None, reason)] * len(measures)


def test_fluent_speech_has_no_length_of_pause() -> None:
    fluent = record(turn(0, ("one", 0.0, 3.0), ("two", 3.1, 6.0)))
    measures = pause_measures(fluent)
    assert values(measures) == {"pauses_per_minute": 0.0, "pause_length_s": None, "pause_share": 0.0}
    assert measures["pause_length_s"].source == "No silent pause of 250 ms or more."
    assert articulation_measures(fluent)["mean_length_of_run"].value == 2.0


@pytest.mark.parametrize(
    ("word", "count"),
    # The spelling of the first five misleads; the last are in no dictionary.
    [("Area", 3), ("people", 2), ("don’t", 1), ("hatred", 2), ("every", 3), ("blorfing", 2), ("zwackle", 2), ("7", 1), ("", 1)],
)
def test_syllables(word: str, count: int) -> None:
    assert syllables(word) == count


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("make", 1),
        ("makes", 1),
        ("boxes", 2),
        ("table", 2),
        ("wanted", 2),
        ("walked", 1),
        ("the", 1),
        ("pages", 2),
        ("banana", 3),
    ],
)
def test_syllables_by_spelling(word: str, count: int) -> None:
    assert syllables_by_spelling(word) == count
