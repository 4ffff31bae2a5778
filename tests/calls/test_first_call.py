"""The first call of a process is served like every other: nothing large is imported while somebody waits for the tutor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.running_server import RunningServer

LIBRARIES = {"aiortc", "av", "fastapi", "numpy", "onnxruntime", "openai", "pipecat", "soxr"}
_IMPORTED = re.compile(r"^import time:.*\|\s*(\w+)", re.M)


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
async def test_libraries_are_there_before_the_first_caller(door: str, join: Any, tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data", env={"PYTHONPROFILEIMPORTTIME": "1"}).start()
    try:
        before = server.log.read_text()
        learner = await join(server.url, door)
        await learner.until("turn_complete", 60)
    finally:
        server.stop()
    at_start = set(_IMPORTED.findall(before))
    later = set(_IMPORTED.findall(server.log.read_text()[len(before) :]))
    assert {"fastapi", "pipecat"} <= at_start, "the log tells what is imported"
    assert later & LIBRARIES == set()
