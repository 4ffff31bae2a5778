"""pipecat's harness holds whole calls with a real server over its RTVI door, in writing and in speech, without any download."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from evals.server import CALLS, door
from tests.running_server import ROOT, own_server, server, server_env  # noqa: F401  (fixtures)


def test_address_of_the_door():
    assert door("http://127.0.0.1:8000") == "ws://127.0.0.1:8000/ws/rtvi"
    wanted = door("https://example.org/parley/", level="advanced", lesson="opinions", token="a b")
    assert wanted == "wss://example.org/parley/ws/rtvi?level=advanced&lesson=opinions&token=a+b"


@pytest.mark.parametrize("scenario", ["written", "spoken"])
async def test_conversation_is_held(scenario, server, tmp_path):  # noqa: F811
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "evals.server", "--url", server.url, "--logs", str(tmp_path), str(CALLS / f"{scenario}.yaml")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said = (await asyncio.wait_for(process.communicate(), 150))[0].decode()
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert process.returncode == 0, f"{said}\n{logs}"
    assert "1 of 1 passed" in said
    if scenario == "spoken":
        assert any(path.stat().st_size > 100_000 for path in tmp_path.glob("spoken*.wav"))
    server.wait_for(lambda: server.get("/status")["active_calls"] == 0, "no call is left")
    newest = server.get("/api/sessions?limit=1")["items"][0]
    assert newest["door"] == "rtvi"


@pytest.fixture
def vain(tmp_path: Path) -> Path:
    """A scenario that expects what the tutor does not say."""
    path = tmp_path / "vain.yaml"
    path.write_text((CALLS / "written.yaml").read_text().replace("What is your name?", "What is your quest?"))
    return path


async def test_what_is_expected_in_vain_fails(server, tmp_path, vain):  # noqa: F811
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "evals.server", "--url", server.url, "--logs", str(tmp_path), str(vain)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said = (await asyncio.wait_for(process.communicate(), 90))[0].decode()
    assert process.returncode == 1
    assert "What is your quest?" in said
