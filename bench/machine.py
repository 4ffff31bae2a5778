"""The machine that figures were taken on, and how its cores are shared out. Nothing here names it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Cores, processor, Python, load average before the run, date, and the versions that matter; JSON-ready."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("pipecat-ai", "aiortc", "uvloop")},
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()


def split_cores(cores: list[int]) -> tuple[list[int], list[int]]:
    """``cores`` for the server and for the measuring client: half each; a single core is shared."""
    cores = sorted(cores)
    half = len(cores) // 2
    return (cores[:half], cores[half:]) if half else (cores, cores)
