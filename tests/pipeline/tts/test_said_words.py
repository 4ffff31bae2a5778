"""Times of written words, from times of spoken ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record import Word
from pipeline.tts.said_words import SaidWords


def told(*units: tuple[str, str]) -> SaidWords:
    words = SaidWords()
    for written, spoken in units:
        words.add(written.split(), spoken.split())
    return words


def test_a_word_for_a_word() -> None:
    words = told(("Hello,", "Hello,"), ("you.", "you."))
    assert words.said("Hello,", 0.1, 0.4) == [Word("Hello,", 0.1, 0.4)]
    assert words.waiting == 1
    assert words.said("you.", 0.4, 0.7) == [Word("you.", 0.4, 0.7)]


def test_many_spoken_words_for_one_and_for_two_written() -> None:
    words = told(("$3.50", "three dollars and fifty cents"), ("5 May", "the fifth of May"))
    assert [words.said(w, i, i + 1.0) for i, w in enumerate(["three", "dollars", "and", "fifty"])] == [[]] * 4
    assert words.said("cents", 4.0, 4.3) == [Word("$3.50", 0, 4.3)]
    for i, w in enumerate(["the", "fifth", "of"]):
        assert words.said(w, 5.0 + i, 5.3 + i) == []
    assert words.said("May", 8.0, 8.2) == [Word("5", 5.0, pytest.approx(5.8)), Word("May", pytest.approx(5.8), 8.2)]


def test_silent_words_stand_behind_the_one_before() -> None:
    words = told(("😀", ""), ("Hello", "Hello"), ("—", ""), ("you", "you"))
    assert words.said("Hello", 0.5, 0.8) == [Word("😀", 0, 0), Word("Hello", 0.5, 0.8), Word("—", 0.8, 0.8)]
    assert words.said("you", 1.0, 1.2) == [Word("you", 1.0, 1.2)]


def test_a_pause_belongs_to_no_word() -> None:
    assert told(("Yes.", "Yes.")).said("Yes.", 1.0, 5.0) == [Word("Yes.", 1.0, 1.4)]


def test_an_engine_that_leaves_out_a_word_or_tells_of_it_in_another_way() -> None:
    words = told(("one", "one"), ("two", "two"), ("three", "three"), ("it’s", "it's"), ("so.", "so."))
    assert words.said("ONE", 0.0, 0.2) == [Word("one", 0.0, 0.2)]
    assert words.said("three", 0.2, 0.4) == [Word("two", 0.2, 0.2), Word("three", 0.2, 0.4)]
    assert words.said("its", 0.5, 0.6) == [Word("it’s", 0.5, 0.6)]
    assert words.said("thus", 0.7, 0.9) == [Word("so.", 0.7, 0.9)]
    assert words.said("more", 1.0, 1.1) == []


def test_what_was_never_told_is_spread_over_the_rest() -> None:
    words = told(("a", "a"), ("bb", "bb"), ("cc", "cc"))
    words.said("a", 0.0, 0.2)
    assert words.finish(1.0) == [Word("bb", 0.2, pytest.approx(0.6)), Word("cc", pytest.approx(0.6), 1.0)]
    assert words.finish(2.0) == []


WRITTEN = st.lists(st.sampled_from(["a", "bb", "ccc,"]), min_size=1, max_size=3)
UNITS = st.lists(st.tuples(WRITTEN, st.lists(st.sampled_from(["x", "yy"]), max_size=4)), max_size=8)


@given(units=UNITS, dropped=st.sets(st.integers(0, 31)), cut=st.integers(0, 32))
def test_every_written_word_gets_a_time_in_order(units: list[tuple[list[str], list[str]]], dropped: set[int], cut: int) -> None:
    words, out = SaidWords(), []
    for written, spoken in units:
        words.add(written, spoken)
    spoken = [word for _, unit in units for word in unit]
    for i, word in enumerate(spoken[:cut]):
        if i not in dropped:
            out += words.said(word, i * 0.3, i * 0.3 + 0.3)
    out += words.finish(len(spoken) * 0.3)
    assert [w.text for w in out] == [word for written, _ in units for word in written]
    times = [t for w in out for t in (w.start_s, w.end_s)]
    assert all(a <= b + 1e-9 for a, b in pairwise(times))
