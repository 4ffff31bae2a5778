"""The two clocks of a call's media, on times that are made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transports.timing import CaptureClock, PlayoutLedger

RATE = 24_000


def test_capture_clock_knows_nothing_before_the_first_packet():
    clock = CaptureClock()
    assert clock.time_of(1.0) is None
    clock.observe(1.0, 100.0)
    clock.reset()
    assert clock.time_of(1.0) is None


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=100), st.floats(-1e5, 1e5))
def test_capture_clock_takes_the_fastest_packet_for_the_true_offset(delays, start):
    clock = CaptureClock()
    for i, delay in enumerate(delays):
        clock.observe(0.02 * (i + 1), start + 0.02 * (i + 1) + delay)
    assert clock.time_of(10.0) == pytest.approx(start + 10.0 + min(delays), abs=1e-6)


def test_capture_clock_forgets_an_offset_that_no_longer_holds():
    clock = CaptureClock(window=3)
    clock.observe(0.02, 1.0)
    for i in range(3):
        clock.observe(0.02 * i, 2.0 + 0.02 * i)
    assert clock.time_of(0.0) == pytest.approx(2.0)


def say(ledger: PlayoutLedger, utterance: str, chunks: int, at: float = 0.0, voiced: bool = True) -> None:
    ledger.begin(utterance)
    for i in range(chunks):
        ledger.sent(480, at + 0.02 * i, speech=True, voiced=voiced)


def test_ledger_counts_each_utterance_and_the_silence_between():
    ledger = PlayoutLedger(RATE)
    ledger.sent(960, 0.0, speech=False, voiced=False)
    say(ledger, "a", 10)
    ledger.sent(480, 0.3, speech=False, voiced=False)
    say(ledger, "b", 5, at=1.0)
    assert ledger.position == 960 + 4_800 + 480 + 2_400
    assert (ledger.sent_s("a"), ledger.sent_s("b"), ledger.sent_s("c")) == (0.2, 0.1, 0.0)
    assert ledger.first_voiced_sent_at("b") == 1.0
    assert ledger.last_voiced_sent_at("b") == pytest.approx(1.08)


def test_without_reports_what_was_sent_less_the_known_buffers_counts_as_heard():
    ledger = PlayoutLedger(RATE, behind_s=0.06)
    say(ledger, "a", 10)
    assert ledger.heard_s("a", 0.16) == pytest.approx(0.1)
    assert ledger.heard_s("a", 9.0) == 0.2
    assert ledger.heard_at("a") is None


def test_audio_that_left_ahead_of_time_was_not_heard_yet():
    ledger = PlayoutLedger(RATE)
    ledger.begin("a")
    for i in range(10):
        ledger.sent(480, 1.0, speech=True, voiced=True, due_at=1.0 + 0.02 * i)
    assert ledger.heard_s("a", 1.05) == pytest.approx(0.05)


def test_silence_within_an_utterance_is_no_part_of_it():
    ledger = PlayoutLedger(RATE)
    say(ledger, "a", 10)
    for i in range(25):
        ledger.sent(480, 0.2 + 0.02 * i, speech=False, voiced=False)
    say(ledger, "a", 10, at=0.7)
    assert ledger.heard_s("a", 0.5) == pytest.approx(0.2)
    assert ledger.heard_s("a", 0.8) == pytest.approx(0.3)
    assert ledger.heard_s("a", 9.0) == ledger.sent_s("a") == pytest.approx(0.4)


def test_report_is_carried_forward_but_not_past_what_was_sent():
    ledger = PlayoutLedger(RATE)
    ledger.sent(4_800, 0.0, speech=False, voiced=False)
    say(ledger, "a", 50)
    ledger.reported(4_800 + 2_400, 10.0)
    assert ledger.heard_s("a", 10.0) == pytest.approx(0.1)
    assert ledger.heard_s("a", 10.3) == pytest.approx(0.4)
    assert ledger.heard_s("a", 99.0) == pytest.approx(1.0)
    assert ledger.heard_at("a") == pytest.approx(9.9)


def test_heard_begins_at_the_first_voiced_sample_not_at_the_first():
    ledger = PlayoutLedger(RATE)
    say(ledger, "a", 5, voiced=False)
    say(ledger, "a", 5)
    ledger.reported(2_400, 5.0)
    assert ledger.heard_at("a") == 5.0


def test_reports_from_the_future_or_the_past_change_nothing():
    ledger = PlayoutLedger(RATE)
    say(ledger, "a", 10)
    ledger.reported(4_801, 1.0)
    assert ledger.heard_at("a") is None
    ledger.reported(2_400, 1.0)
    ledger.reported(1_200, 2.0)
    assert ledger.heard_s("a", 1.0) == pytest.approx(0.1)


def test_before_its_first_sample_nothing_of_an_utterance_was_heard():
    ledger = PlayoutLedger(RATE)
    ledger.sent(4_800, 0.0, speech=False, voiced=False)
    ledger.reported(2_400, 1.0)
    say(ledger, "a", 10, at=1.1)
    assert ledger.heard_s("a", 1.0) == 0.0
    assert ledger.heard_s("nobody", 1.0) == 0.0


def test_beginning_the_current_utterance_again_changes_nothing_and_old_ones_are_forgotten():
    ledger = PlayoutLedger(RATE, keep=2)
    say(ledger, "a", 5)
    say(ledger, "a", 5)
    assert ledger.sent_s("a") == 0.2
    say(ledger, "b", 1)
    say(ledger, "c", 1)
    assert ledger.sent_s("a") == 0.0


@given(st.lists(st.tuples(st.integers(1, 2_000), st.booleans()), max_size=50))
def test_position_is_the_sum_of_all_samples(chunks):
    ledger = PlayoutLedger(RATE)
    ledger.begin("a")
    for samples, speech in chunks:
        ledger.sent(samples, 0.0, speech=speech, voiced=speech)
    assert ledger.position == sum(n for n, _ in chunks)
    assert ledger.sent_s("a") == pytest.approx(sum(n for n, speech in chunks if speech) / RATE)


def test_what_the_client_threw_away_is_not_heard_by_a_later_report():
    ledger, heard = PlayoutLedger(8_000), []
    ledger.on_heard = lambda utterance, at: heard.append(utterance)
    for utterance in ("cut short", "heard"):
        ledger.begin(utterance)
        ledger.sent(160, 1.0, speech=True, voiced=True)
        if utterance == "cut short":
            ledger.thrown_away()
    ledger.reported(320, 1.1)
    assert heard == ["heard"]
    assert ledger.heard_at("cut short") is None
