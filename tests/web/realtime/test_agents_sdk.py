"""``@openai/agents``, as it is released, in Node over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.llm.fake_vllm import FakeVLLM, Script
from tests.running_server import RunningServer
from web.talk.wavs import read_wav

ROOT = Path(__file__).resolve().parents[3]
JS = Path(__file__).parent / "js"
NODE = ROOT / "scripts" / "with-node"
LIVENESS_S = 90.0


def install(folder: Path) -> Path:
    """The folder with the packages that it names."""
    if not (folder / "node_modules" / "@openai" / "agents-realtime").is_dir():
        command = [NODE, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"the SDK could not be installed:\n{done.stderr[-2000:]}"
    return folder


@pytest.fixture(scope="session")
def sdk() -> Path:
    """The folder of the SDK's client."""
    return install(JS)


async def run(sdk: Path, server: RunningServer, **plan: Any) -> dict[str, list[Any]]:
    """What a client that follows ``plan`` prints, by kind."""
    plan["url"] = f"ws://127.0.0.1:{server.port}/v1/realtime"
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        "node",
        "--no-warnings",
        str(sdk / "client.mjs"),
        json.dumps(plan),
        cwd=sdk,
        env={k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, complaints = await asyncio.wait_for(process.communicate(), LIVENESS_S)
    except TimeoutError:
        process.kill()
        out, complaints = await process.communicate()
    assert process.returncode == 0, f"{out.decode()}\n{complaints.decode()}"
    told: dict[str, list[Any]] = {}
    for line in out.decode().splitlines():
        event = json.loads(line)
        told.setdefault(event["event"], []).append(event["data"])
    return told


def texts(history: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Who said what."""
    return [
        (item["role"], " ".join(str(part.get("transcript") or part.get("text") or "") for part in item["content"]))
        for item in history
        if item["type"] == "message"
    ]


async def test_typed_and_spoken_turns(sdk: Path, server: RunningServer, flite_wav: Callable[..., Path], tmp_path: Path) -> None:
    voice = tmp_path / "voice.raw"
    voice.write_bytes(np.asarray(read_wav(flite_wav("i am from spain"), 24_000)).astype("<i2").tobytes())
    told = await run(sdk, server, steps=[{"text": "my name is anna"}, {"wav": str(voice)}])
    assert "error" not in told
    (history,) = told["history"]
    said = texts(history)
    assert [role for role, _ in said] == ["user", "assistant", "user", "assistant"]
    assert said[0][1] == "my name is anna"
    assert "Anna" in said[1][1]
    assert "spain" in said[2][1].lower()
    assert told["answered"][0]["audioBytes"] > 24_000
    assert told["answered"][1]["audioBytes"] > told["answered"][0]["audioBytes"] + 24_000


async def test_an_interrupted_answer_is_what_was_heard(sdk: Path, briefed: RunningServer, mind: FakeVLLM) -> None:
    long = (
        "Let me tell you of a long walk along the river, past the old bridge and the mill, up to the castle on the hill. " * 2
    )
    long = long.strip()
    mind.script = Script(answer=lambda _: long)
    steps = [{"text": "count", "interruptAfterBytes": 72_000}, {"text": "go on"}]
    told = await run(sdk, briefed, instructions="Tell of a walk", steps=steps)
    (history,) = told["history"]
    heard = texts(history)[1][1]
    assert long.startswith(heard)
    assert 0 < len(heard) < len(long)
    assert told["interrupted"]
    asked = mind.requests[-1]["messages"]
    assert asked[2] == {"role": "assistant", "content": heard}


async def test_a_question_beside_the_conversation_is_answered_and_not_kept(
    sdk: Path, briefed: RunningServer, mind: FakeVLLM
) -> None:
    mind.script = Script(answer=lambda body: f"About {body['messages'][-1]['content']}.")
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "prices"}]}
    beside = {"conversation": "none", "output_modalities": ["text"], "instructions": "Sort it", "input": [item]}
    told = await run(sdk, briefed, instructions="Talk", steps=[{"text": "tea"}, {"beside": beside}, {"text": "milk"}])
    assert "error" not in told
    assert told["beside"] == ["About prices."]
    assert texts(told["history"][0])[-1] == ("assistant", "About milk.")
    # The SDK's own history has every item of every response in it; the conversation has not.
    assert [m["content"] for m in mind.requests[-1]["messages"]] == ["Talk", "tea", "About tea.", "milk"]


async def test_a_function_of_the_sdk_is_run(sdk: Path, briefed: RunningServer, mind: FakeVLLM) -> None:
    mind.script = Script(
        answer=lambda body: f"It is {body['messages'][-1]['content']}." if body["messages"][-1]["role"] == "tool" else "",
        calls=lambda body: [] if body["messages"][-1]["role"] == "tool" else [("get_weather", '{"city": "Lisbon"}')],
    )
    told = await run(sdk, briefed, instructions="You tell the weather", tools=True, steps=[{"text": "how is the weather"}])
    assert "error" not in told
    assert told["called"] == [["Lisbon"]]
    assert texts(told["history"][0])[-1] == ("assistant", "It is clear in Lisbon.")
