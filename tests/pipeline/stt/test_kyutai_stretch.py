"""A stretch of speech: where it begins, what sound it has, and which words in it are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.stt.kyutai_pauses import PauseHeads
from pipeline.stt.kyutai_stretch import MIN_PRE_ROLL_S, PRE_ROLL_S, RATE_HZ, Stretch
from pipeline.stt.kyutai_words import HeardWord


def seconds(count: float, level: int = 1) -> bytes:
    return np.full(round(count * RATE_HZ), level, np.int16).tobytes()


class Ear:
    """Takes ``noises`` for noise, and keeps what it was asked about."""

    def __init__(self, *noises: str) -> None:
        self.noises = noises
        self.asked: list[tuple[int, float]] = []

    def __call__(self, words: Sequence[str], pcm16: bytes, voiced_s: float) -> bool:
        self.asked.append((len(pcm16) // 2, voiced_s))
        return " ".join(words) in self.noises


def test_it_begins_before_the_detector_told_but_not_within_what_is_final() -> None:
    assert Stretch(Ear()).begin(10.0, 0.2, 0.0) == pytest.approx(10.0 - 0.2 - PRE_ROLL_S)
    assert Stretch(Ear()).begin(10.0, 0.0, 0.0) == 10.0 - MIN_PRE_ROLL_S
    assert Stretch(Ear()).begin(10.0, 0.2, 9.9) == 9.9


def test_a_voice_that_goes_on_makes_one_stretch_with_what_has_no_final() -> None:
    stretch = Stretch(Ear())
    first = stretch.begin(10.0, 0.2, 0.0)
    assert stretch.begin(12.0, 0.2, 0.0) == first
    stretch.start_s = None
    assert stretch.begin(12.0, 0.2, 0.0) > first


def test_its_sound_is_dated_by_the_call() -> None:
    stretch = Stretch(Ear())
    stretch.add(seconds(1.0, 1))
    stretch.start_s = 1.0
    stretch.add(seconds(2.0, 2))
    stretch.captured(103.0)
    pcm16, started_s = stretch.sound(2.0)
    samples = np.frombuffer(pcm16, np.int16)
    assert started_s == 101.0
    assert set(samples) == {2}
    assert len(samples) == round(1.1 * RATE_HZ), "with a little of what followed"


def test_little_is_kept_of_the_time_when_nobody_speaks() -> None:
    stretch = Stretch(Ear())
    for _ in range(30):
        stretch.add(seconds(1.0))
    stretch.start_s = 0.0
    assert len(stretch.sound(30.0)[0]) <= len(seconds(4.0))
    spoken = len(stretch.sound(30.0)[0])
    for _ in range(10):
        stretch.add(seconds(1.0))
    assert len(stretch.sound(40.0)[0]) == spoken + len(seconds(10.0))


def test_words_are_timed_from_the_start_or_from_a_word_before_it() -> None:
    stretch = Stretch(Ear())
    stretch.start_s = 5.0
    heard = stretch.recognition([HeardWord("so", 5.5, 5.8), HeardWord("yes", 6.0, 6.4)], 7.0, engine="e")
    assert heard.text == "so yes"
    assert [w.start_s for w in heard.words] == [0.5, 1.0]
    assert (heard.audio_s, heard.started_s, heard.details) == (2.0, 5.0, {"engine": "e"})
    early = stretch.recognition([HeardWord("so", 4.5, 4.8)], 7.0, engine="e")
    assert (early.words[0].start_s, early.audio_s, early.started_s) == (0.0, 2.5, 4.5)


def test_words_that_were_read_into_a_noise_are_named_and_not_said() -> None:
    ear = Ear("uh")
    stretch = Stretch(ear)
    stretch.add(seconds(3.0))
    stretch.start_s = 1.0
    noise = stretch.recognition([HeardWord("uh", 1.5)], 2.0, engine="e")
    dropped = stretch.without_noise(noise, 2.0)
    assert dropped.text == ""
    assert dropped.words == ()
    assert dropped.details == {"engine": "e", "noise": "uh"}
    assert dropped.started_s == noise.started_s
    assert ear.asked == [(RATE_HZ, pytest.approx(1.0 - MIN_PRE_ROLL_S))]
    speech = stretch.recognition([HeardWord("yes", 1.5)], 2.0, engine="e")
    assert stretch.without_noise(speech, 2.0) is speech


def test_what_was_said_in_no_stretch_is_not_judged() -> None:
    ear = Ear("uh")
    stretch = Stretch(ear)
    assert not stretch.is_noise(["uh"], 2.0)
    assert stretch.without_noise(stretch.recognition([], 2.0, engine="e"), 2.0).details == {"engine": "e"}
    assert ear.asked == []


def test_a_muted_microphone_leaves_no_sound() -> None:
    stretch = Stretch(Ear())
    stretch.add(seconds(1.0))
    stretch.start_s = 0.0
    stretch.mute()
    assert stretch.sound(1.0)[0] == b""
    stretch.add(seconds(0.5))
    assert len(stretch.sound(2.0)[0]) == len(seconds(0.5))


HEADS = (0.1, 0.2, 0.7, 0.9)


def heads(steps: int) -> PauseHeads:
    result = PauseHeads()
    for _ in range(steps):
        result.step()
    return result


def test_the_pause_heads_tell_of_the_end_of_a_turn() -> None:
    assert heads(20).end_of_turn(HEADS, 0.1) == 0.7
    assert heads(20).heard_s == pytest.approx(1.6)


def test_the_pause_heads_tell_nothing_at_first_nor_late_nor_where_there_are_too_few() -> None:
    assert heads(12).end_of_turn(HEADS, 0.1) is None
    assert heads(13).end_of_turn(HEADS, 0.1) == 0.7
    assert heads(20).end_of_turn(HEADS, 0.5) is None
    assert heads(20).end_of_turn(HEADS[:2], 0.1) is None
    again = heads(20)
    again.restart()
    assert again.end_of_turn(HEADS, 0.1) is None
