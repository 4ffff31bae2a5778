"""Finding the last and the first voiced sample in real levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.turns.voiced import WINDOW_S, VoicedTracker

RATE = 16_000


def tone(seconds: float, amplitude: float) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * 200 * t)).astype(np.int16)


def room(seconds: float, rms: float = 20.0) -> np.ndarray:
    return np.random.default_rng(1).normal(0, rms, int(seconds * RATE)).astype(np.int16)


def feed(tracker: VoicedTracker, audio: np.ndarray, chunk: int = 320, start_s: float = 0.0) -> None:
    for i in range(0, len(audio), chunk):
        part = audio[i : i + chunk]
        tracker.add(part.tobytes(), start_s + (i + len(part)) / RATE)


@pytest.mark.parametrize("noise", [5.0, 50.0, 150.0])
@pytest.mark.parametrize("chunk", [320, 512, 137])
def test_the_borders_of_a_voice_in_room_tone_are_found(noise, chunk):
    tracker = VoicedTracker(RATE)
    feed(tracker, np.concatenate([room(1.0, noise), tone(0.8, 6000), room(0.7, noise)]), chunk)
    assert tracker.last_voiced_s(0.5) == pytest.approx(1.8, abs=2 * WINDOW_S)
    assert tracker.first_voiced_s(0.5) == pytest.approx(1.0, abs=2 * WINDOW_S)
    assert tracker.voiced_s(0.5) == pytest.approx(0.8, abs=4 * WINDOW_S)


def test_a_pause_inside_is_not_the_end():
    tracker = VoicedTracker(RATE)
    feed(tracker, np.concatenate([room(0.5), tone(0.5, 6000), room(0.3), tone(0.4, 3000), room(0.5)]))
    assert tracker.last_voiced_s(0.3) == pytest.approx(1.7, abs=2 * WINDOW_S)


def test_silence_has_no_voice():
    tracker = VoicedTracker(RATE)
    assert tracker.last_voiced_s(0.0) is None
    feed(tracker, room(2.0, 10.0))
    assert tracker.last_voiced_s(0.5) is None
    assert tracker.first_voiced_s(0.5) is None


def test_only_what_lies_after_since_counts():
    tracker = VoicedTracker(RATE)
    feed(tracker, np.concatenate([tone(0.5, 6000), room(1.0)]))
    assert tracker.last_voiced_s(0.7) is None


@settings(max_examples=30)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=60))
def test_the_size_of_the_pieces_makes_no_difference(sizes):
    audio = np.concatenate([room(0.3), tone(0.4, 5000), room(0.3)])
    whole, pieces = VoicedTracker(RATE), VoicedTracker(RATE)
    feed(whole, audio, len(audio))
    position = 0
    for size in sizes:
        part = audio[position : position + size]
        position += len(part)
        pieces.add(part.tobytes(), position / RATE)
    rest = audio[position:]
    pieces.add(rest.tobytes(), len(audio) / RATE)
    assert pieces.last_voiced_s(0.1) == pytest.approx(whole.last_voiced_s(0.1), abs=1e-6)
