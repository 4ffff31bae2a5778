"""The pure clocks of the WebSocket transport: how fast audio leaves and enters."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.transports.pacing import Intake, OutputPacer, SpeedMeter

RATE = 24_000
CHUNK = 480
AHEAD_S = 0.2
EPS = 1e-9


def send(pacer: OutputPacer, now: float, lateness_s: float = 0.0) -> float:
    """Send one chunk as the transport does, its timer late by ``lateness_s``; returns when it left."""
    delay_s = pacer.delay(CHUNK, now)
    now += delay_s + lateness_s if delay_s > 0 else 0.0
    pacer.sent(CHUNK, now)
    return now


@settings(deadline=None)
@given(lateness_s=st.lists(st.floats(0, 0.15), min_size=1, max_size=400))
def test_late_timers_neither_run_ahead_nor_fall_behind(lateness_s: list[float]) -> None:
    pacer, now, start = OutputPacer(RATE, AHEAD_S), 1000.0, 1000.0
    for i, late in enumerate(lateness_s, start=1):
        now = send(pacer, now, late)
        sent_s, elapsed_s = i * CHUNK / RATE, now - start
        assert sent_s - elapsed_s <= AHEAD_S + EPS
        # Lateness within the allowance never makes the listener wait: no more than a frame is missing at any time.
        assert sent_s >= elapsed_s - CHUNK / RATE - EPS


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4800)), min_size=1, max_size=200), start=st.floats(-1e6, 1e9))
def test_a_listener_never_holds_more_than_the_allowance(steps: list[tuple[float, int]], start: float) -> None:
    """Whatever the gaps and chunk sizes, and whatever a listener that plays in real time has played."""
    pacer, now, buffered_s = OutputPacer(RATE, AHEAD_S), start, 0.0
    for gap_s, samples in steps:
        wait_s = gap_s + pacer.delay(samples, now + gap_s)
        now += wait_s
        pacer.sent(samples, now)
        buffered_s = max(0.0, buffered_s - wait_s) + samples / RATE
        assert buffered_s <= AHEAD_S + 1e-5
        assert pacer.ahead_s(now) == pytest.approx(buffered_s, abs=1e-4)


def test_ten_minutes_without_drift() -> None:
    pacer, now = OutputPacer(RATE, AHEAD_S), 0.0
    for _ in range(30_000):
        now = send(pacer, now)
    assert now == pytest.approx(600 - AHEAD_S, abs=1e-3)


def test_a_stall_is_not_made_up_for_by_a_burst() -> None:
    pacer, now = OutputPacer(RATE, AHEAD_S), 0.0
    for _ in range(50):
        now = send(pacer, now)
    now += 7.0
    at_once = 0
    while pacer.delay(CHUNK, now) == 0.0:
        pacer.sent(CHUNK, now)
        at_once += 1
    assert at_once == AHEAD_S * RATE / CHUNK


def test_a_chunk_longer_than_the_allowance_leaves_when_the_one_before_is_over() -> None:
    pacer = OutputPacer(RATE, AHEAD_S)
    assert pacer.delay(RATE, 5.0) == 0.0
    pacer.sent(RATE, 5.0)
    assert pacer.delay(RATE, 5.0) == pytest.approx(1.0)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), max_size=60))
def test_intake_cuts_any_sizes_into_the_same_audio(sizes: list[int]) -> None:
    intake = Intake(16_000, backlog_s=60, burst_s=60)
    data = bytes(i % 251 for i in range(2 * sum(sizes)))
    at = 0
    for size in sizes:
        assert intake.put(data[at : at + 2 * size]) == 0.0
        at += 2 * size
    out, ends = b"", []
    while (frame := intake.take(0.0)) is not None:
        assert len(frame.pcm16) == 640
        out += frame.pcm16
        ends.append(frame.end_s)
    assert out == data[: len(data) // 640 * 640]
    assert ends == pytest.approx([(i + 1) * 0.02 for i in range(len(ends))])
    assert intake.position_s == sum(sizes) / 16_000


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 400_000), min_size=1, max_size=20))
def test_intake_drops_the_oldest_and_keeps_the_time(sizes: list[int]) -> None:
    intake = Intake(16_000, backlog_s=3.0, burst_s=1e9)
    dropped_s = 0.0
    for size in sizes:
        dropped_s += intake.put(bytes(2 * size))
        assert intake.backlog_s <= 3.0 + EPS
    kept_s = intake.backlog_s
    last = None
    while (frame := intake.take(0.0)) is not None:
        last = frame
    if last is not None:
        # The newest audio is what was kept, dated by all that was received, dropped or not.
        assert 0 <= intake.position_s - last.end_s < 0.02 + EPS
    rest_s = sum(sizes) / 16_000 - kept_s - dropped_s
    assert -EPS <= rest_s < 0.02 + 1e-6


def test_intake_passes_real_time_at_once_and_a_flood_at_a_bounded_speed() -> None:
    intake = Intake(16_000, speed=4.0, burst_s=1.0, backlog_s=5.0)
    for i in range(500):
        intake.put(bytes(640))
        assert intake.take(i * 0.02) is not None
    intake.put(bytes(32_000 * 5))
    now, passed = 10.0, 0
    while (wait_s := intake.wait_s(now)) is not None:
        now += wait_s
        passed += intake.take(now) is not None
    assert passed == 250
    assert now - 10.0 == pytest.approx((5.0 - 1.0) / 4.0, abs=0.02)


def test_a_steady_client_is_never_too_fast() -> None:
    meter = SpeedMeter(4.0)
    assert not any(meter.observe(0.02, i * 0.02) for i in range(10_000))
    assert not meter.over


def test_a_whole_utterance_at_once_is_forgiven() -> None:
    meter = SpeedMeter(4.0)
    assert not meter.observe(30.0, 0.0)
    assert meter.over
    assert not any(meter.observe(0.02, 2.0 + i * 0.02) for i in range(1000))
    assert not meter.over


@settings(max_examples=30, deadline=None)
@given(speed=st.floats(5.5, 200))
def test_lasting_speed_is_abuse(speed: float) -> None:
    meter, now, verdict = SpeedMeter(4.0), 0.0, False
    while not verdict and now < 30:
        verdict = meter.observe(0.2, now)
        now += 0.2 / speed
    assert 9.9 < now < 16


@settings(deadline=None)
@given(speed=st.floats(0.1, 3.9))
def test_a_speed_below_the_limit_is_not(speed: float) -> None:
    meter = SpeedMeter(4.0)
    assert not any(meter.observe(0.02, i * 0.02 / speed) for i in range(3000))
