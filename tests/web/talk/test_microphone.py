"""Marks and frames of the microphone, on a clock that is passed in."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from web.talk.listening import window_rms
from web.talk.microphone import Microphone

RATE = 16_000
FRAME = 320


def clip(seconds: float, *, lead: float = 0.0, tail: float = 0.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    speech = (8000 * np.sin(2 * np.pi * 300 * t)).astype(np.int16)
    return np.concatenate([np.zeros(round(lead * RATE), np.int16), speech, np.zeros(round(tail * RATE), np.int16)])


def capture(microphone: Microphone, frames: int) -> np.ndarray:
    """Each frame handed out exactly when it is complete, from time 100."""
    first = microphone.frames
    return np.concatenate([microphone.capture(100.0 + (first + i + 1) * 0.02) for i in range(frames)])


def test_marks_are_the_frames_that_hold_the_first_and_last_sample() -> None:
    microphone = Microphone(RATE)
    capture(microphone, 10)
    said = microphone.say(clip(0.505))
    assert microphone.onset_at(said) is None
    capture(microphone, 40)
    assert said.start == 10 * FRAME
    assert microphone.onset_at(said) == pytest.approx(100.22)
    assert microphone.ended_at(said) == pytest.approx(100.72)  # 0.2 + 0.505 s, complete with its 20 ms frame
    assert said.done.is_set()


def test_a_clip_that_fills_its_frames_ends_with_its_last_frame() -> None:
    microphone = Microphone(RATE)
    said = microphone.say(clip(0.4))
    capture(microphone, 20)
    assert said.done.is_set()
    assert microphone.ended_at(said) == pytest.approx(100.40)


def test_voice_ends_where_the_clip_falls_silent() -> None:
    microphone = Microphone(RATE)
    microphone.say(clip(1.0, lead=0.5, tail=1.0))
    capture(microphone, 200)
    assert microphone.last_voice_end(1000.0) == pytest.approx(101.5, abs=0.021)
    assert microphone.last_voice_end(101.0) is None


def test_clips_follow_each_other_and_room_tone_fills_the_rest() -> None:
    microphone = Microphone(RATE)
    first, second = microphone.say(clip(0.2)), microphone.say(clip(0.3))
    stream = capture(microphone, 60)
    assert (first.start, first.end, second.start) == (0, 3200, 3200)
    tail = window_rms(stream[8000:], RATE)
    assert tail.min() > 3  # never digital zero
    assert tail.max() < 40  # and never loud


def test_the_clip_arrives_unharmed() -> None:
    microphone = Microphone(RATE, room_tone_rms=0.0)
    sent = clip(0.333)
    microphone.say(sent)
    assert np.array_equal(capture(microphone, 30)[: len(sent)], sent)


def test_loud_clips_saturate_instead_of_wrapping() -> None:
    microphone = Microphone(RATE)
    microphone.say(np.full(FRAME, 32_767, np.int16))
    assert capture(microphone, 1).min() > 32_000


def test_a_quiet_clip_has_voice_too() -> None:
    microphone = Microphone(RATE)
    quiet = (clip(0.5).astype(np.float64) / 60).astype(np.int16)
    microphone.say(np.concatenate([quiet, np.zeros(8000, np.int16)]))
    capture(microphone, 60)
    assert microphone.last_voice_end(1000.0) == pytest.approx(100.5, abs=0.021)


def test_an_empty_clip_is_over_at_once() -> None:
    assert Microphone(RATE).say(np.zeros(0, np.int16)).done.is_set()


async def test_frames_are_never_early_and_never_drift() -> None:
    loop = asyncio.get_running_loop()
    microphone = Microphone(RATE, clock=loop.time)
    started = loop.time()
    times = []
    for _ in range(15):
        await microphone.frame()
        times.append(loop.time() - started)
    for index, at in enumerate(times):
        assert at >= (index + 1) * 0.02 - 0.002


async def test_a_reader_that_stalled_catches_up() -> None:
    now = [0.0]
    microphone = Microphone(RATE, clock=lambda: now[0])
    now[0] = 0.0
    microphone.capture(0.0)
    now[0] = 5.0
    microphone._started_at = 0.0
    for _ in range(100):  # all of them due: none may sleep
        await asyncio.wait_for(microphone.frame(), 1.0)
    assert microphone.frames == 101
