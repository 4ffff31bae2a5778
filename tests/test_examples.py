"""The examples on the doors' pages do what they say, as they are printed, with a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from pipeline.settings.load import load_settings
from pipeline.settings.tree import Settings
from tests.running_server import ROOT, RunningServer, own_server, server, server_env  # noqa: F401  (fixtures)
from web.parley_client import ParleyClient

LIVENESS_S = 90.0
PRINTED = re.compile(r"(127\.0\.0\.1|localhost):7860")


def example(page: str, language: str, server: RunningServer) -> str:  # noqa: F811
    """A block of code on a page of ``docs/``, with this server's address in it."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    block: str = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)[0]
    assert PRINTED.search(block)
    return PRINTED.sub(f"127.0.0.1:{server.port}", block)


@pytest.fixture
def folder(tmp_path: Path, flite_wav: Callable[..., Path]) -> Path:
    """Where the reader stands, with the recording that the examples name."""
    shutil.copy(flite_wav("my name is anna"), tmp_path / "hello.wav")
    return tmp_path


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=LIVENESS_S, check=False)
    assert done.returncode == 0, f"{done.stdout[-500:]!r}\n{done.stderr.decode()[-3000:]}"
    return done


def test_python_client(server: RunningServer, folder: Path) -> None:  # noqa: F811
    done = run(sys.executable, "-c", example("python-client.md", "python", server), folder=folder)
    assert len(done.stdout) > 2 * 24_000, "both of the tutor's turns, as sound"
    said = done.stderr.decode().splitlines()
    assert [line.partition(":")[0] for line in said] == ["tutor", "you", "tutor", "score"]
    assert "anna" in said[2].lower()


def test_websocket(server: RunningServer, folder: Path) -> None:  # noqa: F811
    lines = run(sys.executable, "-c", example("websocket.md", "python", server), folder=folder).stdout.decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["tutor", "tutor", "notes"]
    assert "Anna" in lines[1]


def test_realtime(server: RunningServer, folder: Path) -> None:  # noqa: F811
    done = run(sys.executable, "-c", example("doors/realtime.md", "python", server), folder=folder)
    assert "What is your name?" in done.stdout.decode()


async def test_upload(server: RunningServer, folder: Path) -> None:  # noqa: F811
    run("ffmpeg", "-loglevel", "error", "-i", "hello.wav", "-c:a", "aac", "answer.m4a", folder=folder)
    async with ParleyClient(server.url, lesson="introductions") as call:

        async def until_asked() -> None:
            async for event in call:
                if isinstance(event, dict) and event["type"] == "turn_complete":
                    return

        await asyncio.wait_for(until_asked(), LIVENESS_S)
        line = example("doors/upload.md", "sh", server).replace("SESSION", str(call.session_id))
        done = await asyncio.to_thread(run, *shlex.split(line), folder=folder)
        assert json.loads(done.stdout)["text"] == "my name is anna"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(call.end(), LIVENESS_S)


def test_outbound_calls(server: RunningServer, folder: Path) -> None:  # noqa: F811
    """No carrier is set up here, and the answer says which setting does it."""
    text = (ROOT / "docs" / "phone.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^(curl -X POST http://127\.0\.0\.1:7860/api/phone/calls [^`]*)```$", text, re.M)
    done = run(*shlex.split(PRINTED.sub(f"127.0.0.1:{server.port}", line).replace("\\\n", " ")), folder=folder)
    assert "phone.outbound.carrier" in json.loads(done.stdout)["detail"]


def test_terminal_with_files(server: RunningServer, folder: Path) -> None:  # noqa: F811
    """The lines of README.md and docs/troubleshooting.md; by default they call the port that is not this test's."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"`\.venv/bin/python (run_agent\.py talk --wav hello\.wav --json)`", readme)
    done = run(sys.executable, *arguments(line), "--url", server.url, folder=folder)
    assert json.loads(done.stdout)["turns"][0]["user"] == "my name is anna"
    trouble = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\.venv/bin/python (run_agent\.py talk --wav hello\.wav --transport websocket.*)$", trouble, re.M)
    assert "Anna" in run(sys.executable, *arguments(line), "--url", server.url, folder=folder).stdout.decode()
    assert (folder / "tutor.wav").stat().st_size > 2 * 24_000


def arguments(line: str) -> list[str]:
    """Of a command that is printed for the project's folder, for another one."""
    program, *rest = shlex.split(line)
    return [str(ROOT / program), *rest]


def test_the_server_names_its_doors(server: RunningServer) -> None:  # noqa: F811
    """What a program is told at / is on the page that lists the doors."""
    told = httpx.get(server.url, headers={"Accept": "application/json"}, timeout=20).json()["doors"]
    listed = (ROOT / "docs" / "doors" / "README.md").read_text(encoding="utf-8")
    assert [path for path in told.values() if f"`{path}`" not in listed and f" {path}`" not in listed] == []


# What the pages put into the environment before.
KEYS = {
    "PARLEY_PHONE__PUBLIC_URL": "https://tutor.example",
    "PARLEY_PHONE__TWILIO__AUTH_TOKEN": "x",
    "PARLEY_PHONE__TWILIO__ACCOUNT_SID": "AC" + 32 * "0",
}

BLOCKS = [
    (str(page.relative_to(ROOT)), block)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    if set(yaml.safe_load(block)) <= set(Settings.model_fields)  # the others are lessons
]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_settings_can_be_loaded(page: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(block, encoding="utf-8")
    assert load_settings(tmp_path / "my.yaml", env=KEYS, dotenv=None)


def test_there_are_settings_to_load() -> None:
    assert len(BLOCKS) > 4
