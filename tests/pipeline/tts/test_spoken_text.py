"""Text made ready for the synthesiser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tts.spoken_text import MAX_PIECE_CHARS, pause_s, pieces, speakable, spoken_form


def written(text: str) -> str:
    return " ".join(t.text for p in pieces(text) for t in p.tokens)


def test_what_must_not_reach_the_engine_becomes_space() -> None:
    assert spoken_form("a\x01b\x00c\x1b[31m") == "a b c [31m"
    assert spoken_form("so **good** 😀") == "so   good    "
    assert spoken_form("# Title #1") == "  Title #1"
    assert spoken_form("5 € at 20°") == "5 € at 20°"


def test_sentences_are_pieces() -> None:
    assert [p.spoken for p in pieces("I am here. Mr. Smith is not! Who is?")] == ["I am here.", "Mr. Smith is not!", "Who is?"]


def test_a_number_at_the_start_stays_with_its_item() -> None:
    assert [p.spoken for p in pieces("1. Open it. 2. Read it.")] == ["1. Open it.", "2. Read it."]


def test_a_long_sentence_is_cut_at_a_clause() -> None:
    text = "I have a very long story to tell you, " * 8 + "and it ends."
    parts = pieces(text)
    assert len(parts) > 1
    assert all(len(p.spoken) <= MAX_PIECE_CHARS for p in parts)
    assert all(p.tokens[-1].text.endswith((",", ".")) for p in parts)


def test_a_long_sentence_without_marks_is_cut_at_a_space() -> None:
    parts = pieces("word " * 100)
    assert len(parts) > 2
    assert all(len(p.spoken) <= MAX_PIECE_CHARS for p in parts)


def test_silent_signs_go_with_a_word() -> None:
    assert [t.text for p in pieces("😀 wait — what 🎉") for t in p.tokens] == ["😀 wait —", "what 🎉"]


def test_an_opening_quote_is_not_waited_for() -> None:
    piece = pieces('"Hello," he said.')[0]
    assert piece.spoken == ' Hello," he said.'
    assert piece.tokens[0].text == '"Hello,"'


@pytest.mark.parametrize("text", ["", "   ", "😀", "...", "—", "\x01\x02", "?!", "👩‍👩‍👧 🏳️‍🌈", "***", "\ud800"])
def test_nothing_to_say(text: str) -> None:
    assert pieces(text) == []


def test_pauses_follow_the_mark_and_the_rate() -> None:
    assert pause_s("Hello", 150) == 0
    assert 0 < pause_s("Hello,", 150) < pause_s("Hello;", 150) < pause_s('"Hello."', 150)
    assert pause_s("Hello. 😀", 150) == pause_s("Hello.", 150)
    assert pause_s("Hello.", 200) < pause_s("Hello.", 150) < pause_s("Hello.", 100)


@given(st.text(max_size=600))
def test_pieces_hold_all_words_in_order(text: str) -> None:
    parts = pieces(text)
    spoken = spoken_form(text)
    assert len(spoken) == len(text)
    assert bool(parts) == speakable(spoken)
    if parts:
        assert "".join(written(text).split()) == "".join(text.split())
    for part in parts:
        assert part.tokens
        edges = [x for t in part.tokens for x in (t.start, t.end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] <= edges[-1] <= len(part.spoken)
