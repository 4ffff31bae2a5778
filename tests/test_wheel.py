"""The wheel holds everything that ``parley`` needs: the rooms, the lessons, the configuration and the built page."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = "<!doctype html><title>built</title>"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree, in which the page counts as built."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "run_agent.py"):
        shutil.copy(ROOT / name, tree)
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules", "dist")
    for name in ("agent", "engines", "pipeline", "web", "configs", "requirements", "tests", "bench"):
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    assets = tree / "web" / "client" / "dist" / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "index.html").write_text(PAGE)
    (assets / "page.js").write_text("")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "out", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tree / "out").glob("*.whl")
    return zipfile.ZipFile(path)


def test_holds_what_is_needed(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {
        "run_agent.py",
        "configs/embedded.yaml",
        "web/client/dist/index.html",
        "web/client/dist/assets/page.js",
        "web/cli/serve.py",
        "pipeline/settings/load.py",
        "engines/wire/__init__.py",
    } <= names
    assert wheel.read("web/client/dist/index.html").decode() == PAGE
    lessons = {str(p.relative_to(ROOT)) for p in (ROOT / "agent" / "lessons").glob("*.yaml")}
    prompts = {str(p.relative_to(ROOT)) for p in (ROOT / "agent" / "prompts").glob("*.md")}
    assert lessons
    assert prompts
    shipped = lessons | prompts
    assert shipped <= names
    code = {p.relative_to(ROOT).as_posix() for room in ("agent", "engines", "pipeline") for p in (ROOT / room).rglob("*.py")}
    assert code <= names


def test_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "agent",
        "configs",
        "engines",
        "pipeline",
        "run_agent.py",
        "web",
    }
    assert not [n for n in wheel.namelist() if n.startswith("web/client/") and not n.startswith("web/client/dist/")]


def test_metadata(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert (
        "Requires-Dist: pipecat-ai[silero,webrtc,websocket]==1.14.0" in text
        or "pipecat-ai[webrtc,silero,websocket]==1.14.0" in text
    )
    assert {n.rsplit("/", 1)[1] for n in wheel.namelist() if "/licenses/" in n} == {"LICENSE", "NOTICE"}
    (scripts,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "parley = run_agent:main" in wheel.read(scripts).decode()
