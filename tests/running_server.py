"""A real server in a process of its own, for the tests of whole calls and of the page."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]

_numbers = itertools.count(1)


@dataclass
class RunningServer:
    """``run_agent.py serve`` on a free port, with its state in a folder of the test's."""

    data_dir: Path
    env: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT
    """The tree that it runs from."""
    args: tuple[str, ...] = ()
    """Further arguments of ``serve``."""
    start_within_s: float = 90
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    log: Path = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> RunningServer:
        self.port, self.log = 0, self.data_dir.parent / f"server-{next(_numbers)}.log"
        # How late this machine's timers are is not what most tests are about.
        punctual = {"PARLEY_LIMITS__MAX_LOOP_LAG_MS": "0", "PARLEY_LIMITS__MAX_PACKET_LATE_MS": "0"}
        state = {"PARLEY_DATA_DIR": str(self.data_dir), "PARLEY_LOG__LEVEL": "DEBUG"}
        env = {**os.environ, **punctual, **state, **self.env}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(self.root / "run_agent.py"), "serve", "--port", "0", *self.args],
                cwd=self.root,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + self.start_within_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            # It takes a free port by itself: one chosen here could be another test's by then.
            if listening := re.search(r"listening: http://\S+:(\d+)", self.log.read_text()):
                self.port = int(listening[1])
            try:
                if self.port and httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server was not ready:\n{self.log.read_text()[-3000:]}")

    def stop(self, sig: int = signal.SIGTERM) -> int:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(sig)
        code = self.process.wait(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=20)
        for child in alive:
            child.kill()
        assert not alive, f"worker processes outlived the server: {alive}"
        return code

    def get(self, path: str) -> Any:
        response = httpx.get(f"{self.url}{path}", timeout=20, headers={"Accept": "application/json"})
        response.raise_for_status()
        return response.json()

    def wait_for(self, condition: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.2)
        raise AssertionError(f"{what}: not within {timeout_s} s\n{self.log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def server_env() -> dict[str, str]:
    """Settings of the servers below; a folder of tests may have its own."""
    return {}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, server_env: dict[str, str]) -> Iterator[RunningServer]:
    """One server for all tests that leave it as they found it."""
    running = RunningServer(tmp_path_factory.mktemp("server") / "data", server_env).start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def module_server(
    tmp_path_factory: pytest.TempPathFactory, server_env: dict[str, str]
) -> Iterator[Callable[..., RunningServer]]:
    """Makes servers for a module's own fixtures, whose tests leave them as they found them; ``env`` overrides settings."""
    made: list[RunningServer] = []

    def make(**env: str) -> RunningServer:
        made.append(RunningServer(tmp_path_factory.mktemp("server") / "data", {**server_env, **env}).start())
        return made[-1]

    yield make
    for running in made:
        assert running.stop() == 0


@pytest.fixture
def own_server(tmp_path: Path, server_env: dict[str, str]) -> Iterator[Callable[..., RunningServer]]:
    """Makes servers that a test may kill; ``env`` overrides settings."""
    made: list[RunningServer] = []

    def make(data_dir: Path | None = None, **env: str) -> RunningServer:
        running = RunningServer(data_dir or tmp_path / "data", {**server_env, **env}).start()
        made.append(running)
        return running

    yield make
    for running in made:
        if running.process is not None and running.process.poll() is None:
            running.stop()
