"""From single turns to the figures, ratios and checks of ``bench latency``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.dialogue import DialogueResult
from bench.oracle import Row
from bench.stats import bootstrap_ci, bootstrap_ratio_ci, percentile, ratio
from bench.told_dialogue import STAGES, ToldTurn

SLOW_MS = 2_000.0
"""An answer later than this is one that waited for a missed end of turn (of the row with the fakes)."""
COMPARED = {
    "machine_v2v_p50_ms": 0.5,
    "machine_v2v_p90_ms": 0.6,
    "v2v_p50_ms": 0.6,
    "v2v_p90_ms": 0.8,
    "barge_in_p50_ms": 0.4,
    "first_packet_cold_ms": 1.1,
}
"""Figures that are compared with the peer's, and the highest ratio that is allowed. A ratio's name is without the unit."""
FAKES_COMPARED = {"v2v_p50": 1.1, "v2v_p90": 1.1}
PEER_V2V_P50_MS = (450.0, 600.0)
"""Outside this the peer, with the fakes, is not what it was on a quiet machine, and no ratio is worth anything."""
MAX_FIRST_PACKET_MS = 250.0
MAX_ROW_ERROR_MS = 40.0


@dataclass(slots=True)
class Measured:
    """Everything that one of the two servers gave over all rounds."""

    dialogues: list[DialogueResult] = field(default_factory=list)
    told: dict[Row, list[ToldTurn]] = field(default_factory=lambda: {"natural": [], "machine": []})
    arrivals_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    cold_failed: int = 0
    warm_ms: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def v2v(self, kind: str) -> list[float]:
        """Voice-to-voice times of the turns of ``kind`` with the fakes, ms."""
        return [t.v2v_ms for d in self.dialogues for t in d.turns if t.kind == kind and t.v2v_ms is not None]

    def told_v2v(self, row: Row) -> list[float]:
        """Voice-to-voice times of the turns of ``row`` that were answered, however late, and not cut, ms."""
        return [t.v2v_ms for t in self.told[row] if t.v2v_ms is not None]

    def fell(self) -> list[float]:
        """From the onset of an interruption to the fall of the tutor's level, ms."""
        return [x for d in self.dialogues for x in d.fell_ms]

    def row_differences(self, kinds: Sequence[str] = ("clean", "interrupting")) -> list[float]:
        """Row minus waveform of every turn of ``kinds`` that has both, ms."""
        turns = [t for d in self.dialogues for t in d.turns if t.kind in kinds]
        return [t.row_ms - t.v2v_ms for t in turns if t.row_ms is not None and t.v2v_ms is not None]

    def row_errors(self) -> list[float]:
        """The same without its sign."""
        return [abs(difference) for difference in self.row_differences()]

    def samples(self) -> dict[str, tuple[list[float], float]]:
        """What each compared figure is taken from: the single times in ms, and which percentile of them it is."""
        natural, machine = self.told_v2v("natural"), self.told_v2v("machine")
        return {
            "machine_v2v_p50_ms": (machine, 50.0),
            "machine_v2v_p90_ms": (machine, 90.0),
            "v2v_p50_ms": (natural, 50.0),
            "v2v_p90_ms": (natural, 90.0),
            "barge_in_p50_ms": (self.fell(), 50.0),
            "first_packet_cold_ms": (self.cold_ms, 50.0),
        }


def unitless(name: str) -> str:
    """The name of a figure in milliseconds without its unit."""
    return name.removesuffix("_ms")


def figures(measured: Measured) -> dict[str, Any]:
    """What is published of one server."""
    out: dict[str, Any] = {}
    for name, (times, q) in measured.samples().items():
        out[name] = percentile(times, q)
        out[f"{unitless(name)}_ci95_ms"] = bootstrap_ci(times, q)
    natural, machine = measured.told["natural"], measured.told["machine"]
    out["stuck_turns"] = sum(t.stuck for t in natural)
    in_time = [t.v2v_ms for t in natural if t.v2v_ms is not None and not t.stuck]
    stopped = [x for d in measured.dialogues for x in d.barge_in_ms]
    return out | {
        "v2v_in_time_p50_ms": percentile(in_time, 50),
        "v2v_in_time_p90_ms": percentile(in_time, 90),
        "cut_off_turns": sum(t.cut for t in natural),
        "turns": len(natural),
        "machine_turns": len(machine),
        "machine_stuck_turns": sum(t.stuck or t.cut for t in machine),
        "arrival_minus_announced_p50_ms": percentile(measured.arrivals_ms, 50),
        "stages_ms": {"natural": stages(natural), "machine": stages(machine)},
        "barge_ins": len(measured.fell()),
        "barge_in_stopped_p50_ms": percentile(stopped, 50),
        "barge_in_stopped_p90_ms": percentile(stopped, 90),
        "interruptions_of_silence": sum(d.not_sounding for d in measured.dialogues),
        "first_packet_cold_max_ms": max(measured.cold_ms, default=None),
        "first_packet_warm_ms": percentile(measured.warm_ms, 50),
        "cold_starts": len(measured.cold_ms),
        "cpu_percent_per_call": percentile(measured.cpu_percent, 50),
        "memory_mb_in_call": percentile(measured.memory_mb, 50),
        "start_s": percentile(measured.start_s, 50),
        "packets_per_s": percentile([d.packets_per_s for d in measured.dialogues], 50),
        "fakes": _with_fakes(measured),
    }


def _with_fakes(measured: Measured) -> dict[str, Any]:
    clean = measured.v2v("clean")
    kinds = ("clean", "interrupting")
    return {
        "v2v_p50_ms": percentile(clean, 50),
        "v2v_p90_ms": percentile(clean, 90),
        "v2v_p50_ci95_ms": bootstrap_ci(clean),
        "v2v_p90_ci95_ms": bootstrap_ci(clean, 90),
        "v2v_after_barge_in_p50_ms": percentile(measured.v2v("interrupting"), 50),
        "turns": sum(len(d.turns) for d in measured.dialogues),
        "clean_turns": len(clean),
        "stuck_turns": sum(t.v2v_ms is None for d in measured.dialogues for t in d.turns),
        "slow_turns": sum(v > SLOW_MS for kind in kinds for v in measured.v2v(kind)),
        "cut_off_turns": len(measured.v2v("cut")),
    }


def stages(turns: Sequence[ToldTurn]) -> dict[str, float | None]:
    """When each stage of a turn was reached, median ms after the last voiced sample; ``wire``: the answer's voice arrived."""
    answered = [t for t in turns if t.v2v_ms is not None]
    found = {name: percentile([t.stages_ms[name] for t in answered if name in t.stages_ms], 50) for name in STAGES}
    return found | {"wire": percentile([t.v2v_ms for t in answered if t.v2v_ms is not None], 50)}


def compare(ours: Measured, peer: Measured) -> tuple[dict[str, Any], dict[str, Any]]:
    """Quotients ours / peer, and their bootstrap intervals.

    ``stuck_turns``: ``None`` where neither had one, the difference where only the peer had none.
    """
    mine, theirs = ours.samples(), peer.samples()
    ratios: dict[str, Any] = {
        unitless(name): ratio(percentile(mine[name][0], mine[name][1]), percentile(theirs[name][0], theirs[name][1]))
        for name in COMPARED
    }
    intervals = {unitless(name): bootstrap_ratio_ci(mine[name][0], theirs[name][0], mine[name][1]) for name in COMPARED}
    stuck, peer_stuck = figures(ours)["stuck_turns"], figures(peer)["stuck_turns"]
    ratios["stuck_turns"] = ratio(stuck, peer_stuck) if peer_stuck else (float(stuck) if stuck else None)
    clean, peer_clean = ours.v2v("clean"), peer.v2v("clean")
    ratios["fakes"] = {
        name: ratio(percentile(clean, q), percentile(peer_clean, q)) for name, q in (("v2v_p50", 50), ("v2v_p90", 90))
    }
    return ratios, intervals


def check(ours: Measured, peer: Measured, ratios: dict[str, Any]) -> dict[str, Any]:
    """Each requirement: its value, its limit, and whether it holds. What was not measured does not hold."""

    def at_most(value: float | None, limit: float) -> dict[str, Any]:
        return {"value": value, "limit": limit, "ok": value is not None and value <= limit}

    mine, theirs = figures(ours), figures(peer)
    checks = {f"{unitless(name)} ratio": at_most(ratios[unitless(name)], limit) for name, limit in COMPARED.items()}
    checks |= {f"fakes {name} ratio": at_most(ratios["fakes"][name], limit) for name, limit in FAKES_COMPARED.items()}
    checks["stuck_turns"] = at_most(mine["stuck_turns"] if mine["turns"] else None, 0)
    checks["machine_stuck_turns"] = at_most(mine["machine_stuck_turns"] if mine["machine_turns"] else None, 0)
    checks["first_packet_cold_max_ms"] = at_most(
        None if ours.cold_failed else mine["first_packet_cold_max_ms"], MAX_FIRST_PACKET_MS
    )
    checks["row_error_p90_ms"] = at_most(percentile(ours.row_errors(), 90), MAX_ROW_ERROR_MS)
    usual, (low, high) = theirs["fakes"]["v2v_p50_ms"], PEER_V2V_P50_MS
    checks["peer's fakes v2v_p50_ms"] = {
        "value": usual,
        "limit": f"{low:g} to {high:g}",
        "ok": usual is not None and low <= usual <= high,
    }
    return checks
