"""Engines under load: a server in the engines' environment, client processes that speak its wire, and the search for how many
sessions it holds."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import httpx
import yaml

from bench.stats import percentile

Side = Literal["ours", "moshi"]
Kind = Literal["stt", "tts"]
ROOT = Path(__file__).resolve().parent.parent
DEADLINE_MS = 80.0
READY_WITHIN_S = 300.0
_ANSWER_WITHIN_S = 180.0
_END_WITHIN_S = 15.0
_LINE_LIMIT = 1 << 27
MOST_CLIENT_LATE_MS = 10.0


@dataclass(frozen=True, slots=True)
class Level:
    """What so many sessions saw. All times in ms. ``late_p99_ms``: of the clients themselves."""

    sessions: int
    step_ms: list[float] = field(default_factory=list)
    """Of the model's steps, as the server timed them."""
    answer_ms: list[float] = field(default_factory=list)
    """STT: from a frame sent to its answer."""
    flush_ms: list[float] = field(default_factory=list)
    missing: int = 0
    """STT: frames that were not answered."""
    underruns_ms: list[float] = field(default_factory=list)
    """TTS: by how much frames came too late to be played."""
    frames: int = 0
    """TTS: of audio that came."""
    audio_s: float = 0.0
    window_s: float = 0.0
    ttfa_ms: list[float] = field(default_factory=list)
    late_p99_ms: float = 0.0
    errors: tuple[str, ...] = ()

    def held_stt(self) -> bool:
        """Whether 99 of 100 frames were answered before the next was due, and none was lost."""
        answer = percentile(self.answer_ms, 99)
        return not self.errors and not self.missing and answer is not None and answer <= DEADLINE_MS

    def held_tts(self) -> bool:
        """Whether every listener heard speech without a hole, as long as he listened."""
        return not self.errors and not self.underruns_ms and self.audio_s >= 0.9 * self.sessions * self.window_s

    def row(self) -> dict[str, Any]:
        """For the result: percentiles, each with the number of its samples."""
        row: dict[str, Any] = {"sessions": self.sessions, "step_ms": spread(self.step_ms)}
        if self.answer_ms:
            row |= {"answer_ms": spread(self.answer_ms), "flush_ms": spread(self.flush_ms), "missing": self.missing}
        else:
            row |= {
                "underruns": len(self.underruns_ms),
                "underrun_ms": spread(self.underruns_ms),
                "frames": self.frames,
                "ttfa_ms": spread(self.ttfa_ms),
            }
        row |= {"client_late_p99_ms": self.late_p99_ms}
        return row | ({"errors": list(self.errors[:3])} if self.errors else {})


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Percentiles with the number of samples."""
    return {"n": len(values), "p50": percentile(values, 50), "p95": percentile(values, 95), "p99": percentile(values, 99)}


def highest_held(levels: Sequence[Level], held: Callable[[Level], bool]) -> int:
    """The largest number of sessions that was held in any of its tries, 0 where there is none. Who holds more would hold less:
    a smaller number that was not held was disturbed."""
    return max((level.sessions for level in levels if held(level)), default=0)


def hopeless(levels: Sequence[Level], held: Callable[[Level], bool]) -> bool:
    """Whether two numbers were tried beyond the largest that was held."""
    return len({level.sessions for level in levels if level.sessions > highest_held(levels, held)}) > 1


class EngineServer:
    """``async with EngineServer(...) as server``: it is ready. ``settings``: of the engine's file of settings."""

    def __init__(self, python: Path, side: Side, kind: Kind, settings: dict[str, Any], cores: Sequence[int]) -> None:
        self._command = [str(python), "-m", "bench.engine_server", side, kind]
        self._settings = settings
        self._cores = set(cores)
        self._process: asyncio.subprocess.Process | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="parley-bench-")
        self.url = ""
        self.facts: dict[str, Any] = {}

    async def __aenter__(self) -> EngineServer:
        folder = Path(self._folder.name)
        (folder / "engine.yaml").write_text(yaml.safe_dump({"host": "127.0.0.1", "port": 0, **self._settings}))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
        if self._settings["device"] == "cpu":
            # A thread pool for each of many small operations only costs, on a machine whose cores are shared.
            environment |= {"OMP_NUM_THREADS": "1", "NO_TORCH_COMPILE": "1"}
        with (folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--config",
                str(folder / "engine.yaml"),
                cwd=ROOT,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, self._cores),
            )
        try:
            await self._ready()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _END_WITHIN_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._folder.cleanup()

    async def status(self) -> dict[str, Any]:
        """What ``/health`` says, the times of the steps since the last time included."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            return dict((await http.get(f"{self.url}/health")).raise_for_status().json())

    async def _ready(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_WITHIN_S):
            line = await self._process.stdout.readline()
            if not line:
                raise self._failed()
            self.url = f"http://127.0.0.1:{json.loads(line)['port']}"
            async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
                while True:
                    if self._process.returncode is not None:
                        raise self._failed()
                    with suppress(httpx.HTTPError):
                        if (await http.get(f"{self.url}/ready")).status_code == 200:
                            break
                    await asyncio.sleep(0.1)
        self.facts = await self.status()

    def _failed(self) -> RuntimeError:
        log = (Path(self._folder.name) / "log").read_text(errors="replace").strip().splitlines()
        return RuntimeError(f"the engine did not start: {log[-1] if log else 'it said nothing'}")


class Clients:
    """``async with Clients(server, …) as clients``: a process on each of ``cores``, without sessions yet."""

    def __init__(self, server: EngineServer, side: Side, kind: Kind, cores: Sequence[int]) -> None:
        self._server = server
        self._side = side
        self._kind = kind
        self._cores = list(cores)
        self._processes: list[asyncio.subprocess.Process] = []
        self.sessions = 0

    async def __aenter__(self) -> Clients:
        for index, core in enumerate(self._cores):
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "bench.engine_client", "--url", self._server.url, "--kind", self._kind, "--side", self._side),
                    *("--delay", str(self._server.facts.get("delay", 0)), "--cpu", str(core), "--seed", str(index)),
                    cwd=ROOT,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=_LINE_LIMIT,
                )
            )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), _END_WITHIN_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def add(self, count: int) -> None:
        """So many sessions more, spread over the processes.

        :raises RuntimeError: where one was refused or was not served in time
        """
        share = [(self.sessions + count + i) // len(self._processes) - (self.sessions + i) // len(self._processes)
                 for i in range(len(self._processes))]  # fmt: skip
        commands = ({"do": "add", "count": one} for one in share)
        answers = await asyncio.gather(*(self._ask(p, c) for p, c in zip(self._processes, commands, strict=True)))
        self.sessions += count
        if errors := [text for answer in answers for text in answer["errors"]]:
            raise RuntimeError(errors[0])

    async def measure(self, seconds: float) -> Level:
        """What all sessions see in so many seconds."""
        await self._server.status()
        asked = [self._ask(process, {"do": "measure", "s": seconds}) for process in self._processes]
        answers = await asyncio.gather(*asked)
        status = await self._server.status()
        joined = {
            key: [v for answer in answers for v in answer.get(key, [])] for key in ("step_ms", "flush_ms", "underruns_ms")
        }
        return Level(
            sessions=self.sessions,
            step_ms=status["steps_ms"],
            answer_ms=joined["step_ms"],
            flush_ms=joined["flush_ms"],
            missing=sum(answer.get("missing", 0) for answer in answers),
            underruns_ms=joined["underruns_ms"],
            frames=sum(len(answer.get("ahead_s", [])) for answer in answers),
            audio_s=sum(answer.get("audio_s", 0.0) for answer in answers),
            window_s=seconds,
            late_p99_ms=max(answer["late_p99_ms"] for answer in answers),
            errors=tuple(text for answer in answers for text in answer["errors"]),
        )

    async def ttfa(self, times: int) -> list[float]:
        """Of so many further sessions, one after the other."""
        return list((await self._ask(self._processes[0], {"do": "ttfa", "times": times}))["ttfa_ms"])

    async def _ask(self, process: asyncio.subprocess.Process, command: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(command).encode() + b"\n")
        await process.stdin.drain()
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _ANSWER_WITHIN_S)
        except TimeoutError:
            raise RuntimeError(f"the clients did not answer within {_ANSWER_WITHIN_S:g} s") from None
        if not line:
            raise RuntimeError("a process of clients ended")
        return dict(json.loads(line))
