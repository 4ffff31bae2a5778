"""The gate: confirmed answers come whole and in order, withdrawn ones not at all, whatever is still on its way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.turns.gate import Gate


def test_what_answers_no_guess_goes_on_at_once() -> None:
    gate: Gate[int] = Gate()
    assert gate.take(1) == [1]
    assert gate.release() == []


def test_what_is_held_comes_with_the_release_and_in_order() -> None:
    gate: Gate[int] = Gate()
    gate.hold()
    assert gate.take(1) == gate.take(2) == []
    assert gate.drain() == [1, 2]
    assert gate.take(3) == []
    assert gate.release() == [3]
    assert gate.take(4) == [4]


def test_the_rest_of_a_withdrawn_answer_is_not_taken_for_the_next() -> None:
    gate: Gate[int] = Gate()
    gate.hold()
    gate.take(1)
    assert gate.withdraw() == [1]
    gate.hold()
    assert gate.take(2) == []  # of the first, late
    gate.mark()
    assert gate.take(3) == []
    assert gate.release() == [3]


def test_an_interruption_needs_no_mark() -> None:
    gate: Gate[int] = Gate()
    gate.hold()
    gate.take(1)
    assert gate.clear() == [1]
    assert gate.take(2) == [2]


def test_two_answers_cannot_be_held() -> None:
    gate: Gate[int] = Gate()
    gate.hold()
    with pytest.raises(RuntimeError, match="held"):
        gate.hold()


Answers = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["plain", "confirmed", "withdrawn"]), st.integers(0, 6)), max_size=12
)


@given(Answers)
def test_answers_come_whole_and_in_order_or_not_at_all(answers: list[tuple[int, str, int]]) -> None:
    """Each answer: how many things come before it is settled, how it is settled, and how many come after."""
    gate: Gate[tuple[int, int]] = Gate()
    out: list[tuple[int, int]] = []
    want: list[tuple[int, int]] = []
    for number, (before, fate, after) in enumerate(answers):
        things = [(number, i) for i in range(before + after)]
        if fate != "plain":
            gate.hold()
        for thing in things[:before]:
            out += gate.take(thing)
            assert fate == "plain" or thing not in out
        if fate == "confirmed":
            out += gate.release()
        elif fate == "withdrawn":
            gate.withdraw()
        for thing in things[before:]:
            out += gate.take(thing)
        if fate == "withdrawn":
            gate.mark()
        else:
            want += things
    assert out == want
