"""From single turns to figures, ratios and checks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bench.dialogue import DialogueResult, TurnResult
from bench.latency import COMPARED, Measured, pairs_of, report, share
from bench.speech import Spoken

SPOKEN = [Spoken(f"u{i}", np.zeros(10, np.int16), real=i >= 12) for i in range(18)]


def measured(
    v2v: float, *, row_error: float | None = 5.0, barge_in: float = 400.0, cold: float = 150.0, stuck: int = 0
) -> Measured:
    """Ten clean turns around ``v2v``, as many interruptions, ``stuck`` turns without an answer."""
    turns = [
        TurnResult(f"u{i}", "clean", v2v + i, None if row_error is None else v2v + i + row_error * (-1) ** i) for i in range(10)
    ]
    turns += [TurnResult("s", "clean", None) for _ in range(stuck)]
    dialogue = DialogueResult(turns=turns, barge_in_ms=[barge_in + i for i in range(10)], packets_per_s=50.0, seconds=60.0)
    return Measured(
        dialogues=[dialogue], cold_ms=[cold - 10, cold, cold + 10], cpu_percent=[7.0], start_s=[2.0], memory_mb=[200.0]
    )


def result(ours: Measured, peer: Measured) -> dict[str, Any]:
    return report({"parley": ours, "peer": peer}, SPOKEN, quick=True)


def failed(found: dict[str, Any]) -> set[str]:
    return {name for name, entry in found["checks"].items() if not entry["ok"]}


def test_the_shape() -> None:
    found = result(measured(500), measured(520))
    json.dumps(found, allow_nan=False)
    for name in (*COMPARED, "stuck_turns"):
        assert name in found["figures"]
        assert name in found["peer"]
        assert name in found["ratios"]
    assert found["figures"]["v2v_p50_ms"] == 504.5
    assert found["figures"]["first_packet_cold_ms"] == 150.0
    assert found["ratios"]["v2v_p50_ms"] == pytest.approx(504.5 / 524.5, abs=0.001)
    assert failed(found) == set()


def test_slower_by_more_than_a_tenth_fails() -> None:
    assert failed(result(measured(500), measured(440))) == {"v2v_p50_ms ratio", "v2v_p90_ms ratio"}
    assert failed(result(measured(500, barge_in=500), measured(500))) == {"barge_in_p50_ms ratio"}


def test_the_first_packet_has_a_limit_of_its_own() -> None:
    slow = result(measured(500, cold=260), measured(500, cold=900))
    assert failed(slow) == {"first_packet_cold_max_ms"}
    assert failed(result(measured(500, cold=160), measured(500, cold=100))) == {"first_packet_cold_ms ratio"}


def test_rows_that_differ_from_the_waveform_fail() -> None:
    assert failed(result(measured(500, row_error=41), measured(500))) == {"row_error_p90_ms"}
    assert result(measured(500, row_error=39), measured(500))["figures"]["row_error_p90_ms"] == 39.0


def test_no_rows_at_all_fail() -> None:
    assert failed(result(measured(500, row_error=None), measured(500))) == {"row_error_p90_ms"}


def test_stuck_turns_are_counted_and_compared() -> None:
    none = result(measured(500), measured(500))
    assert none["ratios"]["stuck_turns"] is None
    only_ours = result(measured(500, stuck=2), measured(500))
    assert only_ours["ratios"]["stuck_turns"] == 2.0
    assert failed(only_ours) == {"stuck_turns"}
    fewer = result(measured(500, stuck=1), measured(500, stuck=4))
    assert fewer["ratios"]["stuck_turns"] == 0.25
    assert failed(fewer) == set()


def test_nothing_measured_is_not_a_success() -> None:
    found = report({}, SPOKEN, quick=True)
    assert "v2v_p50_ms ratio" in failed(found)
    json.dumps(found, allow_nan=False)


def test_cut_turns_are_counted_apart() -> None:
    ours = measured(500)
    ours.dialogues[0].turns.append(TurnResult("u", "cut", 4.0, 900.0))
    found = result(ours, measured(500))
    assert found["figures"]["cut_off_turns"] == 1
    assert found["figures"]["v2v_p50_ms"] == 504.5
    assert found["figures"]["row_error_p90_ms"] == 5.0


def test_quick_plays_everything_once() -> None:
    pairs = pairs_of(SPOKEN[:12])
    assert [first.name for first, _ in pairs] == [f"u{i}" for i in range(12)]
    assert all(first is not second for first, second in pairs)
    assert sorted(second.name for _, second in pairs) == sorted(f"u{i}" for i in range(12))
    once = [pair for index in range(3) for pair in share(pairs, index, quick=True)]
    assert sorted(f.name for f, _ in once) == sorted(f.name for f, _ in pairs)
    assert share(pairs, 1, quick=False) == pairs
