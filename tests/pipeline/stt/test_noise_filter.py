"""Weak, short and empty: only all three together are noise."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stt.noise_filter import Level, Thresholds, is_noise, level, says_nothing

THRESHOLDS = Thresholds(rms=0.004, peak=0.03, max_s=1.0)
WEAK, LOUD = Level(0.002, 0.02), Level(0.05, 0.4)


@pytest.mark.parametrize("text", ["", "um", "Uh.", "hmm hmm", "the", "...", "A", "oh, um"])
def test_fillers_and_lone_particles_say_nothing(text: str) -> None:
    assert says_nothing(text.split())


@pytest.mark.parametrize("text", ["yes", "No.", "okay", "seven", "Anna", "thank you", "um um um", "I am", "the cat"])
def test_answers_say_something(text: str) -> None:
    assert not says_nothing(text.split())


def test_all_three_must_hold() -> None:
    assert is_noise(["um"], WEAK, 0.4, THRESHOLDS)
    assert not is_noise(["yes"], WEAK, 0.4, THRESHOLDS)
    assert not is_noise(["um"], LOUD, 0.4, THRESHOLDS)
    assert not is_noise(["um"], Level(0.002, 0.4), 0.4, THRESHOLDS)
    assert not is_noise(["um"], Level(0.05, 0.02), 0.4, THRESHOLDS)
    assert not is_noise(["um"], WEAK, 1.1, THRESHOLDS)


def test_levels_are_shares_of_full_scale() -> None:
    t = np.arange(16_000) / 16_000
    sine = (0.5 * 32768 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes()
    assert level(sine).rms == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert level(sine).peak == pytest.approx(0.5, rel=1e-3)
    assert level(b"") == Level(0.0, 0.0)
    assert level(np.full(10, -32768, "<i2").tobytes()).peak == 1.0
