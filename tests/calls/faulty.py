"""Servers with the faulty fakes for engines, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.running_server import ROOT


@dataclass
class FaultyServer:
    """A server, with the files that it writes."""

    url: str
    data_dir: Path
    log: Path

    def get(self, path: str) -> Any:
        response = httpx.get(f"{self.url}{path}", timeout=20)
        response.raise_for_status()
        return response.json()

    def post(self, path: str, **params: Any) -> None:
        httpx.post(f"{self.url}{path}", params=params, timeout=20).raise_for_status()

    def count(self, metric: str, *labels: str) -> float:
        """The sum of a metric's samples whose labels contain all of ``labels``."""
        lines = httpx.get(f"{self.url}/metrics", timeout=20).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric) and all(x in line for x in labels))

    def wait_for(self, condition: Any, what: str, timeout_s: float = 30) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {timeout_s} s\n{self.log.read_text()[-3000:]}")


def serve(
    folder: Path, module: str = "bench.faulty_server", *, data_dir: Path | None = None, **env: str
) -> Iterator[FaultyServer]:
    """Run ``module`` with ``env`` until the generator is closed."""
    data_dir = data_dir or folder / "data"
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--cpus", ",".join(map(str, sorted(os.sched_getaffinity(0)))),
             "--data-dir", str(data_dir)],
            cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    server = FaultyServer(f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}", data_dir, folder / "log.txt")
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{server.url}/ready", timeout=5).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    yield server
    process.terminate()
    assert process.wait(30) in (0, -signal.SIGTERM)
    process.stdout.close()
