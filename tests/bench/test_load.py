"""What ``python -m bench load`` makes of what its callers measured, and a caller at a real server."""

import asyncio

import numpy as np
import pytest

from bench.load import Step, calls_held, check
from bench.load_caller import Turns
from bench.load_callers import Callers, combine
from bench.load_speech import CYCLE_S, FRAME_S, encode, make_cycle
from bench.servers import ServerProcess
from pipeline.transports.opus import packet_duration_s


def step(calls: int, *, gap: float = 25.0, v2v: float | None = 500.0, stuck: int = 0) -> Step:
    return Step(calls, gap, v2v, 2.0, stuck, 50.0)


def call(**given):
    return {"packets": 50, "gap_p99_ms": 21.0, "late_p99_ms": 1.0, "v2v_ms": [500.0], "stuck": 0, "connected": True} | given


def test_a_cycle_ends_its_speech_with_a_packet_and_lasts_as_long_as_it_says():
    speech = (8_000 * np.sin(np.arange(48_000 * 6 + 123) / 20)).astype(np.int16)
    cycle = make_cycle(speech)
    assert len(cycle.packets) == round(CYCLE_S / FRAME_S)
    assert cycle.speech_packets == 301
    assert cycle.speech_share == pytest.approx(0.4, abs=0.01)
    assert {packet_duration_s(packet) for packet in cycle.packets} == {FRAME_S}


def test_an_answer_is_timed_from_the_end_of_the_utterance_and_one_that_never_comes_is_stuck():
    turns = Turns()
    turns.heard(1.0, voiced=True)
    assert not turns.awaiting
    turns.ended(2.0)
    turns.heard(2.2, voiced=False)
    turns.heard(2.6, voiced=True)
    turns.ended(20.0)
    turns.heard(26.1, voiced=False)
    assert (turns.v2v_s, turns.stuck, turns.awaiting) == ([pytest.approx(0.6)], 1, False)
    turns.reset()
    assert (turns.v2v_s, turns.stuck) == ([], 0)


def test_calls_are_one_crowd_whose_worst_counts_and_none_may_be_lost():
    report = combine([call(), call(gap_p99_ms=33.0, stuck=1, v2v_ms=[]), call(late_p99_ms=9.0)])
    assert (report.gap_p99_ms, report.late_p99_ms, report.v2v_ms, report.stuck) == (33.0, 9.0, [500.0, 500.0], 1)
    for lost in ({"connected": False}, {"gap_p99_ms": None}):
        with pytest.raises(RuntimeError):
            combine([call(), call(**lost)])


def test_what_is_held_ends_at_the_first_number_that_was_not():
    assert step(1).held(400.0)
    assert not step(1, gap=40.1).held(400.0)
    assert not step(1, v2v=601.0).held(400.0)
    assert not step(1, v2v=None).held(400.0)
    assert not step(1, stuck=1).held(400.0)
    steps = [step(7), step(8), step(9, gap=50.0), step(10)]
    assert calls_held(steps, 500.0) == 8
    assert calls_held([step(7, gap=50.0), step(8)], 500.0) is None
    assert calls_held(steps, None) is None


def test_a_figure_that_was_not_measured_fails_its_check():
    ours = {"mb_per_call": 8.0, "rss_after_cycles_ratio": 1.01, "caller_late_p99_ms": 3.0}
    good = check(ours, {"cpu_per_call": 0.5, "calls_held": 2.2})
    assert all(entry["ok"] for entry in good.values())
    bad = check(dict.fromkeys(ours), {"cpu_per_call": None, "calls_held": None})
    assert not any(entry["ok"] for entry in bad.values())
    assert not check(ours, {"cpu_per_call": 0.61, "calls_held": 1.9})["calls_held ratio"]["ok"]


def test_packets_of_a_whole_second_are_fifty():
    assert len(encode(np.zeros(48_000, np.int16))) == 50


async def test_callers_speak_to_a_real_server_and_hear_it():
    async with ServerProcess("parley", [0]) as server, Callers(server.url, [0]) as callers:
        assert 0.3 < callers.speech_share < 0.5
        # It begins late in its cycle, so that it does not wait long for its first utterance.
        await callers.add(1, of=1, offset=0.95)
        await callers.reset()
        for _ in range(60):
            await asyncio.sleep(0.5)
            report = await callers.report()
            if report.v2v_ms or report.stuck:
                break
        assert report.v2v_ms
        assert report.gap_p99_ms > 0
        await callers.drop()
        assert (await callers.report()).v2v_ms == []
