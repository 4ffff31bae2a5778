"""Headroom, from lateness alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.headroom import AGAIN, AMPLE, FILLED_S, LOW, WINDOW_S, Headroom, Lateness

TICK_S = 0.05
LIMIT_S = 0.02
latenesses = st.lists(st.floats(0, 1), min_size=1, max_size=400)


def observed(headroom, late_s, seconds, now=0.0, *, packets=False):
    """``seconds`` of values, each ``late_s(index)``; the time after them."""
    add = headroom.sent if packets else headroom.lagged
    for index in range(round(seconds / TICK_S)):
        now += TICK_S
        add(late_s(index), now)
    return now


@given(latenesses)
def test_the_percentile_is_the_nearest_rank_to_a_millisecond(values):
    lateness = Lateness()
    for index, value in enumerate(values):
        lateness.add(value, index * 0.02)
    rank = min(math.ceil(0.99 * len(values)), len(values) - 2)
    expected = sorted(values)[rank - 1] if rank > 0 else 0.0
    # All of the values lie within the window: 400 take 8 s.
    found = lateness.p99_s(max(FILLED_S, len(values) * 0.02))
    assert found == pytest.approx(min(0.5, expected), abs=0.0011)


def test_nothing_is_judged_before_there_is_enough_to_judge_by():
    headroom = Headroom(LIMIT_S)
    now = observed(headroom, lambda _: 0.2, FILLED_S - 0.5)
    assert headroom.judge(now).admits
    assert headroom.judge(now).loop_lag_p99_s is None
    now = observed(headroom, lambda _: 0.2, 1.0, now)
    assert not headroom.judge(now).admits


def test_a_pause_now_and_then_refuses_nobody():
    headroom = Headroom(LIMIT_S)
    now = observed(headroom, lambda index: 0.3 if index % 100 == 0 else 0.001, 60)
    assert headroom.judge(now).admits
    assert headroom.judge(now).headroom > 0.9


@pytest.mark.parametrize("packets", [False, True])
def test_lateness_of_either_kind_refuses_and_says_which(packets):
    headroom = Headroom(LIMIT_S, LIMIT_S)
    now = observed(headroom, lambda index: 0.06 if index % 10 == 0 else 0.0, 10, packets=packets)
    verdict = headroom.judge(now)
    assert (verdict.admits, verdict.low, verdict.headroom) == (False, True, 0.0)
    assert ("voice" if packets else "timers") in (verdict.reason or "")
    assert "60 ms late; the limit is 20 ms" in (verdict.reason or "")


def test_what_is_switched_off_is_measured_but_refuses_nobody():
    headroom = Headroom(0.0, 0.0)
    now = observed(headroom, lambda _: 0.4, 10)
    now = observed(headroom, lambda _: 0.4, 10, now, packets=True)
    verdict = headroom.judge(now)
    assert (verdict.admits, verdict.headroom, verdict.low) == (True, 1.0, False)
    assert verdict.packet_late_p99_s == pytest.approx(0.4, abs=0.001)


def test_calls_are_admitted_again_once_the_window_has_passed():
    headroom = Headroom(LIMIT_S)
    now = observed(headroom, lambda _: 0.06, 10)
    assert not headroom.verdict.admits
    now = observed(headroom, lambda _: 0.001, WINDOW_S - 2, now)
    assert not headroom.judge(now).admits
    now = observed(headroom, lambda _: 0.001, 4, now)
    assert headroom.judge(now).admits
    assert headroom.verdict.reason is None
    assert not headroom.low


def test_packets_of_calls_that_are_over_are_forgotten():
    headroom = Headroom(LIMIT_S, LIMIT_S)
    now = observed(headroom, lambda _: 0.06, 10, packets=True)
    assert not headroom.judge(now).admits
    assert headroom.judge(now + WINDOW_S + 1).admits


def test_a_class_that_joins_at_the_same_moment_is_let_in():
    headroom, now = Headroom(LIMIT_S, LIMIT_S), 0.0
    now = observed(headroom, lambda _: 0.0, 10, observed(headroom, lambda _: 0.0, 10, now), packets=True)
    for _ in range(12):
        headroom.begun(now)
        now = observed(headroom, lambda index: 0.06 if index == 0 else 0.0, 0.4, now)
        headroom.sent(0.06, now)
        assert headroom.judge(now).admits
    # What is late all the time is noticed, whoever joins.
    for _ in range(6):
        headroom.begun(now)
        now = observed(headroom, lambda _: 0.06, 2, now)
    assert not headroom.judge(now).admits


def test_what_was_late_while_the_engines_loaded_does_not_count():
    headroom = Headroom(LIMIT_S)
    now = observed(headroom, lambda _: 0.06, 10)
    headroom.forget()
    assert headroom.verdict.admits
    assert observed(headroom, lambda _: 0.0, 7, now)
    assert headroom.verdict.admits


@given(st.lists(st.sampled_from([0.0, 0.004, 0.009, 0.012, 0.016, 0.019, 0.03]), min_size=1, max_size=8))
def test_admission_and_lowness_have_two_thresholds_each(levels):
    headroom, now = Headroom(LIMIT_S), 0.0
    for level in levels:
        before = headroom.judge(now)
        now = observed(headroom, lambda _, level=level: level, WINDOW_S + 2, now)
        verdict = headroom.verdict
        room = max(0.0, 1 - level / LIMIT_S)
        assert verdict.headroom == pytest.approx(room, abs=0.051)
        if room == 0:
            assert not verdict.admits
        elif room > AGAIN + 0.05:
            assert verdict.admits
        elif 0.05 < room < AGAIN - 0.05:
            assert verdict.admits is before.admits
        if room < LOW - 0.05:
            assert verdict.low
        elif room > AMPLE + 0.05:
            assert not verdict.low
        assert (verdict.reason is None) is verdict.admits


@given(st.lists(st.tuples(st.floats(0, 0.6), st.floats(0, 3)), max_size=200))
def test_whatever_comes_headroom_is_a_share_and_a_refusal_has_a_reason(values):
    headroom, now = Headroom(LIMIT_S, LIMIT_S), 0.0
    for late_s, passed_s in values:
        now += passed_s
        headroom.lagged(late_s, now)
        headroom.sent(late_s, now)
        verdict = headroom.judge(now)
        assert 0 <= verdict.headroom <= 1
        assert verdict.admits is (verdict.reason is None)
        assert verdict.admits or verdict.low
