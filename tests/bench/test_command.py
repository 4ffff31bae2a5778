"""``python -m bench``: its arguments, output and exit code, around a benchmark that takes no time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench.__main__ as command


@pytest.fixture(autouse=True)
def _cores() -> Iterator[None]:
    """The command pins this process; the tests after it want all cores back."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def pretend(monkeypatch: pytest.MonkeyPatch, *, ok: bool = True, error: Exception | None = None) -> list[Any]:
    seen: list[Any] = []

    async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
        seen.append((quick, server_cores, os.sched_getaffinity(0)))
        if error is not None:
            raise error
        checks = {"x_ms": {"value": 3, "limit": 2, "ok": ok}}
        return {"figures": {"x_ms": 3}, "peer": {"x_ms": 4}, "ratios": {"x_ms": 0.75}, "checks": checks, "turns": [1, 2]}

    monkeypatch.setitem(command.BENCHES, "latency", "bench.pretended")
    monkeypatch.setitem(sys.modules, "bench.pretended", SimpleNamespace(run=run))
    return seen


def test_the_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = pretend(monkeypatch)
    cores = os.sched_getaffinity(0)
    assert command.main(["latency", "--quick", "--json", str(tmp_path / "r.json")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [printed[k] for k in ("bench", "quick", "figures", "peer", "ratios")] == [
        "latency",
        True,
        {"x_ms": 3},
        {"x_ms": 4},
        {"x_ms": 0.75},
    ]
    assert "cpu" in printed["machine"]
    assert "turns" not in printed
    assert json.loads((tmp_path / "r.json").read_text())["turns"] == [1, 2]
    ((quick, server_cores, client_cores),) = seen
    assert quick
    assert set(server_cores) | client_cores == cores


def test_a_check_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, ok=False)
    assert command.main(["latency"]) == 1
    assert "x_ms is 3, the limit is 2" in capsys.readouterr().err


def test_a_server_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, error=RuntimeError("peer wrote: nothing"))
    assert command.main(["latency"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "bench latency: peer wrote: nothing\n")


@pytest.mark.parametrize("arguments", [["nonsense"], [], ["latency", "--json", "/no/such/folder/r.json"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        command.main(arguments)
    assert exit_.value.code == 2
    assert "error:" in capsys.readouterr().err
