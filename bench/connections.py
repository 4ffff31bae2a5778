"""``python -m bench connections``: what connecting and hanging up leaves behind in the server.

Each cycle is a whole call: offer (or WebSocket), media, hang up without a goodbye. Both servers are looked at from outside
(threads, file descriptors, memory, processes) and say how many tasks their loops hold; Parley also counts its calls
(``/status``). Before the first look a few calls have warmed the process, and before the last it has rested.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from bench.servers import Facts, ServerProcess
from bench.stats import percentile, ratio
from web.talk.client import Server, TalkClient
from web.talk.rtc_client import RTCClient
from web.talk.ws_client import WSClient

CYCLES = 500
QUICK_CYCLES = 50
WARM_UP = 20
AT_ONCE = 2
IN_CALL_S = 0.2
REST_LIMIT_S = 60.0
"""A detached session waits 30 s for its client; after twice that nothing may be left."""
MAX_THREADS_MORE = 2
MAX_FDS_MORE = 4
MAX_MEMORY_MB_MORE = 25.0
"""Some hundred sessions wait for their clients at once, so the heap's high-water mark rises by as much; it stays there. Two
leaked calls (10 MB and more each) are over it."""
COUNTED = ("tasks", "active_calls", "detached_calls")


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """The whole benchmark.

    Raises:
        ServerFailed, TalkError: a server did not start, or a call failed.
    """
    cycles = QUICK_CYCLES if quick else CYCLES
    doors: dict[str, list[Callable[[str], TalkClient]]] = {"parley": [_rtc, _ws], "peer": [_rtc]}
    found = {subject: await _subject(subject, server_cores, clients, cycles) for subject, clients in doors.items()}
    ours, peer = found["parley"], found["peer"]
    return {
        "figures": ours,
        "peer": peer,
        "ratios": {name: ratio(ours[name], peer[name]) for name in ("connect_p50_ms", "connect_p90_ms", "memory_kb_per_call")},
        "checks": check(ours),
        "input": {"cycles": cycles, "warm_up": WARM_UP, "at_once": AT_ONCE},
    }


def check(figures: dict[str, Any]) -> dict[str, Any]:
    """Each requirement: its value, its limit, and whether it holds."""
    limits = {
        "threads_more": MAX_THREADS_MORE,
        "fds_more": MAX_FDS_MORE,
        "memory_mb_more": MAX_MEMORY_MB_MORE,
        "processes_more": 0,
        "failed": 0,
        **{f"{name}_more": 0 for name in COUNTED if f"{name}_more" in figures},
    }
    return {
        name: {"value": figures[name], "limit": limit, "ok": figures[name] is not None and figures[name] <= limit}
        for name, limit in limits.items()
    }


async def _subject(subject: str, cores: list[int], clients: list[Callable[[str], TalkClient]], cycles: int) -> dict[str, Any]:
    async with ServerProcess(subject, cores) as server:
        await _cycles(server, clients, WARM_UP)
        await rest(server)
        before, counted_before = server.facts(), await _status(server)
        begun = time.monotonic()
        times, failed = await _cycles(server, clients, cycles)
        seconds = time.monotonic() - begun
        await rest(server)
        after, counted_after = server.facts(), await _status(server)
    print(
        f"{subject:>6}: {cycles} cycles in {seconds:.0f} s, {failed} failed; {before} -> {after}", file=sys.stderr, flush=True
    )
    figures: dict[str, Any] = {
        "cycles": cycles,
        "failed": failed,
        "connect_p50_ms": percentile(times, 50),
        "connect_p90_ms": percentile(times, 90),
        **{f"{name}_more": getattr(after, name) - getattr(before, name) for name in ("threads", "fds", "processes")},
        "memory_before_mb": before.memory_mb,
        "memory_after_mb": after.memory_mb,
        "memory_mb_more": round(after.memory_mb - before.memory_mb, 1),
        "memory_kb_per_call": round(max(0.0, after.memory_mb - before.memory_mb) * 1000 / cycles, 2),
        "cpu_s_per_call": round((after.cpu_s - before.cpu_s) / cycles, 4),
    }
    for name in COUNTED:
        if name in counted_before and name in counted_after:
            figures[f"{name}_more"] = counted_after[name] - counted_before[name]
    return figures


async def _cycles(server: ServerProcess, clients: list[Callable[[str], TalkClient]], count: int) -> tuple[list[float], int]:
    """``count`` calls, ``AT_ONCE`` at a time, over each door in turn: ms to connect, and how many failed."""
    times: list[float] = []
    failed = 0
    numbers = iter(range(count))

    async def caller() -> None:
        nonlocal failed
        for number in numbers:
            client = clients[number % len(clients)](server.url)
            begun = time.monotonic()
            try:
                await client.connect()
                times.append((time.monotonic() - begun) * 1000)
                await asyncio.sleep(IN_CALL_S)
            except Exception as e:
                failed += 1
                print(f"cycle {number}: {e!r}", file=sys.stderr, flush=True)
            finally:
                await client.close()

    work: list[Awaitable[None]] = [caller() for _ in range(AT_ONCE)]
    await asyncio.gather(*work)
    server.check()
    return times, failed


async def cycle_calls(server: ServerProcess, count: int) -> int:
    """``count`` calls over WebRTC, made and hung up; how many failed."""
    _, failed = await _cycles(server, [_rtc], count)
    return failed


async def rest(server: ServerProcess) -> None:
    """Until threads and descriptors have not changed for 5 s and no session is left, or ``REST_LIMIT_S`` has passed."""
    deadline = time.monotonic() + REST_LIMIT_S
    steady_since, last = time.monotonic(), _counts(server.facts())
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        now = _counts(server.facts())
        status = await _status(server)
        busy = status.get("active_calls", 0) + status.get("detached_calls", 0)
        if now != last or busy:
            steady_since, last = time.monotonic(), now
        elif time.monotonic() - steady_since >= 5.0:
            return


def _counts(facts: Facts) -> tuple[int, int]:
    return facts.threads, facts.fds


async def _status(server: ServerProcess) -> dict[str, int]:
    """What of ``COUNTED`` the server tells of itself."""
    told: dict[str, Any] = {}
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for path in ("/bench/probe", "/status"):
            response = await http.get(f"{server.url}{path}")
            if response.status_code == 200:
                told |= response.json()
    return {name: told[name] for name in COUNTED if name in told}


def _rtc(url: str) -> TalkClient:
    return RTCClient(Server(url), messages="rtvi", request_data={})


def _ws(url: str) -> TalkClient:
    return WSClient(Server(url))
