"""When a voice begins, by probabilities alone."""

from __future__ import annotations

import random

from pipeline.turns.onset import Onset


def begins(probabilities: list[float], windows: int = 2) -> list[int]:
    """The windows after which a voice has begun, as a detector would ask that ends a voice with the first unlikely window."""
    onset = Onset(windows, 0.7, 0.95)
    speaking, found = False, []
    for i, probability in enumerate(probabilities):
        voiced = onset.voiced(probability, speaking=speaking)
        if voiced and not speaking:
            found.append(i)
        speaking = voiced
    return found


def test_a_sure_window_after_a_likely_one_begins_a_voice():
    assert begins([0.1, 0.8, 0.96, 0.9]) == [2]


def test_likely_windows_alone_begin_none_however_many():
    assert begins([0.94] * 50) == []


def test_a_sure_window_alone_begins_none():
    assert begins([0.0, 0.99, 0.0, 0.99, 0.6, 0.99]) == []


def test_a_voice_goes_on_while_windows_are_likely():
    onset = Onset(2, 0.7, 0.95)
    assert onset.voiced(0.7, speaking=True)
    assert not onset.voiced(0.69, speaking=True)


def test_what_begins_a_voice_also_does_with_a_lower_bar():
    rng = random.Random(5)
    for _ in range(300):
        windows = [rng.random() ** 0.5 for _ in range(40)]

        def first(sure: float, heard: list[float] = windows) -> int:
            onset = Onset(2, 0.7, sure)
            return next((i for i, p in enumerate(heard) if onset.voiced(p, speaking=False)), len(heard))

        assert first(0.8) <= first(0.9) <= first(0.99)
