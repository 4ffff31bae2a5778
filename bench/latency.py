"""``python -m bench latency``: how quickly a call answers, stops and starts, beside stock pipecat.

Parley as shipped and the frozen peer run the same fakes and hear the same audio, alternately and at least three times, each in
a fresh process on half of the cores while the client measures on the other half.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.dialogue import Dialogue, DialogueResult, first_packet_ms
from bench.servers import ServerProcess
from bench.speech import Spoken, speech_dir, utterances
from bench.stats import bootstrap_ci, percentile, ratio

ROUNDS = 3
COLD_EXTRA = 2
"""Further fresh processes, for the first packet alone."""
SLOW_MS = 2_000.0
"""An answer later than this is one that waited for a missed end of turn."""
MAX_RATIO = 1.1
MAX_FIRST_PACKET_MS = 250.0
MAX_ROW_ERROR_MS = 40.0
COMPARED = ("v2v_p50_ms", "v2v_p90_ms", "barge_in_p50_ms", "first_packet_cold_ms")

Item = TypeVar("Item")


@dataclass(slots=True)
class Measured:
    """Everything that one of the two servers gave over all rounds."""

    dialogues: list[DialogueResult] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    cold_failed: int = 0
    warm_ms: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def v2v(self, kind: str) -> list[float]:
        """Voice-to-voice times of the turns of ``kind``, ms."""
        return [t.v2v_ms for d in self.dialogues for t in d.turns if t.kind == kind and t.v2v_ms is not None]

    def stuck(self) -> int:
        """Turns without an answer."""
        return sum(t.v2v_ms is None for d in self.dialogues for t in d.turns)

    def row_differences(self, kinds: Sequence[str] = ("clean", "interrupting")) -> list[float]:
        """Row minus waveform of every turn of ``kinds`` that has both, ms."""
        turns = [t for d in self.dialogues for t in d.turns if t.kind in kinds]
        return [t.row_ms - t.v2v_ms for t in turns if t.row_ms is not None and t.v2v_ms is not None]

    def row_errors(self) -> list[float]:
        """The same without its sign."""
        return [abs(difference) for difference in self.row_differences()]


def figures(measured: Measured) -> dict[str, Any]:
    """What is published of one server."""
    clean, barge_in = measured.v2v("clean"), [x for d in measured.dialogues for x in d.barge_in_ms]
    return {
        "v2v_p50_ms": percentile(clean, 50),
        "v2v_p90_ms": percentile(clean, 90),
        "barge_in_p50_ms": percentile(barge_in, 50),
        "first_packet_cold_ms": percentile(measured.cold_ms, 50),
        "stuck_turns": measured.stuck(),
        "v2v_p50_ci95_ms": bootstrap_ci(clean),
        "v2v_p90_ci95_ms": bootstrap_ci(clean, 90),
        "barge_in_p50_ci95_ms": bootstrap_ci(barge_in),
        "barge_in_p90_ms": percentile(barge_in, 90),
        "v2v_after_barge_in_p50_ms": percentile(measured.v2v("interrupting"), 50),
        "learners_v2v_p50_ms": percentile(measured.v2v("learner"), 50),
        "learners_v2v_p90_ms": percentile(measured.v2v("learner"), 90),
        "first_packet_cold_max_ms": max(measured.cold_ms, default=None),
        "first_packet_warm_ms": percentile(measured.warm_ms, 50),
        "turns": sum(len(d.turns) for d in measured.dialogues),
        "clean_turns": len(clean),
        "learners_turns": len(measured.v2v("learner")),
        "slow_turns": sum(v > SLOW_MS for kind in ("clean", "interrupting", "learner") for v in measured.v2v(kind)),
        "cut_off_turns": sum(t.kind == "cut" for d in measured.dialogues for t in d.turns),
        "barge_ins": len(barge_in),
        "interruptions_of_silence": sum(d.not_sounding for d in measured.dialogues),
        "cold_starts": len(measured.cold_ms),
        "cpu_percent_per_call": percentile(measured.cpu_percent, 50),
        "memory_mb_in_call": percentile(measured.memory_mb, 50),
        "start_s": percentile(measured.start_s, 50),
        "packets_per_s": percentile([d.packets_per_s for d in measured.dialogues], 50),
    }


def compare(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, float | None]:
    """Quotients ours / peer. ``stuck_turns``: ``None`` where neither had one, the difference where only the peer had none."""
    ratios = {name: ratio(ours[name], peer[name]) for name in COMPARED}
    stuck, peer_stuck = ours["stuck_turns"], peer["stuck_turns"]
    ratios["stuck_turns"] = ratio(stuck, peer_stuck) if peer_stuck else (float(stuck) if stuck else None)
    return ratios


def check(measured: Measured, ours: dict[str, Any], peer: dict[str, Any], ratios: dict[str, float | None]) -> dict[str, Any]:
    """Each requirement: its value, its limit, and whether it holds. What was not measured does not hold."""
    checks: dict[str, Any] = {}
    for name in COMPARED:
        value = ratios[name]
        checks[f"{name} ratio"] = {"value": value, "limit": MAX_RATIO, "ok": value is not None and value <= MAX_RATIO}
    stuck_limit = int(peer["stuck_turns"] * MAX_RATIO)
    checks["stuck_turns"] = {"value": ours["stuck_turns"], "limit": stuck_limit, "ok": ours["stuck_turns"] <= stuck_limit}
    cold = ours["first_packet_cold_max_ms"]
    checks["first_packet_cold_max_ms"] = {
        "value": cold,
        "limit": MAX_FIRST_PACKET_MS,
        "ok": cold is not None and not measured.cold_failed and cold <= MAX_FIRST_PACKET_MS,
    }
    error = percentile(measured.row_errors(), 90)
    checks["row_error_p90_ms"] = {
        "value": error,
        "limit": MAX_ROW_ERROR_MS,
        "ok": error is not None and error <= MAX_ROW_ERROR_MS,
    }
    return checks


def pairs_of(spoken: Sequence[Spoken]) -> list[tuple[Spoken, Spoken]]:
    """Each utterance from silence once, with another one half the list away as the one that interrupts its answer."""
    half = len(spoken) // 2
    return [(first, spoken[(index + half) % len(spoken)]) for index, first in enumerate(spoken)]


def share(items: Sequence[Item], round_index: int, quick: bool) -> list[Item]:
    """A round's part of the speech: all of it; with ``quick`` every third item, so that the three rounds play each once."""
    return list(items[round_index::ROUNDS]) if quick else list(items)


async def run(quick: bool, server_cores: list[int], subjects: Sequence[str] = ("parley", "peer")) -> dict[str, Any]:
    """The whole benchmark; ``subjects`` leaves one out while it is being built.

    Raises:
        ServerFailed, TalkError: a server did not start, or a call was lost.
    """
    measured = {subject: Measured() for subject in subjects}
    with tempfile.TemporaryDirectory(prefix="parley-speech-") as folder:
        spoken = await asyncio.to_thread(utterances, Path(folder), speech_dir())
    pairs = pairs_of([s for s in spoken if not s.real])
    learners = [s for s in spoken if s.real]
    for index in range(ROUNDS):
        for subject in subjects:
            now = share(pairs, index, quick), share(learners, index, quick)
            await _round(measured[subject], subject, server_cores, *now)
            _progress(index, subject, measured[subject])
    for _ in range(0 if quick else COLD_EXTRA):
        for subject in subjects:
            async with ServerProcess(subject, server_cores) as server:
                await _cold(measured[subject], server)
    return report(measured, spoken, quick)


def report(measured: dict[str, Measured], spoken: Sequence[Spoken], quick: bool) -> dict[str, Any]:
    """The benchmark's result, without the machine."""
    ours, peer = (figures(measured.get(subject, Measured())) for subject in ("parley", "peer"))
    mine = measured.get("parley", Measured())
    ours["row_error_p90_ms"] = percentile(mine.row_errors(), 90)
    ours["row_minus_waveform_p50_ms"] = percentile(mine.row_differences(), 50)
    ours["learners_row_minus_waveform_p50_ms"] = percentile(mine.row_differences(["learner"]), 50)
    ours["turns_with_row"] = len(mine.row_errors())
    ours["barge_in_row_p50_ms"] = percentile([x for d in mine.dialogues for x in d.barge_in_row_ms], 50)
    ratios = compare(ours, peer)
    return {
        "figures": ours,
        "peer": peer,
        "ratios": ratios,
        "checks": check(mine, ours, peer, ratios),
        "input": {
            "synthetic_utterances": sum(not s.real for s in spoken),
            "learners_utterances": sum(s.real for s in spoken),
            "rounds": ROUNDS,
            "repetitions_of_each_pair": 1 if quick else ROUNDS,
        },
        "turns": {
            subject: [[t.utterance, t.kind, t.v2v_ms, t.row_ms] for d in m.dialogues for t in d.turns]
            for subject, m in measured.items()
        },
        "barge_ins": {subject: [x for d in m.dialogues for x in d.barge_in_ms] for subject, m in measured.items()},
        "cold_ms": {subject: m.cold_ms for subject, m in measured.items()},
    }


async def _round(
    measured: Measured, subject: str, cores: list[int], pairs: list[tuple[Spoken, Spoken]], learners: list[Spoken]
) -> None:
    async with ServerProcess(subject, cores) as server:
        measured.start_s.append(server.start_s)
        await _cold(measured, server)
        warm = await first_packet_ms(server.url)
        if warm is not None:
            measured.warm_ms.append(warm)
        await asyncio.sleep(1.0)
        before = server.facts()
        result = await Dialogue(server.url).run(pairs, learners)
        after = server.facts()
        measured.dialogues.append(result)
        measured.cpu_percent.append(100 * (after.cpu_s - before.cpu_s) / result.seconds)
        measured.memory_mb.append(after.memory_mb)


async def _cold(measured: Measured, server: ServerProcess) -> None:
    cold = await first_packet_ms(server.url)
    if cold is None:
        measured.cold_failed += 1
    else:
        measured.cold_ms.append(cold)
    await asyncio.sleep(1.0)
    server.check()


def _progress(index: int, subject: str, measured: Measured) -> None:
    found = measured.dialogues[-1]
    clean = [t.v2v_ms for t in found.turns if t.kind == "clean" and t.v2v_ms is not None]
    cold = measured.cold_ms[-1] if measured.cold_ms else None
    print(
        f"round {index + 1}/{ROUNDS} {subject:>6}: v2v {percentile(clean, 50)} ms,"
        f" barge-in {percentile(found.barge_in_ms, 50)} ms, first packet {cold} ms, {len(found.turns)} turns",
        file=sys.stderr,
        flush=True,
    )
