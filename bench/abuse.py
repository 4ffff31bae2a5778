"""``python -m bench abuse``: what clients that mean no good do to other people's calls.

Calls that mean well (``bench.abuse_caller``) are measured in a process of their own, while a crowd (``bench.abuse_attacker``)
in another one opens and drops connections at one door after the other, and floods it with garbage, giants and endless audio.
What counts is the gap between one packet of the tutor's voice and the next, beside the same calls with nobody else there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from bench.abuse_attacker import FLOODS
from bench.connections import rest
from bench.servers import ServerProcess
from bench.stats import percentile, ratio

DOORS = (
    *("ws", "webrtc", "realtime", "realtime_calls", "rtvi", "start"),
    *("twilio", "telnyx", "plivo", "vonage", "exotel", "audiosocket"),
)
CONNECTIONS, QUICK_CONNECTIONS = 1_000, 300
CALLS = 3
WINDOW_S, QUICK_WINDOW_S = 8.0, 3.0
DROPS_WITHIN_S, QUICK_DROPS_WITHIN_S = 30.0, 5.0
CONTROL_S, QUICK_CONTROL_S = 4.0, 1.5
"""How long nobody else is there before each crowd: what other programs do to the machine in the course of a run is in both."""
BETWEEN_S = 2.5
"""After each crowd: what it left behind has ended, and the next one finds places."""
WARM_UP_S = 8.0
MAX_RATIO = 1.5
MAX_MEMORY_MB_MORE = 100.0
"""Giants leave a heap with holes. What a call leaked would be 10 MB and more, and there were thousands."""
MAX_CALLER_LATE_MS = 10.0
ANSWER_WITHIN_S = 120.0


@dataclass(slots=True)
class Gaps:
    """Windows of the good calls, taken together. Pure."""

    gaps_ms: list[float] = field(default_factory=list)
    answers_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    lost: int = 0
    silent: int = 0
    """Windows in which a call heard nothing."""

    def add(self, window: dict[str, Any]) -> None:
        """One more window, as ``bench.abuse_caller`` gives it."""
        if window["late_p99_ms"] is not None:
            self.late_ms.append(window["late_p99_ms"])
        for call in window["calls"]:
            self.gaps_ms += call["gaps_ms"]
            self.answers_ms += call["answers_ms"]
            self.lost += call["lost"] is not None
            self.silent += not call["gaps_ms"]

    def figures(self) -> dict[str, Any]:
        """Percentiles in ms; of the measuring process's own lateness the worst window's 99th."""
        return {
            **{f"gap_p{q}_ms": percentile(self.gaps_ms, q) for q in (50, 95, 99)},
            "gap_max_ms": percentile(self.gaps_ms, 100),
            "answer_p95_ms": percentile(self.answers_ms, 95),
            "caller_late_p99_ms": percentile(self.late_ms, 100),
            "packets": len(self.gaps_ms),
            "lost": self.lost,
            "silent": self.silent,
        }


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """The whole benchmark.

    Raises:
        ServerFailed, RuntimeError: a server did not start, or a call that means well was lost.
    """
    parley, rows = await _subject("parley", DOORS, quick, server_cores)
    peer, peer_rows = await _subject("peer", ("peer",), quick, server_cores)
    return {
        "figures": parley,
        "peer": peer,
        "ratios": {name: ratio(parley[name], peer[name]) for name in ("worst_ratio", "gap_p99_ms")},
        "checks": check(parley),
        "input": {
            "calls": CALLS,
            "connections": QUICK_CONNECTIONS if quick else CONNECTIONS,
            "window_s": QUICK_WINDOW_S if quick else WINDOW_S,
            "doors": list(DOORS),
        },
        "rows": {"parley": rows, "peer": peer_rows},
    }


def check(figures: dict[str, Any]) -> dict[str, Any]:
    """Each requirement: its value, its limit, and whether it holds. What was not measured does not hold."""
    limits = {
        "worst_ratio": MAX_RATIO,
        "memory_mb_more": MAX_MEMORY_MB_MORE,
        "tasks_more": 0,
        "calls_left": 0,
        "lost": 0,
        "silent": 0,
        "caller_late_p99_ms": MAX_CALLER_LATE_MS,
    }
    return {
        name: {"value": figures.get(name), "limit": limit, "ok": figures.get(name) is not None and figures[name] <= limit}
        for name, limit in limits.items()
    }


def summarise(control: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the rows of one server come to. ``worst_ratio`` is the highest p99 of a row over the control's."""
    ratios = {f"{row['door']} {row['kind']}": ratio(row["gap_p99_ms"], control["gap_p99_ms"]) for row in rows}
    known = {name: value for name, value in ratios.items() if value is not None}
    worst = max(known, key=lambda name: known[name]) if known else None
    return {
        "control": control,
        "gap_p99_ms": max((row["gap_p99_ms"] or 0.0 for row in rows), default=None),
        "gap_max_ms": max((row["gap_max_ms"] or 0.0 for row in rows), default=None),
        "worst_ratio": known[worst] if worst is not None else None,
        "worst": worst,
        "over_limit": sorted(name for name, value in known.items() if value > MAX_RATIO),
        "lost": max((row["lost"] for row in rows), default=0),
        "silent": sum(row["silent"] for row in rows),
        "caller_late_p99_ms": max((row["caller_late_p99_ms"] or 0.0 for row in rows), default=None),
    }


async def _subject(
    subject: str, doors: Sequence[str], quick: bool, cores: list[int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    own = sorted(os.sched_getaffinity(0))
    # The attackers share nothing with those who measure, where there are cores enough.
    caller_core, attacker_core = own[0], own[-1]
    seconds, drops_s = (QUICK_WINDOW_S, QUICK_DROPS_WITHIN_S) if quick else (WINDOW_S, DROPS_WITHIN_S)
    connections = QUICK_CONNECTIONS if quick else CONNECTIONS
    plan = [(door, kind, one) for door in doors for kind, one in _kinds(quick)]
    async with ServerProcess("abuse" if subject == "parley" else "abuse_peer", cores) as server:
        port = await _audiosocket(server) if subject == "parley" else None
        async with GoodCalls(server.url, subject, caller_core):
            await _warm_up(server, doors, port, attacker_core)
        before, tasks_before = await _left(server)
        control, rows = Gaps(), []
        async with GoodCalls(server.url, subject, caller_core) as calls:
            await asyncio.sleep(WARM_UP_S)
            await calls.window()
            for index, (door, kind, one) in enumerate(plan):
                await asyncio.sleep(QUICK_CONTROL_S if quick else CONTROL_S)
                control.add(await calls.window())
                attack = Attack(server.url, port, door, kind, attacker_core, network=10 + index, one_address=one)
                row = await attack.measured(calls, drops_s if kind == "drops" else seconds, connections)
                rows.append(row)
                _say(f"{subject:>6}: {row}")
                server.check()
                await asyncio.sleep(BETWEEN_S)
                await calls.window()
        after, tasks_after = await _left(server)
        left = await _calls(server)
    figures = summarise(control.figures(), rows) | {
        "memory_before_mb": before,
        "memory_after_mb": after,
        "memory_mb_more": round(after - before, 1),
        "tasks_more": tasks_after - tasks_before,
        "calls_left": left,
    }
    _say(f"{subject:>6}: {figures}")
    return figures, rows


def _kinds(quick: bool) -> list[tuple[str, bool]]:
    """Kinds of attack, each with whether all of it comes from one address."""
    if quick:
        return [("drops", False), ("floods", False)]
    return [("drops", False), ("drops", True), *((kind, False) for kind in FLOODS)]


async def _warm_up(server: ServerProcess, doors: Sequence[str], port: int | None, core: int) -> None:
    """A little of everything, so that what a first client brings into memory is not counted as left behind."""
    for index, door in enumerate(doors):
        for kind in ("drops", "garbage"):
            attack = Attack(server.url, port, door, kind, core, network=200 + index % 40, one_address=False)
            await attack.done(1.0, 20)
    await asyncio.sleep(BETWEEN_S)


async def _audiosocket(server: ServerProcess) -> int:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        return int((await http.get(f"{server.url}/bench/audiosocket")).json()["port"])


async def _left(server: ServerProcess) -> tuple[float, int]:
    """Resident megabytes of the server and its children, and tasks of its loop, once it has come to rest."""
    await rest(server)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        await http.post(f"{server.url}/bench/trim")
        tasks = int((await http.get(f"{server.url}/bench/probe")).json()["tasks"])
    return server.facts().memory_mb, tasks


async def _calls(server: ServerProcess) -> int:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        response = await http.get(f"{server.url}/status")
    if response.status_code != 200:
        return 0
    status = response.json()
    return int(status["active_calls"]) + int(status["detached_calls"])


class GoodCalls:
    """``async with GoodCalls(url, subject, core) as calls``: they talk until the end; ``window`` says how it went."""

    def __init__(self, url: str, subject: str, core: int) -> None:
        arguments = ("--url", url, "--subject", subject, "--calls", str(CALLS), "--cpu", str(core))
        self._command = [sys.executable, "-m", "bench.abuse_caller", *arguments]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> GoodCalls:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
            env={**os.environ, "LOGURU_LEVEL": "ERROR"},
        )
        await self._read()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def window(self) -> dict[str, Any]:
        """What was measured since the last one."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b'{"do": "window"}\n')
        return await self._read()

    async def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_WITHIN_S)
        if not line:
            raise RuntimeError("the process of the good calls ended")
        return dict(json.loads(line))


class Attack:
    """One crowd at one door."""

    def __init__(self, url: str, port: int | None, door: str, kind: str, core: int, *, network: int, one_address: bool) -> None:
        self._door, self._kind, self._one = door, kind, one_address
        arguments = ["--url", url, "--door", door, "--kind", kind, "--cpu", str(core), "--network", str(network)]
        arguments += ["--audiosocket", str(port)] if port is not None else []
        arguments += ["--one-address"] if one_address else []
        self._command = [sys.executable, "-m", "bench.abuse_attacker", *arguments]

    async def done(self, seconds: float, connections: int) -> dict[str, Any]:
        """Attack; what was done."""
        return await self._run(seconds, connections, None)

    async def measured(self, calls: GoodCalls, seconds: float, connections: int) -> dict[str, Any]:
        """Attack, and what the good calls had of it."""
        told = await self._run(seconds, connections, calls)
        gaps = Gaps()
        gaps.add(await calls.window())
        kind = f"{self._kind}, one address" if self._one else self._kind
        return {"door": self._door, "kind": kind, **gaps.figures(), "attack": told}

    async def _run(self, seconds: float, connections: int, calls: GoodCalls | None) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *("--seconds", str(seconds), "--connections", str(connections)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "LOGURU_LEVEL": "ERROR"},
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(seconds + ANSWER_WITHIN_S):
                await process.stdout.readline()  # it is ready
                if calls is not None:
                    await calls.window()
                told = await process.stdout.readline()
                await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if not told:
            raise RuntimeError(f"the crowd at {self._door} ended with {process.returncode}")
        return dict(json.loads(told))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
