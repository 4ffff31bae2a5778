"""What a learner sees of a model's text, however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.llm.visible_text import VisibleText

CASES = [
    ("Hello there.", "Hello there.", False),
    ("<think>\nHm, what now?\n</think>\n\nHello.", "Hello.", False),
    ("<think></think>Hello.", "Hello.", False),
    ("<THINK>x < y</THINK> Hello.", "Hello.", False),
    ("<think>never comes to an end", "", False),
    ("Goodbye! <end>", "Goodbye! ", True),
    ("Goodbye!<END>", "Goodbye!", True),
    ("<learner>Tea</learner> is nice.", "Tea is nice.", False),
    ("Is 2 < 3? <b>yes</b>", "Is 2 < 3? <b>yes</b>", False),
    ("It ends with <en", "It ends with <en", False),
    ("<<end>", "<", True),
    ("", "", False),
]


def shown(pieces: list[str]) -> tuple[str, bool]:
    visible = VisibleText()
    text = "".join([visible.take(p) for p in pieces]) + visible.finish()
    return text, visible.ended


@pytest.mark.parametrize(("text", "wanted", "ended"), CASES)
def test_shown_at_once_or_letter_by_letter(text: str, wanted: str, ended: bool) -> None:
    assert shown([text]) == (wanted, ended)
    assert shown(list(text)) == (wanted, ended)


@given(st.sampled_from(CASES), st.lists(st.integers(0, 60), max_size=6))
def test_cuts_change_nothing(case: tuple[str, str, bool], cuts: list[int]) -> None:
    text, wanted, ended = case
    places = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    assert shown([text[a:b] for a, b in pairwise(places)]) == (wanted, ended)


def test_plain_words_are_not_held_back() -> None:
    visible = VisibleText()
    assert visible.take("Hello, ") == "Hello, "
    assert visible.take("is 2 <") == "is 2 "
    assert visible.take(" 3?") == "< 3?"
