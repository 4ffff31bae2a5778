"""``python -m bench load``: what a call costs and how many of them one core holds, beside stock pipecat.

Both servers run the same fakes; callers speak 40 % of the time, the tutor 40 %, and 20 % nobody does. The server has one core,
the callers have the others, a process on each, and say how late they themselves were: a result in which they were too busy to
judge fails a check. ``embedded`` is Parley with the engines inside the Python packages (no peer has those).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from bench.connections import WARM_UP, cycle_calls, rest
from bench.load_callers import Callers, Report
from bench.load_speech import CYCLE_S
from bench.servers import ServerProcess
from bench.stats import percentile, ratio

ROUNDS = 3
CALLS = 4
CALLS_MORE = 4
"""How many further calls are made for the memory of one."""
IDLE_S = 5.0
SETTLE_S = 5.0
CYCLES = 500
QUICK_CYCLES = 60
MAX_GAP_P99_MS = 40.0
MAX_V2V_FACTOR = 1.5
MAX_CALLER_LATE_MS = 10.0
"""Callers whose packets leave later than this (99th percentile) are too busy to judge a server."""
FIRST_SHARE = 0.7
"""The first number of calls tried: this share of what the cost of one promises."""
MAX_CALLS = 60
GOALS = {"cpu_per_call": 0.6, "calls_held": 2.0}
MAX_MB_PER_CALL = 12.0
MAX_RSS_RATIO = 1.05


@dataclass(slots=True)
class Cost:
    """What the calls of some rounds cost one server."""

    cpu_pct: list[float] = field(default_factory=list)
    """Of a core for one call, children included, less what the idle server takes."""
    idle_pct: list[float] = field(default_factory=list)
    mb_per_call: list[float] = field(default_factory=list)
    v2v_ms: list[float] = field(default_factory=list)
    gap_p99_ms: list[float] = field(default_factory=list)
    late_p99_ms: list[float] = field(default_factory=list)
    stuck: int = 0
    speech_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """How a number of calls went."""

    calls: int
    gap_p99_ms: float
    """Of the worst call."""
    v2v_p90_ms: float | None
    late_p99_ms: float
    """Of the callers' own packets, in the worst call."""
    stuck: int
    cpu_pct: float

    def held(self, one_call_v2v_p90_ms: float) -> bool:
        """Whether every call was good: packets without holes, answers hardly later than those of calls with room."""
        return (
            self.stuck == 0
            and self.gap_p99_ms <= MAX_GAP_P99_MS
            and self.v2v_p90_ms is not None
            and self.v2v_p90_ms <= MAX_V2V_FACTOR * one_call_v2v_p90_ms
        )


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """The whole benchmark.

    Raises:
        ServerFailed, RuntimeError: a server did not start, or a call failed.
    """
    server_core, caller_cores = _share(server_cores, sorted(os.sched_getaffinity(0)))
    cost = {subject: Cost() for subject in ("parley", "peer", "embedded")}
    for index in range(1 if quick else ROUNDS):
        for subject, found in cost.items():
            await _cost(found, subject, server_core, caller_cores, quick)
            _say(f"round {index + 1} {subject:>8}: {found.cpu_pct[-1]} % of a core, {found.mb_per_call[-1]} MB for a call")
    steps = {
        subject: await _held(subject, server_core, caller_cores, cost[subject], windows_s=CYCLE_S if quick else 2 * CYCLE_S)
        for subject in (("parley", "peer") if quick else ("parley", "peer", "embedded"))
    }
    figures = {subject: _figures(found, steps.get(subject, [])) for subject, found in cost.items()}
    ours, peer, embedded = (figures[subject] for subject in ("parley", "peer", "embedded"))
    cycles = QUICK_CYCLES if quick else CYCLES
    # It measures what stays behind, not time, so it is given more than one core.
    ours |= await _cycles("parley", [*server_core, *caller_cores][:2], cycles)
    if not quick:
        embedded |= await _cycles("embedded", [*server_core, *caller_cores][:2], cycles)
    ratios = {
        "cpu_per_call": ratio(ours["cpu_per_call_pct"], peer["cpu_per_call_pct"]),
        "calls_held": ratio(ours["calls_held"], peer["calls_held"]),
        "mb_per_call": ratio(ours["mb_per_call"], peer["mb_per_call"]),
    }
    return {
        "figures": ours | {"embedded": embedded},
        "peer": peer,
        "ratios": ratios,
        "checks": check(ours, ratios),
        "input": {
            "calls": CALLS,
            "rounds": 1 if quick else ROUNDS,
            "cycle_s": CYCLE_S,
            "learner_share": round(cost["parley"].speech_share, 3),
            "call_cycles": cycles,
            "server_cores": len(server_core),
            "caller_cores": len(caller_cores),
        },
        "steps": {subject: [_row(step) for step in taken] for subject, taken in steps.items()},
    }


def check(ours: dict[str, Any], ratios: dict[str, float | None]) -> dict[str, Any]:
    """Each requirement: its value, its limit, and whether it holds. What was not measured does not hold."""
    cpu, held = ratios["cpu_per_call"], ratios["calls_held"]
    memory, left = ours["mb_per_call"], ours["rss_after_cycles_ratio"]
    late = ours["caller_late_p99_ms"]
    on_time = late is not None and late <= MAX_CALLER_LATE_MS
    return {
        "cpu_per_call ratio": {
            "value": cpu,
            "limit": GOALS["cpu_per_call"],
            "ok": cpu is not None and cpu <= GOALS["cpu_per_call"],
        },
        "calls_held ratio": {
            "value": held,
            "limit": f"at least {GOALS['calls_held']:g}",
            "ok": held is not None and held >= GOALS["calls_held"],
        },
        "mb_per_call": {"value": memory, "limit": MAX_MB_PER_CALL, "ok": memory is not None and memory <= MAX_MB_PER_CALL},
        "rss_after_cycles_ratio": {"value": left, "limit": MAX_RSS_RATIO, "ok": left is not None and left <= MAX_RSS_RATIO},
        "caller_late_p99_ms": {
            "value": late,
            "limit": MAX_CALLER_LATE_MS,
            "ok": on_time,
        },
    }


def calls_held(steps: Sequence[Step], one_call_v2v_p90_ms: float | None) -> int | None:
    """The largest number of calls below the first that was not held; ``None`` where the first one tried was not."""
    held = None
    if one_call_v2v_p90_ms is None:
        return None
    bad = {step.calls for step in steps} - {step.calls for step in steps if step.held(one_call_v2v_p90_ms)}
    for step in sorted(steps, key=lambda step: step.calls):
        if step.calls in bad:
            return held
        held = step.calls
    return held


def _share(server_cores: list[int], own: list[int]) -> tuple[list[int], list[int]]:
    """One core for the server, all the others for the callers; a single core is shared."""
    every = sorted({*server_cores, *own})
    return every[:1], every[1:] or every


def _figures(cost: Cost, steps: list[Step]) -> dict[str, Any]:
    v2v_p90 = percentile(cost.v2v_ms, 90)
    near_limit = [step.late_p99_ms for step in steps]
    return {
        "cpu_per_call_pct": _median(cost.cpu_pct),
        "calls_held": calls_held(steps, v2v_p90),
        "mb_per_call": _median(cost.mb_per_call),
        "cpu_idle_pct": _median(cost.idle_pct),
        "v2v_p50_ms": percentile(cost.v2v_ms, 50),
        "v2v_p90_ms": v2v_p90,
        "gap_p99_ms": max(cost.gap_p99_ms, default=None),
        "stuck": cost.stuck,
        "caller_late_p99_ms": max([*cost.late_p99_ms, *near_limit], default=None),
    }


def _median(values: list[float]) -> float | None:
    return round(sorted(values)[len(values) // 2], 2) if values else None


async def _cost(cost: Cost, subject: str, cores: list[int], caller_cores: list[int], quick: bool) -> None:
    settle_s = SETTLE_S if quick else CYCLE_S
    async with ServerProcess(subject, cores) as server, Callers(server.url, caller_cores) as callers:
        cost.speech_share = callers.speech_share
        await callers.add(1, of=CALLS)
        await asyncio.sleep(SETTLE_S)  # the first call makes what all share
        await callers.drop()
        await asyncio.sleep(SETTLE_S)
        idle = await _cpu_pct(server, IDLE_S)
        await callers.add(CALLS, of=CALLS)
        await asyncio.sleep(settle_s)
        await callers.reset()
        busy = await _cpu_pct(server, CYCLE_S if quick else 2 * CYCLE_S)
        report = await callers.report()
        before_mb = server.facts().memory_mb
        await callers.add(CALLS_MORE, of=CALLS_MORE, offset=0.5)
        await asyncio.sleep(settle_s)
        after_mb = server.facts().memory_mb
        server.check()
    cost.cpu_pct.append(round((busy - idle) / CALLS, 2))
    cost.idle_pct.append(round(idle, 2))
    cost.mb_per_call.append(round((after_mb - before_mb) / CALLS_MORE, 2))
    cost.v2v_ms += report.v2v_ms
    cost.gap_p99_ms.append(report.gap_p99_ms)
    cost.late_p99_ms.append(report.late_p99_ms)
    cost.stuck += report.stuck


async def _held(subject: str, cores: list[int], caller_cores: list[int], cost: Cost, *, windows_s: float) -> list[Step]:
    """Steps of one call more, from well below the limit to the first number that was not held, twice."""
    one_call = percentile(cost.v2v_ms, 90)
    cpu = _median(cost.cpu_pct)
    if one_call is None or not cpu:
        return []
    first = max(1, min(MAX_CALLS, int(FIRST_SHARE * 100 / cpu)))
    while True:
        steps = await _steps_from(first, subject, cores, caller_cores, one_call, windows_s)
        if first == 1 or steps[0].held(one_call) or (len(steps) > 1 and steps[1].held(one_call)):
            return steps
        first = max(1, first // 2)


async def _steps_from(
    first: int, subject: str, cores: list[int], caller_cores: list[int], one_call_v2v_p90_ms: float, windows_s: float
) -> list[Step]:
    steps: list[Step] = []
    async with ServerProcess(subject, cores) as server, Callers(server.url, caller_cores) as callers:
        await callers.add(first, of=first)
        await asyncio.sleep(SETTLE_S)
        failed = 0
        for calls in range(first, MAX_CALLS + 1):
            if calls > first:
                await callers.add(1, of=1, offset=0.618 * calls)
                await asyncio.sleep(SETTLE_S)
            for _ in range(2):  # another process may have taken the core for a moment
                await callers.reset()
                cpu = await _cpu_pct(server, windows_s)
                step = _step(calls, await callers.report(), cpu)
                steps.append(step)
                _say(f"{subject:>8}: {_row(step)}")
                if step.held(one_call_v2v_p90_ms):
                    break
                failed += 1
            if not steps[-1].held(one_call_v2v_p90_ms):
                break
    return [step for step in steps if step.held(one_call_v2v_p90_ms) or not _held_later(steps, step, one_call_v2v_p90_ms)]


def _held_later(steps: list[Step], step: Step, one_call_v2v_p90_ms: float) -> bool:
    return any(other.calls == step.calls and other.held(one_call_v2v_p90_ms) for other in steps)


def _step(calls: int, report: Report, cpu_pct: float) -> Step:
    return Step(calls, report.gap_p99_ms, percentile(report.v2v_ms, 90), report.late_p99_ms, report.stuck, round(cpu_pct, 1))


def _row(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in ("calls", "gap_p99_ms", "v2v_p90_ms", "late_p99_ms", "stuck", "cpu_pct")}


async def _cpu_pct(server: ServerProcess, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    before, begun = server.facts().cpu_s, loop.time()
    await asyncio.sleep(seconds)
    return 100 * (server.facts().cpu_s - before) / (loop.time() - begun)


async def _cycles(subject: str, cores: list[int], count: int) -> dict[str, Any]:
    """Resident memory after ``count`` calls made and hung up, over that before, unused heap given back both times."""
    async with ServerProcess(subject, cores) as server:
        resident = []
        failed = 0
        for some in (WARM_UP, count):
            failed += await cycle_calls(server, some)
            await rest(server)
            resident.append(await _resident_mb(server))
    _say(f"{subject:>8}: {count} call cycles, {failed} failed: {resident[0]:.1f} -> {resident[1]:.1f} MB")
    return {
        "rss_before_cycles_mb": round(resident[0], 1),
        "rss_after_cycles_mb": round(resident[1], 1),
        "rss_after_cycles_ratio": round(resident[1] / resident[0], 4),
        "cycles_failed": failed,
    }


async def _resident_mb(server: ServerProcess) -> float:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        (await http.post(f"{server.url}/bench/trim")).raise_for_status()
    root = psutil.Process(server.pid)
    return float(sum(process.memory_info().rss for process in [root, *root.children(recursive=True)]) / 1e6)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
