"""Servers under test: each in a process of its own, on cores of its own, looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx
import psutil

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
SUBJECTS = {
    "parley": "bench.parley_server",
    "embedded": "bench.embedded_server",
    "peer": "bench.peers.stock_pipecat",
    "fakes": "bench.fakes_server",
    "oracle": "bench.oracle_server",
    "oracle_peer": "bench.peers.oracle_stock_pipecat",
    "barge": "bench.barge_server",
    "faulty": "bench.faulty_server",
    "faulty_peer": "bench.peers.faulty_stock_pipecat",
    "net": "bench.net_server",
    "net_peer": "bench.peers.net_stock_pipecat",
    "abuse": "bench.abuse_server",
    "abuse_peer": "bench.peers.abuse_stock_pipecat",
}
"""The module that each server runs."""


class ServerFailed(RuntimeError):
    """A server did not start or ended on its own; the text holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server's processes hold and have used. ``memory_mb`` is unique set size; ``cpu_s`` user and system time."""

    threads: int
    fds: int
    memory_mb: float
    processes: int
    cpu_s: float


class ServerProcess:
    """``async with ServerProcess("parley", [0, 1]) as server``: ready on entry, ended on exit."""

    def __init__(self, subject: str, cores: Sequence[int]) -> None:
        self.subject = subject
        self._cores = list(cores)
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log: IO[str] | None = None
        self.url = ""
        self.start_s = 0.0
        """From the start of the process to its being ready."""

    async def __aenter__(self) -> ServerProcess:
        begun = time.monotonic()
        self._folder = tempfile.TemporaryDirectory(prefix="parley-bench-")
        self._log = (Path(self._folder.name) / "stderr.txt").open("w+")
        cores = ",".join(str(core) for core in self._cores)
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec, before anything is timed
            [sys.executable, "-m", SUBJECTS[self.subject], "--cpus", cores, "--data-dir", f"{self._folder.name}/data"],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            assert self._process.stdout is not None
            line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), READY_TIMEOUT_S)
            if not line:
                raise ServerFailed(self._last_words())
            self.url = f"http://127.0.0.1:{json.loads(line)['port']}"
            await self._until_ready(begun + READY_TIMEOUT_S)
        except BaseException:
            await self.stop()
            raise
        self.start_s = round(time.monotonic() - begun, 2)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.stop()

    async def _until_ready(self, deadline: float) -> None:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            while time.monotonic() < deadline:
                self.check()
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(f"{self.url}/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.1)
        raise ServerFailed(f"{self.subject} was not ready within {READY_TIMEOUT_S:.0f} s; {self._last_words()}")

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Raise ``ServerFailed`` when the process has ended."""
        if self._process is None or self._process.poll() is not None:
            raise ServerFailed(self._last_words())

    def _last_words(self) -> str:
        code = self._process.poll() if self._process is not None else None
        written = ""
        if self._log is not None:
            self._log.seek(0)
            written = self._log.read()[-2000:]
        return f"{self.subject} (exit code {code}) wrote: {written.strip() or 'nothing'}"

    def facts(self) -> Facts:
        """Of the process and its children, now."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        threads = fds = count = 0
        memory = cpu = 0.0
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                memory += process.memory_full_info().uss / 1e6
                threads += process.num_threads()
                fds += process.num_fds()
                cpu += times.user + times.system
                count += 1
        return Facts(threads, fds, round(memory, 1), count, cpu)

    async def stop(self) -> None:
        """End the process: in order, or, after ``STOP_TIMEOUT_S``, at once. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        child.kill()
                process.kill()
                await asyncio.to_thread(process.wait)
            if process.stdout is not None:
                process.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
