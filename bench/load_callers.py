"""The processes of ``bench.load_caller`` together: calls made, dropped and looked at as one crowd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

ANSWER_TIMEOUT_S = 120.0
_LINE_LIMIT = 1 << 22


@dataclass(frozen=True, slots=True)
class Report:
    """What all calls measured. Gaps and lateness are those of the worst call, in ms."""

    gap_p99_ms: float
    late_p99_ms: float
    v2v_ms: list[float]
    stuck: int


def combine(calls: Sequence[dict[str, Any]]) -> Report:
    """The calls of several processes as one report.

    Raises:
        RuntimeError: a call was lost or has heard nothing.
    """
    if any(not call["connected"] or call["gap_p99_ms"] is None for call in calls):
        raise RuntimeError("a call was lost")
    return Report(
        max((call["gap_p99_ms"] for call in calls), default=0.0),
        max((call["late_p99_ms"] or 0.0 for call in calls), default=0.0),
        [v for call in calls for v in call["v2v_ms"]],
        sum(call["stuck"] for call in calls),
    )


class Callers:
    """``async with Callers(url, cores) as callers``: a process on each of ``cores``, none of them with a call yet."""

    def __init__(self, url: str, cores: Sequence[int]) -> None:
        self._url = url
        self._cores = list(cores)
        self._processes: list[asyncio.subprocess.Process] = []
        self._next = 0
        self.speech_share = 0.0
        """How much of a cycle the callers speak."""

    async def __aenter__(self) -> Callers:
        try:
            for core in self._cores:
                self._processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable,
                        *("-m", "bench.load_caller", "--url", self._url, "--cpu", str(core)),
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        limit=_LINE_LIMIT,
                        env={**os.environ, "LOGURU_LEVEL": "WARNING"},
                    )
                )
            ready = await asyncio.gather(*(self._read(process) for process in self._processes))
        except BaseException:
            await self._end()
            raise
        self.speech_share = float(ready[0]["speech_share"])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self._end()

    async def add(self, calls: int, *, of: int, offset: float = 0.0) -> None:
        """Make ``calls`` calls, spread over a cycle as ``of`` are, from ``offset`` of a place on.

        Raises:
            RuntimeError: one was refused or did not connect.
        """
        # One after the other: connecting costs a server more than talking does, and is not what is measured.
        for index in range(calls):
            process = self._processes[self._next % len(self._processes)]
            self._next += 1
            answer = await self._ask(process, {"do": "add", "phase": (index + offset) / of})
            if "failed" in answer:
                raise RuntimeError(f"a call failed: {answer['failed']}")

    async def reset(self) -> None:
        """Forget what was measured."""
        await self._ask_all({"do": "reset"})

    async def drop(self) -> None:
        """Hang up all calls."""
        await self._ask_all({"do": "drop"})

    async def report(self) -> Report:
        """What was measured since the last reset.

        Raises:
            RuntimeError: a call was lost.
        """
        return combine([call for answer in await self._ask_all({"do": "report"}) for call in answer["calls"]])

    async def _ask_all(self, command: dict[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self._ask(process, command) for process in self._processes))

    async def _ask(self, process: asyncio.subprocess.Process, command: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        process.stdin.write(json.dumps(command).encode() + b"\n")
        await process.stdin.drain()
        return await self._read(process)

    async def _read(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), ANSWER_TIMEOUT_S)
        if not line:
            raise RuntimeError("a process of callers ended")
        return dict(json.loads(line))

    async def _end(self) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._processes.clear()
