"""Words of the text that is to be said, and their tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.kyutai.text import PADDING
from engines.kyutai.tts_text import SPEAKER, Splitter


def encode(word: str) -> list[int]:
    return [100 + ord(sign) % 50 for sign in word]


def words(text: str) -> list[str]:
    return [word for word, _ in Splitter(encode)(text)]


def test_only_the_first_word_of_a_stream_says_who_speaks():
    split = Splitter(encode)
    assert split("  \t ") == []
    assert split("one two") == [("one", [SPEAKER, *encode("one")]), ("two", encode("two"))]
    assert split("three") == [("three", encode("three"))]


def test_signs_that_the_model_does_not_know_are_left_out():
    assert words("It’s (really) ten–fold: yes:no") == ["It's", "really", "tenfold", "yes", "no"]


def test_a_pause_is_a_word_of_padding():
    split = Splitter(encode)
    assert split('<break time="0.5s"/>yay!<break  time="60s" />')[::2] == [
        ('<break time="0.50s">', [PADDING] * 6),
        ('<break time="60.00s">', [PADDING] * 125),
    ]
    assert split('a<break time="0.01s"/>b') == [
        ("a", encode("a")),
        ('<break time="0.01s">', [PADDING]),
        ("b", encode("b")),
    ], "the pause has said nothing: the speaker came with yay"


@pytest.mark.parametrize("text", ['a <break time="0s"/> b', 'a <break time="1.2.3s"/> b', 'a <break time="."/> b'])
def test_a_pause_of_no_length_is_none(text):
    assert [word for word in words(text) if "break" not in word and "time" not in word] == ["a", "b"]
    assert not any(word.startswith('<break time="') for word in words(text))


@given(st.lists(st.text(st.characters(blacklist_categories=["Z", "C"], blacklist_characters="’–:()<"), min_size=1)))
def test_white_space_is_where_words_end_and_nothing_else(parts):
    assert words(" ".join(parts)) == [word for part in parts for word in part.split()]
