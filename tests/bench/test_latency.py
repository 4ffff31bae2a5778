"""From single turns to figures, ratios and checks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bench.dialogue import DialogueResult, TurnResult
from bench.latency import FULL, QUICK, Plan, Speech, pairs_of, report, share
from bench.latency_figures import COMPARED, Measured, figures, unitless
from bench.settings import settings_hash
from bench.speech import Spoken
from bench.told_dialogue import ToldTurn

SPOKEN = [Spoken(f"u{i}", np.zeros(10, np.int16), real=False) for i in range(12)]
SAID = Speech(pairs_of(SPOKEN), [], [])
FAST = {"fakes": 400.0, "natural": 280.0, "machine": 210.0, "fell": 150.0, "cold": 100.0}
STOCK = {"fakes": 520.0, "natural": 520.0, "machine": 480.0, "fell": 550.0, "cold": 700.0}


def measured(times: dict[str, float], *, row_error: float | None = 5.0, **changed: float) -> Measured:
    """Ten turns of each row around ``times``, and as many interruptions."""
    times = times | changed
    ten = range(10)
    turns = [
        TurnResult(f"u{i}", "clean", times["fakes"] + i, None if row_error is None else times["fakes"] + i + row_error)
        for i in ten
    ]
    dialogue = DialogueResult(turns=turns, fell_ms=[times["fell"] + i for i in ten], packets_per_s=50.0, seconds=60.0)
    stages = {"eot": times["natural"] - 50, "sent": times["natural"] - 1}
    return Measured(
        dialogues=[dialogue],
        told={
            "natural": [ToldTurn(f"n{i}", times["natural"] + i, stages_ms=stages) for i in ten],
            "machine": [ToldTurn(f"m{i}", times["machine"] + i) for i in ten],
        },
        arrivals_ms=[1.0, 2.0],
        cold_ms=[times["cold"] - 10, times["cold"], times["cold"] + 10],
        cpu_percent=[7.0],
        start_s=[2.0],
        memory_mb=[200.0],
    )


def result(ours: Measured, peer: Measured | None = None) -> dict[str, Any]:
    return report({"parley": ours, "peer": peer or measured(STOCK)}, SAID, QUICK)


def failed(found: dict[str, Any]) -> set[str]:
    return {name for name, entry in found["checks"].items() if not entry["ok"]}


def test_the_shape() -> None:
    found = result(measured(FAST))
    json.dumps(found, allow_nan=False)
    for figure in COMPARED:
        name = unitless(figure)
        assert figure in found["figures"]
        assert figure in found["peer"]
        assert found["ratios"][name] > 0
        low, high = found["ratios_ci95"][name]
        assert low <= found["ratios"][name] <= high
    assert found["figures"]["v2v_p50_ms"] == 284.5
    assert found["figures"]["machine_v2v_p50_ms"] == 214.5
    assert found["figures"]["fakes"]["v2v_p50_ms"] == 404.5
    assert found["ratios"]["v2v_p50"] == pytest.approx(284.5 / 524.5, abs=0.001)
    assert found["ratios"]["fakes"]["v2v_p50"] == pytest.approx(404.5 / 524.5, abs=0.001)
    assert found["figures"]["stages_ms"]["natural"]["eot"] == 230.0
    assert found["figures"]["stages_ms"]["natural"]["stt_final"] is None
    assert found["settings_hash"] == settings_hash()
    assert failed(found) == set()


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({"machine": 250.0}, {"machine_v2v_p50 ratio"}),
        ({"machine": 290.0}, {"machine_v2v_p50 ratio", "machine_v2v_p90 ratio"}),
        ({"natural": 330.0}, {"v2v_p50 ratio"}),
        ({"natural": 430.0}, {"v2v_p50 ratio", "v2v_p90 ratio"}),
        ({"fell": 230.0}, {"barge_in_p50 ratio"}),
        ({"fakes": 580.0}, {"fakes v2v_p50 ratio", "fakes v2v_p90 ratio"}),
        ({"cold": 260.0}, {"first_packet_cold_max_ms"}),
        ({"row_error": 41.0}, {"row_error_p90_ms"}),
    ],
)
def test_each_goal_is_one_of_its_own(changed: dict[str, float], fails: set[str]) -> None:
    assert failed(result(measured(FAST, **changed))) == fails


@pytest.mark.parametrize(("usual", "ok"), [(440.0, False), (450.0, True), (590.0, True), (600.0, False)])
def test_a_peer_that_is_not_as_usual_fails_the_run(usual: float, ok: bool) -> None:
    found = result(measured(FAST), measured(STOCK, fakes=usual))
    assert ("peer's fakes v2v_p50_ms" in failed(found)) is not ok


def test_a_row_is_missed_where_none_came() -> None:
    assert failed(result(measured(FAST, row_error=None))) == {"row_error_p90_ms"}


def test_stuck_turns_are_counted_and_compared() -> None:
    assert result(measured(FAST))["ratios"]["stuck_turns"] is None
    ours, peer = measured(FAST), measured(STOCK)
    ours.told["natural"] += [ToldTurn("late", 3_400.0), ToldTurn("never", None)]
    found = result(ours, peer)
    assert found["figures"]["stuck_turns"] == 2
    assert found["ratios"]["stuck_turns"] == 2.0
    assert failed(found) == {"stuck_turns"}
    peer.told["natural"] += [ToldTurn("never", None)] * 4
    assert result(ours, peer)["ratios"]["stuck_turns"] == 0.5


def test_a_late_answer_has_its_time_and_a_missing_one_has_none() -> None:
    ours = measured(FAST)
    without = figures(ours)
    ours.told["natural"] += [ToldTurn("late", 3_400.0), ToldTurn("late", 3_500.0), ToldTurn("never", None)]
    found = figures(ours)
    assert found["v2v_p90_ms"] > 3_000.0
    assert found["v2v_in_time_p90_ms"] == without["v2v_in_time_p90_ms"] == without["v2v_p90_ms"]


def test_cut_turns_are_counted_apart() -> None:
    ours = measured(FAST)
    ours.told["natural"].append(ToldTurn("cut", None, cut=True))
    ours.told["machine"].append(ToldTurn("cut", None, cut=True))
    found = figures(ours)
    assert (found["cut_off_turns"], found["stuck_turns"], found["machine_stuck_turns"]) == (1, 0, 1)
    assert found["v2v_p50_ms"] == 284.5


def test_nothing_measured_is_not_a_success() -> None:
    found = report({}, SAID, QUICK)
    assert {f"{unitless(name)} ratio" for name in COMPARED} | {"stuck_turns", "peer's fakes v2v_p50_ms"} <= failed(found)
    json.dumps(found, allow_nan=False)


def test_each_utterance_interrupts_once() -> None:
    pairs = SAID.pairs
    assert [first.name for first, _ in pairs] == [f"u{i}" for i in range(12)]
    assert all(first is not second for first, second in pairs)
    assert sorted(second.name for _, second in pairs) == sorted(f"u{i}" for i in range(12))


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_no_part_is_played_twice_while_another_waits(plan: Plan) -> None:
    for parts in (plan.pairs, plan.natural, plan.machine):
        played = [item for index in range(plan.rounds) for item in share(range(24), index, parts)]
        times = [played.count(item) for item in range(24)]
        assert max(times) - min(times) <= 1
        assert max(times) == (plan.rounds + parts - 1) // parts


def test_the_full_run_says_every_sentence_in_every_round() -> None:
    assert FULL.rounds >= 3
    assert share(range(5), 1, FULL.natural) == share(range(5), 0, FULL.machine) == [0, 1, 2, 3, 4]
