"""Measures on waveforms whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.talk.listening import HeardLog, normalise, peak, trim, voice_spans

RATE = 48_000


def tone(seconds: float, amplitude: float = 8000.0, rate: int = RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * 440 * t)).astype(np.int16)


def room(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 12, round(seconds * rate)).astype(np.int16)


@given(lead=st.floats(0.0, 2.0), length=st.floats(0.1, 2.0))
def test_bounds_are_found_within_10_ms(lead: float, length: float) -> None:
    clip = np.concatenate([room(lead), tone(length), room(0.5)])
    ((start, end),) = voice_spans(clip, RATE)
    assert abs(start / RATE - lead) <= 0.010
    assert abs(end / RATE - (lead + length)) <= 0.011


def test_short_gaps_are_bridged_and_long_ones_are_not() -> None:
    clip = np.concatenate([tone(0.5), room(0.1), tone(0.5), room(0.4), tone(0.3)])
    spans = [(a / RATE, b / RATE) for a, b in voice_spans(clip, RATE)]
    assert spans == [pytest.approx((0.0, 1.1), abs=0.011), pytest.approx((1.5, 1.8), abs=0.011)]


def test_trim_and_normalise() -> None:
    clip = trim(np.concatenate([room(1.0), tone(0.5, 4000.0), room(1.0)]), RATE)
    assert len(clip) / RATE == pytest.approx(0.5, abs=0.02)
    assert peak(normalise(clip)) == pytest.approx(12_000, abs=2)
    assert len(trim(room(1.0), RATE)) == 0
    assert peak(normalise(np.zeros(10, np.int16))) == 0


def test_the_most_negative_sample_does_not_overflow() -> None:
    assert peak(np.array([-32768], np.int16)) == 32768


def heard(*spans: tuple[float, float], until: float = 20.0) -> HeardLog:
    """Packets every 20 ms, voiced inside ``spans``."""
    log = HeardLog()
    for index in range(round(until / 0.02)):
        at = index * 0.02
        log.add(at, 8000 if any(a <= at < b for a, b in spans) else 3)
    return log


@given(speech_end=st.floats(0.5, 3.0), delay=st.floats(0.05, 3.0))
def test_voice_to_voice_is_recovered_within_a_packet(speech_end: float, delay: float) -> None:
    log = heard((speech_end + delay, speech_end + delay + 2.0), until=9.0)
    found = log.voice_to_voice_s(speech_end)
    assert found is not None
    assert delay <= found + 1e-9 <= delay + 0.021


def test_no_answer_is_none() -> None:
    assert heard((1.0, 2.0)).voice_to_voice_s(2.5) is None
    assert heard((1.0, 2.0), (8.0, 9.0)).voice_to_voice_s(2.5, before=7.0) is None


@given(onset=st.floats(2.0, 4.0), stop=st.floats(0.1, 2.0))
def test_barge_in_is_recovered_within_a_packet(onset: float, stop: float) -> None:
    log = heard((1.0, onset + stop), (onset + stop + 0.9, onset + stop + 3.0), until=12.0)
    result = log.barge_in(onset)
    assert result.sounding
    assert result.stopped_after_s == pytest.approx(stop, abs=0.021)


def test_barge_in_into_silence_is_no_barge_in() -> None:
    assert not heard((1.0, 2.0), (6.0, 8.0)).barge_in(3.0).sounding
    ended_by_itself = heard((1.0, 2.0), (6.0, 8.0)).barge_in(2.1)
    assert ended_by_itself.stopped_after_s is None


def test_a_dropped_packet_does_not_end_a_run() -> None:
    log = heard((1.0, 2.0), (2.1, 3.0))
    assert log.end_of_run(1.5) == pytest.approx(2.98, abs=0.021)
    assert log.end_of_run(1.5, gap_s=0.05) == pytest.approx(1.98, abs=0.021)
