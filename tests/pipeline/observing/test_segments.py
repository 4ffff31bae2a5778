"""The pieces of a turn: their text and the times of their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.record import Word
from pipeline.observing.segments import Segments, moved
from pipeline.stt.recognition import Recognition


@dataclass
class Final:
    """As much of a ``TranscriptionFrame`` as counts here."""

    text: str
    result: Any = None


def said(text: str, started_s: float | None) -> Final:
    words = tuple(Word(w, i * 0.5, i * 0.5 + 0.4, 0.9) for i, w in enumerate(text.split()))
    return Final(text, Recognition(text, words, started_s=started_s))


def segments(*finals: Final) -> Segments:
    result = Segments()
    for final in finals:
        result.add(final)
    return result


def times(words: list[Word]) -> list[tuple[str, float, float]]:
    return [(w.text, w.start_s, w.end_s) for w in words]


def test_the_text_is_that_of_all_and_of_what_is_still_spoken() -> None:
    turn = segments(Final(" i like "), Final("tea"))
    assert turn.text() == "i like tea"
    assert turn.text(" very much ") == "i like tea very much"
    assert Segments().text("so") == "so"
    assert Segments().text() == ""


def test_times_count_from_the_start_of_the_first_segment() -> None:
    turn = segments(said("i like", 7.0), said("tea", 9.25))
    assert times(turn.words()) == [("i", 0.0, 0.4), ("like", 0.5, 0.9), ("tea", 2.25, 2.65)]
    assert turn.words()[0].confidence == 0.9


def test_a_segment_that_does_not_say_when_it_began_follows_the_one_before() -> None:
    assert times(segments(said("i like", 7.0), said("tea", None)).words())[-1] == ("tea", 0.9, 1.3)
    assert times(segments(said("i like", None), said("tea", None)).words())[-1] == ("tea", 0.9, 1.3)


def test_an_engine_without_word_times_gives_none() -> None:
    turn = segments(Final("hello"), Final("there"))
    assert turn.text() == "hello there"
    assert turn.words() == []


def test_what_belongs_to_no_turn_is_taken_out_and_its_equal_stays() -> None:
    one, same = Final("yes"), Final("yes")
    turn = segments(one, same)
    turn.drop(one)
    assert turn.text() == "yes"
    turn.drop(one)
    assert turn.text() == "yes"
    turn.clear()
    assert turn.text() == ""


def test_words_can_be_moved_behind_a_turn() -> None:
    assert times(moved(said("or coffee", 50.0), 1.2)) == [("or", 1.2, 1.6), ("coffee", 1.7, 2.1)]
    assert moved(Final("or"), 1.2) == []
