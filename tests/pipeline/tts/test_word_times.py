"""Word times from an engine's events."""

from __future__ import annotations

import numpy as np

from agent.record import Word
from pipeline.tts.spoken_text import Token
from pipeline.tts.word_times import WordTimer

RATE = 1000


def tokens(text: str) -> list[Token]:
    out, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        out.append(Token(word, start, at))
    return out


def tone(samples: int) -> bytes:
    return np.full(samples, 1000, dtype=np.int16).tobytes()


def test_a_word_lasts_until_its_voice_ends() -> None:
    timer = WordTimer(tokens("Yes, no"), RATE)
    assert timer.start(0, 0) == []
    timer.audio(tone(300) + bytes(2 * 200) + tone(100))
    assert timer.start(5, 500) == [Word("Yes,", 0.0, 0.3)]
    assert timer.finish() == [Word("no", 0.5, 0.6)]


def test_times_count_from_the_utterance() -> None:
    timer = WordTimer(tokens("Yes"), RATE, offset=2000)
    timer.start(0, 0)
    timer.audio(tone(100))
    assert timer.finish() == [Word("Yes", 2.0, 2.1)]


def test_several_events_for_one_word() -> None:
    timer = WordTimer(tokens("25 cats"), RATE)
    timer.audio(tone(400))
    assert timer.start(0, 0) == []
    assert timer.start(1, 100) == []
    assert timer.start(3, 200) == [Word("25", 0.0, 0.2)]
    assert timer.finish() == [Word("cats", 0.2, 0.4)]


def test_one_event_for_several_words() -> None:
    timer = WordTimer(tokens("ab cdef gh"), RATE)
    timer.audio(tone(700))
    timer.start(0, 0)
    assert timer.start(8, 600) == [Word("ab", 0.0, 0.2), Word("cdef", 0.2, 0.6)]
    assert timer.finish() == [Word("gh", 0.6, 0.7)]


def test_words_before_the_first_event_and_behind_the_last() -> None:
    timer = WordTimer(tokens("ab cd ef gh"), RATE)
    timer.audio(tone(800))
    timer.start(3, 0)
    assert timer.start(6, 400) == [Word("ab", 0.0, 0.2), Word("cd", 0.2, 0.4)]
    assert timer.finish() == [Word("ef", 0.4, 0.6), Word("gh", 0.6, 0.8)]


def test_events_out_of_order_are_ignored() -> None:
    timer = WordTimer(tokens("ab cd"), RATE)
    timer.audio(tone(400))
    timer.start(0, 0)
    timer.start(3, 200)
    assert timer.start(0, 250) == []
    assert timer.finish() == [Word("cd", 0.2, 0.4)]


def test_without_any_event_the_words_share_the_audio() -> None:
    timer = WordTimer(tokens("ab cd"), RATE)
    timer.audio(tone(400))
    assert timer.finish() == [Word("ab", 0.0, 0.2), Word("cd", 0.2, 0.4)]
    assert timer.finish() == []
