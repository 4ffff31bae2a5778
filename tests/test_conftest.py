"""The checks of conftest.py do fail when they should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LEAKS = """
import asyncio, os, subprocess
from pathlib import Path
import pytest

@pytest.fixture
async def background():
    task = asyncio.create_task(asyncio.sleep(1000))
    yield
    task.cancel()

async def test_clean(background): await asyncio.sleep(0)
async def test_task(): asyncio.create_task(asyncio.sleep(1000), name="left behind")
async def test_process(): subprocess.Popen(["sleep", "1000"])
def test_process_without_loop(): subprocess.Popen(["sleep", "1000"])

@pytest.mark.leaves_running(reason="to be tested")
async def test_allowed(): asyncio.create_task(asyncio.sleep(1000))

def test_settings_of_the_person_are_hidden():
    assert [n for n in os.environ if n.startswith("PARLEY_")] in (["PARLEY_DATA_DIR"], ["PARLEY_SPEECH_DIR", "PARLEY_DATA_DIR"])
    assert "real" not in os.environ["PARLEY_DATA_DIR"]

def test_speech(speech_dir): assert (speech_dir / "here").exists()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    assert "WITHIN_S = 5.0" in text
    assert "WITHIN_S = 15.0" in text
    (tmp_path / "conftest.py").write_text(
        text.replace("WITHIN_S = 5.0", "WITHIN_S = 0.5").replace("WITHIN_S = 15.0", "WITHIN_S = 0.5")
    )
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    return tmp_path


def run(folder: Path, speech: Path) -> str:
    env = {
        **os.environ,
        "PARLEY_SPEECH_DIR": str(speech),
        "PARLEY_DATA_DIR": "real",
        "PARLEY_AUTH__TOKEN": "real",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "test_leaks.py"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_what_is_left_running_fails(folder: Path) -> None:
    (folder / "here").write_text("")
    out = run(folder, folder)
    assert "7 passed, 3 errors" in out, out
    for name in ("test_task", "test_process", "test_process_without_loop"):
        assert f"ERROR test_leaks.py::{name}" in out
    assert "left behind" in out
    assert "sleep 1000" in out


def test_what_needs_missing_speech_is_listed_as_not_run(folder: Path) -> None:
    out = run(folder, folder / "nowhere")
    assert "1 deselected" in out
    assert "skipped" not in out
    summary = out[out.index("not run: no recordings") :]
    assert "test_leaks.py::test_speech" in summary
