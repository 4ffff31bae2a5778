"""One reply of the tutor: what is shown of it when, what lasts of it when it is cut, and what must be durable before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.record import Word
from pipeline.observing.reply import LAST_PACKETS_S, SAID_LATELY_S, UNKEPT_S, Reply, backchannel, ends_clause

TEXT = "Nice to meet you, Ana."
WORD_S = 0.5


def spoken(text: str = TEXT) -> Reply:
    """All of it was made: each word takes ``WORD_S``."""
    words = [Word(w.strip(",."), i * WORD_S, (i + 1) * WORD_S) for i, w in enumerate(text.split())]
    return Reply(0, 0.0, text=text, complete=True, words=words, audio_s=len(words) * WORD_S)


def shown(reply: Reply, heard_s: float | None) -> list[int]:
    return list(iter(lambda: reply.next_shown(heard_s), None))


def test_a_word_is_shown_when_it_begins_and_once() -> None:
    reply = spoken()
    assert shown(reply, 0.0) == [0]
    assert shown(reply, 0.0) == []
    assert shown(reply, 2 * WORD_S) == [1, 2]
    assert shown(reply, None) == [3, 4]


def test_a_word_that_comes_later_is_shown_later() -> None:
    reply = Reply(0, 0.0, text="One two.")
    assert shown(reply, None) == []
    reply.words.append(Word("One", 0.0, 0.3))
    assert shown(reply, 1.0) == [0]
    reply.words.append(Word("two", 0.3, 0.6))
    assert shown(reply, 1.0) == [1]


def test_all_of_a_reply_lasts_unless_it_is_cut() -> None:
    reply = spoken(f" {TEXT} ")
    assert reply.lasting_text == TEXT
    assert reply.cut(1.3) == reply.lasting_text == "Nice to meet"
    assert [w.text for w in reply.words_until(1.3)] == ["Nice", "to", "meet"]
    assert reply.text.strip() == TEXT


def test_a_reply_that_nobody_heard_lasts_as_nothing() -> None:
    reply = spoken()
    reply.cut(0.0)
    assert reply.lasting_text == ""
    assert reply.words_until(0.0) == []


@given(st.floats(0.0, 4.0), st.floats(0.0, 4.0))
def test_the_words_and_the_text_of_a_cut_reply_agree(first_s: float, second_s: float) -> None:
    reply = spoken()
    for heard_s in (first_s, second_s):
        assert len(reply.cut(heard_s).split()) == len(reply.words_until(heard_s))


def test_what_is_answered_is_waited_for_once_and_at_once() -> None:
    reply = Reply(0, 0.0)
    reply.began("a", early=False)
    assert reply.must_be_kept(0.02)
    assert not reply.must_be_kept(0.02)


def test_an_answer_that_was_made_early_may_begin_before_that() -> None:
    reply = Reply(0, 0.0)
    reply.began("a", early=True)
    reply.audio_s = UNKEPT_S - 0.05
    assert not reply.must_be_kept(0.02)
    assert reply.must_be_kept(0.06)
    assert not reply.must_be_kept(0.06)


def test_words_of_another_utterance_are_not_its_own() -> None:
    reply = Reply(0, 0.0)
    assert reply.is_spoken_as("a")
    reply.began("a", early=False)
    assert reply.is_spoken_as("a")
    assert not reply.is_spoken_as("b")


def test_what_it_says_now_are_the_words_of_the_last_seconds() -> None:
    reply = spoken(" ".join(f"word{chr(97 + i)}" for i in range(20)))
    at_s = 15 * WORD_S
    speech = reply.speech(at_s, voice_open=False)
    starts = [i * WORD_S for i in range(20)]
    assert len(speech.words) == sum(at_s - SAID_LATELY_S <= s <= at_s + LAST_PACKETS_S for s in starts)
    assert speech.words[-1] == "wordp"
    assert speech.left_s == 5 * WORD_S


def test_how_much_is_left_is_known_of_a_whole_reply_only() -> None:
    reply = spoken()
    assert reply.speech(1.0, voice_open=True).left_s is None
    reply.complete = False
    assert reply.speech(1.0, voice_open=False).left_s is None


def test_a_clause_ends_with_its_mark_whatever_blank_follows() -> None:
    assert ends_clause("Hello! ")
    assert ends_clause("wait…")
    assert not ends_clause("Hello")
    assert not ends_clause("3,")
    assert not ends_clause("  ")


def test_a_backchannel_is_dated_by_the_tutors_utterance() -> None:
    assert backchannel(("mm", "hm"), 1.25) == Word("mm hm", 1.25, 1.25)
