"""Files of calls in real time are not all run at once, the long come first, and every test is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sharing

ROOT = Path(__file__).resolve().parents[1]
CONFTEST = """
import json, os, time
import pytest
from tests import sharing
sharing.REAL_TIME_AT_ONCE, sharing.SECONDS = 2, {seconds}

def pytest_xdist_make_scheduler(config, log):
    return sharing.LongestFirst(config, log)

@pytest.fixture(autouse=True)
def seen(request):
    begun = time.monotonic()
    yield
    row = [request.node.nodeid, begun, time.monotonic()]
    with open({log!r}, "a") as log:
        log.write(json.dumps(row) + "\\n")
"""
TEST = """
import pytest, time
@pytest.mark.parametrize("n", range({count}))
def test(n): time.sleep({s})
"""


def shared(folder: Path, files: dict[str, tuple[int, float]], processes: int, **seconds: int) -> list[tuple[str, float, float]]:
    """Run ``files`` (name: tests, seconds of each) in so many processes; each test's file, beginning and end."""
    log = folder / "log.jsonl"
    (folder / "conftest.py").write_text(CONFTEST.format(log=str(log), seconds=seconds))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    for name, (count, s) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST.format(count=count, s=s))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", str(processes), "--dist", "loadfile", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    ids = [row[0] for row in rows]
    assert len(ids) == len(set(ids)) == sum(count for count, _ in files.values())
    return sorted(((id.split("::")[0], begun, ended) for id, begun, ended in rows), key=lambda row: row[1])


@pytest.mark.parametrize("processes", [1, 4])
def test_no_more_files_than_may_talk_at_once_and_every_test_once(tmp_path: Path, processes: int) -> None:
    calls = {f"tests/calls/test_{n}.py": (1 + n % 4, 0.1) for n in range(9)}
    pure = {f"tests/agent/test_{n}.py": (3, 0.02) for n in range(4)}
    rows = shared(tmp_path, calls | pure, processes)
    in_calls = [row for row in rows if sharing.keeps_real_time(row[0])]
    at_once = [{file for file, begun, ended in in_calls if begun <= at < ended} for _, at, _ in in_calls]
    assert max(len(files) for files in at_once) <= 2
    # Nothing else keeps them apart: where there are processes for it, two do talk at once.
    assert (max(len(files) for files in at_once) == 2) is (processes > 1)


def test_only_calls_for_more_processes_than_may_talk(tmp_path: Path) -> None:
    shared(tmp_path, {f"tests/calls/test_{n}.py": (n + 1, 0.0) for n in range(5)}, 4)


def test_the_longest_come_first(tmp_path: Path) -> None:
    files = {f"tests/agent/test_{name}.py": (3, 0.0) for name in "abcdef"}
    rows = shared(tmp_path, files, 1, **{"tests/agent/test_e.py": 30, "tests/agent/test_c.py": 40})
    order = list(dict.fromkeys(file for file, _, _ in rows))
    assert order[:2] == ["tests/agent/test_c.py", "tests/agent/test_e.py"]


def test_files_that_are_known_to_be_long_are_there() -> None:
    assert [file for file in sharing.SECONDS if not (ROOT / file).is_file()] == []
