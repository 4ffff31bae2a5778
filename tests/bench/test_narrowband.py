"""``bench narrowband``: the way by telephone, and what is told of it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from bench.guided import Clip, Draw, Heard
from bench.guided import Trial as Guess
from bench.narrowband import PhonedClip, differences, phoned, phoned_trial, pooled_ci, recogniser_figures, wer_of, word_errors
from bench.turn_trials import Trial


def tone(hz: float, seconds: float = 1.0) -> bytes:
    t = np.arange(round(16_000 * seconds)) / 16_000
    return (8_000 * np.sin(2 * np.pi * hz * t)).astype(np.int16).tobytes()


def level_db(pcm16: bytes) -> float:
    samples = np.frombuffer(pcm16, np.int16).astype(float)[1_600:-1_600]
    return float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))


@pytest.mark.parametrize("hz", [100, 1_000, 3_000])
def test_what_a_telephone_can_carry_comes_through_at_its_level(hz):
    assert level_db(phoned(tone(hz))) == pytest.approx(level_db(tone(hz)), abs=0.5)


@pytest.mark.parametrize("hz", [5_000, 7_000])
def test_what_it_cannot_is_gone(hz):
    assert level_db(phoned(tone(hz))) < level_db(tone(hz)) - 40


@pytest.mark.parametrize("samples", [0, 1, 159, 16_000, 16_001])
def test_it_is_as_long_as_before(samples):
    assert len(phoned(bytes(2 * samples))) == 2 * samples


def test_it_is_2_ms_late():
    noise = np.convolve(np.random.default_rng(1).standard_normal(8_000), np.ones(16) / 4, "same") * 4_000
    said = np.clip(noise, -30_000, 30_000).astype(np.int16)
    heard = np.frombuffer(phoned(said.tobytes()), np.int16).astype(float)
    late = int(np.correlate(heard, said.astype(float), "full").argmax()) - (len(said) - 1)
    assert late == pytest.approx(32, abs=1), "samples at 16 kHz"


def test_a_clip_and_a_trial_by_phone_are_the_same_but_for_their_sound(tmp_path: Path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as wav:
        wav.setparams((1, 2, 16_000, 0, "NONE", ""))
        wav.writeframes(tone(1_000))
    clip = PhonedClip(tmp_path / "a.wav", "ann", "a tone")
    assert clip.pcm16() == phoned(tone(1_000))
    trial = Trial("a.wav", "ann", np.frombuffer(tone(1_000), np.int16), (), 0, 0.4, 0.3, 0.7, 0.9)
    phone = phoned_trial(trial)
    assert phone.pcm.tobytes() == phoned(tone(1_000))
    assert (phone.gap_at_s, phone.resumes_s, phone.end_s, phone.clip) == (0.3, 0.7, 0.9, "a.wav")


CLIPS = [Clip(Path(f"{n}.wav"), speaker, "one two three four") for n, speaker in enumerate(["ann", "ann", "bob"])]


def heard(found: list[str], best: list[str]) -> Heard:
    trials = [
        Guess(Draw(number, inside, ("one two three four", "five")), said, (float(inside),), inside)
        for number, said in enumerate(best)
        for inside in (True, False)
    ]
    return Heard(trials, 1.0, 1.0, 1.0, [1.0], [(clip.text, text, True) for clip, text in zip(CLIPS, found, strict=True)])


def test_errors_are_counted_by_speaker_and_pooled_by_word():
    counted = word_errors(CLIPS, heard(["one two three four", "one two", "one nine three four"], ["five"] * 3))
    assert counted == {"ann": (2, 8), "bob": (1, 4)}
    assert wer_of(counted) == 0.25
    assert pooled_ci(counted) == [0.25, 0.25], "both speakers have the same share"
    assert pooled_ci({"ann": (2, 8)}) is None


def test_differences_are_those_of_each_speaker():
    right = "one two three four"
    wide, narrow = heard([right] * 3, [right] * 3), heard([right, "one two", right], [right, right, "five"])
    found = differences(CLIPS, narrow, wide)
    assert found["free_wer"] == round(2 / 12, 3)
    assert found["choice8_right"] == -0.5, "all of Bob's, none of Ann's"
    assert found["choice8_right_ci95"] == (-1.0, 0.0)
    assert recogniser_figures(CLIPS, narrow)["choice8_right"] == 0.5
    assert recogniser_figures(CLIPS, wide)["free_wer"] == 0.0
