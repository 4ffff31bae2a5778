"""Each word stands once, whatever is told twice, early or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stt.kyutai_words import FRAME_S, HeardWord, LiveWords, timed

SAID = tuple(HeardWord(f"w{i}", 0.4 * i + 1.0, 0.4 * i + 1.3) for i in range(20))


def live(words: LiveWords, *said: HeardWord) -> None:
    for word in said:
        words.told(word.text, word.start_s)
        if word.end_s is not None:
            words.ended(word.end_s)


def test_live_words_come_with_their_ends() -> None:
    words = LiveWords()
    live(words, *SAID[:3])
    assert words.words == SAID[:3]
    assert words.partial == words.text == "w0 w1 w2"
    words.told(" last ", 9.0)
    assert words.words[-1] == HeardWord("last", 9.0)
    assert not words.told("  ", 9.5)


def test_a_flush_is_ahead_of_what_is_told_and_never_twice() -> None:
    words = LiveWords()
    live(words, *SAID[:3])
    words.flushed(SAID[3:5])
    assert words.partial == "w0 w1 w2"
    assert words.text == "w0 w1 w2 w3 w4"
    live(words, SAID[3])
    assert words.text == "w0 w1 w2 w3 w4"
    words.withdrawn()
    assert words.text == "w0 w1 w2 w3"


def test_until_the_commit_is_known_live_words_of_before_are_dropped() -> None:
    words = LiveWords()
    live(words, *SAID[:3])
    words.flushed(SAID[3:5])
    assert len(words.take(SAID[4].end_s or 0.0, committing=True)) == 5
    live(words, SAID[4])  # crossed the commit on the way
    assert words.text == ""
    words.committed()
    live(words, SAID[5])
    assert words.text == "w5"


def test_a_voice_begins_without_the_words_of_before() -> None:
    words = LiveWords()
    live(words, *SAID[:5])
    words.begin(SAID[3].start_s - 0.1)
    assert words.text == "w3 w4"


@given(
    told=st.integers(0, 20),
    oldest_s=st.floats(0.0, 9.0),
    wanted_s=st.floats(0.0, 3.0),
    shift=st.sampled_from((-FRAME_S, 0.0, FRAME_S)),
    final=st.integers(0, 10),
)
def test_after_a_loss_every_word_stands_once(told: int, oldest_s: float, wanted_s: float, shift: float, final: int) -> None:
    """What is sent again is recognised again, a frame sooner or later than before, without its first words' beginnings."""
    words = LiveWords()
    final = min(final, told)
    live(words, *SAID[:final])
    if final:
        words.take(SAID[final - 1].end_s or 0.0)
    live(words, *SAID[final:told])
    from_s = words.lost(wanted_s, oldest_s)
    assert from_s >= max(oldest_s, words.final_until_s)
    # A word that the audio begins in the middle of is not recognised.
    again = [HeardWord(w.text, w.start_s + shift, w.end_s) for w in SAID if w.start_s + min(shift, 0.0) >= from_s]
    live(words, *again)
    names = [w.text for w in SAID]
    known = {w.text for w in SAID[final:told]}
    heard_again = {w.text for w in again}
    text = words.text.split()
    assert text == sorted(set(text), key=names.index)
    assert {w.text for w in SAID[final:told] if w.start_s < from_s} | heard_again - set(names[:final]) <= set(text)
    assert set(text) <= known | heard_again


def test_partials_wait_until_the_words_of_before_are_told_again() -> None:
    words = LiveWords()
    live(words, *SAID[:5])
    words.lost(0.0, 0.0)
    live(words, *SAID[:4])
    assert words.partial == ""
    live(words, SAID[4])
    assert words.partial == "w0 w1 w2 w3 w4"
    words.take(SAID[4].end_s or 0.0)
    live(words, SAID[5])
    assert words.partial == "w5"


def test_the_record_has_times_from_the_first_sample_and_no_endless_words() -> None:
    words = (HeardWord("yes", 1.0, 4.0), HeardWord("maybe", 4.0), HeardWord("so", 4.2))
    one, two, three = timed(words, 0.5, 4.3)
    assert (one.start_s, two.start_s) == (0.5, 3.5)
    assert one.end_s < 1.3  # and not when the next one began
    assert two.end_s == pytest.approx(3.7)
    assert three.end_s == pytest.approx(3.8)
    assert timed((), 0.0, 1.0) == ()
