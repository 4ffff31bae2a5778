"""``python -m bench engine [--device cpu|cuda]``: how many sessions the speech engines hold, beside moshi's own loop.

Both sides are servers in the engines' own environment, with the same checkpoint (random weights, ``bench/engine_models.py``),
the same doors and the same clients, which are processes of their own and speak in real time. Contexts are full before
anything is measured. See ``bench/engine_load.py`` for what held means.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.engine_load import (
    MOST_CLIENT_LATE_MS,
    ROOT,
    Clients,
    EngineServer,
    Kind,
    Level,
    Side,
    highest_held,
    hopeless,
    spread,
)
from bench.stats import percentile, ratio

TRIES = 2
"""Another process may have taken a core for a moment."""
OPS_LIMIT = 40
GPU_GOALS = {"stt_sessions": 600, "tts_streams": 256}
_MOST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a device is measured. ``fill_s``: in which every context is full. ``levels``: sessions to be tried, ascending."""

    shape: str
    dtype: str
    fill_s: float
    window_s: float
    ttfa_times: int
    stt_levels: tuple[int, ...]
    tts_levels: tuple[int, ...]
    front_ends: int


PLANS = {
    ("cpu", True): Plan("deep", "float32", 5.2, 4.0, 5, (1, 8, 32, 64, 96, 128), (1, 8, 24, 48), 1),
    ("cpu", False): Plan("deep", "float32", 5.2, 8.0, 15, (1, 8, 16, 32, 48, 64, 96), (1, 8, 16, 32, 48, 64), 1),
    ("cuda", True): Plan("full", "bfloat16", 60.0, 10.0, 10, (1, 100, 400, 600), (1, 32, 128, 256), 6),
    ("cuda", False): Plan(
        "full", "bfloat16", 60.0, 20.0, 30, (1, 32, 100, 200, 300, 400, 500, 600, 640), (1, 32, 64, 128, 192, 256, 320), 6
    ),
}


async def run(quick: bool, server_cores: list[int], device: str = "cpu") -> dict[str, Any]:
    """The whole benchmark.

    :raises RuntimeError: where the engines' environment is missing, or a server does not start
    """
    python = interpreter(device)
    plan = PLANS[device, quick]
    client_cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name) / "models"
        folder.mkdir()
        _say(f"random weights of the shape {plan.shape}")
        await _python(python, "bench.engine_models", plan.shape, str(folder))
        # A captured step cannot be counted: operations are those of the deep shape, which has as many, on a CPU.
        deep = folder
        if plan.shape != "deep":
            deep = Path(name) / "deep"
            await _python(python, "bench.engine_models", "deep", str(deep))
        counted = json.loads(await _python(python, "bench.engine_ops", str(deep), "--what", "operations"))
        memory = json.loads(await _python(python, "bench.engine_ops", str(folder), "--what", "memory", "--device", device))
        measured: dict[Side, dict[Kind, list[Level]]] = {}
        alone: dict[Side, list[float]] = {}
        facts: dict[str, Any] = {}
        for side in ("ours", "moshi"):
            trial = _Trial(python, side, device, plan, folder, server_cores, client_cores)
            measured[side] = {"stt": await trial.levels("stt"), "tts": await trial.levels("tts")}
            alone[side] = trial.alone_ms
            facts = trial.facts
    tables = {side: {kind: _best(levels, kind) for kind, levels in kinds.items()} for side, kinds in measured.items()}
    figures = {
        side: figures_of(tables[side], _common(tables, "stt"), alone[side], counted[side], memory[side])
        for side in ("ours", "moshi")
    }
    ours, peer = ({"device": facts["device"], **figures[side]} for side in ("ours", "moshi"))
    late = max(level.late_p99_ms for kinds in tables.values() for levels in kinds.values() for level in levels)
    return {
        "figures": ours,
        "peer": peer,
        "ratios": {key: ratio(ours[key], peer[key]) for key in ours if isinstance(ours[key], int | float)},
        "checks": check(ours, peer, late, device),
        "input": {
            "shape": f"{plan.shape}, {plan.dtype}, random weights on disk",
            "fill_s": plan.fill_s,
            "window_s": plan.window_s,
            "flush_at_sessions": _common(tables, "stt"),
            "client_late_p99_ms": late,
            "server_cores": len(server_cores),
            "client_cores": len(client_cores),
            **{name: facts[name] for name in ("torch", "moshi")},
        },
        "operations": counted,
        "state_bytes_per_slot": memory,
        "levels": {
            side: {kind: [one.row() for one in levels] for kind, levels in kinds.items()} for side, kinds in tables.items()
        },
    }


def interpreter(device: str) -> Path:
    """The Python of the engines' environment for this device.

    :raises RuntimeError: where it is not there; the text says what makes it
    """
    name, target = (".venv-engines-test", "make test") if device == "cpu" else (".venv-engines", "make engines")
    python = ROOT / name / "bin" / "python"
    if not python.is_file():
        raise RuntimeError(f"{name} is not there; `{target}` makes it")
    return python


def figures_of(
    tables: dict[Kind, list[Level]], common: int, alone_ms: Sequence[float], counted: dict[str, Any], memory: dict[str, Any]
) -> dict[str, Any]:
    """The key figures of one side. ``common``: at how many sessions the flush is told, the same for both sides."""
    stt_sessions, tts_streams = highest_held(tables["stt"], Level.held_stt), highest_held(tables["tts"], Level.held_tts)
    # Where not even the smallest number was held, it is that whose steps are told.
    steps = next(level for level in tables["stt"] if level.sessions == max(stt_sessions, tables["stt"][0].sessions))
    flushes = next((level.flush_ms for level in tables["stt"] if level.sessions == common), [])
    return {
        "stt_sessions": stt_sessions,
        "stt_step_p99_ms": percentile(steps.step_ms, 99),
        "stt_flush_p95_ms": percentile(flushes, 95),
        "stt_flush_n": len(flushes),
        "tts_streams": tts_streams,
        "tts_ttfa_p95_ms": percentile(alone_ms, 95),
        "tts_ttfa_ms": {"alone": spread(alone_ms)} | {str(one.sessions): spread(one.ttfa_ms) for one in tables["tts"]},
        "ops_per_stt_step": counted["stt_step"]["launches"],
        "ops_per_tts_step": counted["tts_step"]["launches"],
        "ops_per_admission": max(counted[f"{kind}_admission"]["operations"] for kind in ("stt", "tts")),
        "mb_per_slot": round(memory["stt"] / 1e6, 3),
        "tts_mb_per_slot": round(memory["tts"] / 1e6, 3),
    }


def check(ours: dict[str, Any], peer: dict[str, Any], late_ms: float, device: str) -> dict[str, Any]:
    """What must hold. The goals of a GPU are its own."""
    checks = {
        name: {"value": ours[name], "limit": f"at least the peer's {peer[name]}", "ok": ours[name] >= peer[name]}
        for name in ("stt_sessions", "tts_streams")
    }
    if device == "cuda":
        for name, goal in GPU_GOALS.items():
            checks[f"{name} goal"] = {"value": ours[name], "limit": f"at least {goal}", "ok": ours[name] >= goal}
    admission = ours["ops_per_admission"]
    checks["ops_per_admission"] = {"value": admission, "limit": OPS_LIMIT, "ok": admission <= OPS_LIMIT}
    checks["client_late_p99_ms"] = {"value": late_ms, "limit": MOST_CLIENT_LATE_MS, "ok": late_ms <= MOST_CLIENT_LATE_MS}
    return checks


class _Trial:
    """One side on one device. ``alone_ms``: times to first audio of streams beside which there is nobody."""

    def __init__(
        self,
        python: Path,
        side: Side,
        device: str,
        plan: Plan,
        folder: Path,
        server_cores: Sequence[int],
        client_cores: Sequence[int],
    ) -> None:
        self._python = python
        self._side: Side = side
        self._plan = plan
        self._folder = folder
        self._device = device
        self._server_cores = server_cores
        self._client_cores = client_cores
        self.alone_ms: list[float] = []
        self.facts: dict[str, Any] = {}

    async def levels(self, kind: Kind) -> list[Level]:
        """From the smallest number of sessions to the second in a row that was not held."""
        counts = self._plan.stt_levels if kind == "stt" else self._plan.tts_levels
        # moshi's loop computes the whole batch whoever is there, so each number gets a server of its size.
        rounds = [counts] if self._side == "ours" else [(count,) for count in counts]
        found: list[Level] = []
        for some in rounds:
            found += await self._levels(kind, some)
            if hopeless(found, self._held(kind)):
                break
        return found

    def _held(self, kind: Kind) -> Callable[[Level], bool]:
        return Level.held_stt if kind == "stt" else Level.held_tts

    async def _levels(self, kind: Kind, counts: Sequence[int]) -> list[Level]:
        plan = self._plan
        # One slot is for whoever comes and goes beside the others.
        settings = {
            "model": str(self._folder / kind),
            "slots": max(counts) + (kind == "tts"),
            "device": self._device,
            "dtype": plan.dtype,
            "front_ends": plan.front_ends,
        }
        found: list[Level] = []
        async with (
            EngineServer(self._python, self._side, kind, settings, self._server_cores) as server,
            Clients(server, self._side, kind, self._client_cores) as clients,
        ):
            self.facts = server.facts
            if kind == "tts" and not self.alone_ms:
                self.alone_ms = await clients.ttfa(plan.ttfa_times)
            for count in counts:
                try:
                    await clients.add(count - clients.sessions)
                except RuntimeError as e:
                    found.append(Level(count, errors=(str(e),)))
                    _say(f"{self._side:>5} {kind} {count}: {e}")
                    break
                await asyncio.sleep(plan.fill_s)
                for _ in range(TRIES):
                    level = await clients.measure(plan.window_s)
                    held = self._held(kind)(level)
                    if kind == "tts" and held:
                        level = replace(level, ttfa_ms=await clients.ttfa(plan.ttfa_times))
                    found.append(level)
                    _say(f"{self._side:>5} {kind} {'held' if held else 'not held'}: {json.dumps(level.row())}")
                    if held:
                        break
                if hopeless(found, self._held(kind)):
                    break
        return found


def _best(levels: Sequence[Level], kind: Kind) -> list[Level]:
    """Of each number of sessions one level: the one that was held where there is one, the last otherwise."""
    held = Level.held_stt if kind == "stt" else Level.held_tts
    best: dict[int, Level] = {}
    for level in levels:
        if level.sessions not in best or not held(best[level.sessions]):
            best[level.sessions] = level
    return list(best.values())


def _common(tables: dict[Side, dict[Kind, list[Level]]], kind: Kind) -> int:
    """The largest number of sessions that both sides held; the smallest tried where there is none."""
    held = Level.held_stt if kind == "stt" else Level.held_tts
    fewest = min(highest_held(kinds[kind], held) for kinds in tables.values())
    tried = [level.sessions for level in tables["ours"][kind]]
    return max((count for count in tried if count <= fewest), default=tried[0])


async def _python(python: Path, *arguments: str) -> str:
    """What a module prints.

    :raises RuntimeError: where it fails; the text is the last that it said
    """
    process = await asyncio.create_subprocess_exec(
        str(python),
        *("-m", *arguments),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await asyncio.wait_for(process.communicate(), _MOST_SECONDS)
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{arguments[0]}: {lines[-1] if lines else process.returncode}")
    return out.decode()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
