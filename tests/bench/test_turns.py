"""The trials of bench turns, and the curve that is drawn for them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pocketsphinx import Decoder

from bench.turn_players import oracle
from bench.turn_trials import EDGE_WORDS, GAPS_S, RATE_HZ, align, build, room_tone
from bench.turns import CUTOFF_GOALS, MARGIN, Outcome, _control, _short, curve_for
from web.talk.wavs import read_wav

SENTENCE = "my sister works in a large hospital"


@pytest.fixture(scope="module")
def trials(speech_dir: Path):
    return build(speech_dir, places=1)[0]


def test_each_trial_has_one_gap_of_room_tone_at_a_word_end(trials):
    assert len(trials) >= 150
    assert {t.gap_s for t in trials} == set(GAPS_S)
    for trial in trials:
        assert EDGE_WORDS <= trial.before <= len(trial.words) - EDGE_WORDS
        assert trial.words[trial.before - 1].end_s == pytest.approx(trial.gap_at_s, abs=0.02)
        assert trial.words[trial.before].start_s >= trial.resumes_s - 0.02
        assert trial.end_s == pytest.approx(trial.words[-1].end_s, abs=0.02)
        gap = trial.pcm[round(trial.gap_at_s * RATE_HZ) : round(trial.resumes_s * RATE_HZ)].astype(float)
        tail = trial.pcm[round(trial.end_s * RATE_HZ) :].astype(float)
        assert np.sqrt(np.mean(gap**2)) == pytest.approx(np.sqrt(np.mean(tail**2)), rel=0.15)


def test_level_and_spectrum_alone_tell_pauses_from_ends_no_better_than_chance(trials):
    assert 0.4 <= _control(trials) <= 0.6


def test_the_oracle_knows_the_words_that_were_said(trials):
    trial = trials[0]
    assert oracle(trial, trial.gap_at_s + 0.1) == tuple(w.text for w in trial.words[: trial.before])
    assert oracle(trial, 99.0) == tuple(w.text for w in trial.words)
    assert oracle(trial, 0.0) == ()


def test_words_are_aligned_in_order_within_the_audio(flite_wav):
    pcm = read_wav(flite_wav(SENTENCE), RATE_HZ)
    words = align(Decoder(loglevel="FATAL", lm=None), pcm, SENTENCE.split())
    assert words is not None
    assert [w.text for w in words] == SENTENCE.split()
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(words))
    assert words[-1].end_s <= len(pcm) / RATE_HZ


def test_room_tone_of_one_seed_begins_in_the_same_way():
    assert np.array_equal(room_tone(1000, 3), room_tone(2000, 3)[:1000])
    assert np.sqrt(np.mean(room_tone(50_000, 1) ** 2)) == pytest.approx(20.0, rel=0.05)


def test_the_curve_cuts_no_more_pauses_than_allowed():
    pauses = np.random.default_rng(0).beta(2, 5, 2_000)
    curve = curve_for(pauses)
    waits = np.asarray([curve.wait_s(float(p)) for p in pauses])
    for gap, share in CUTOFF_GOALS.items():
        assert np.mean(waits < gap) <= MARGIN * share + 0.002


def test_an_end_that_was_never_seen_counts_as_the_longest_wait():
    outcomes = [Outcome("a", 0.4, True, 0.3), Outcome("a", 0.4, False, None), Outcome("b", 0.8, False, 0.5)]
    figures = _short([*outcomes, Outcome("b", 1.2, False, 0.4)])
    assert (figures["false_cutoff_400"], figures["false_cutoff_800"]) == (0.5, 0.0)
    assert figures["wait_p95_ms"] > 2_000
