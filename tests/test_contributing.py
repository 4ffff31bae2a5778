"""CONTRIBUTING.md is followed to the letter: each file that it shows is put into a copy of the tree and used in a call."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.calls.conftest import Learner
from tests.running_server import ROOT, RunningServer
from web.talk.client import Server
from web.talk.ws_client import WSClient

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"`([\w/]+\.(?:py|yaml))`[^`]*:\n\n```(?:python|yaml)\n(.*?)```\n\n```sh\n(.*?)```", re.S)
HEARD = "I live near the harbour."
ANSWER = "How nice. What do you see from your window?"


@dataclass
class Shown:
    """One file as the page shows it, and the settings that choose it."""

    path: str
    text: str
    env: dict[str, str]


def shown() -> dict[str, Shown]:
    found = {}
    for path, text, commands in FILE.findall(PAGE):
        words = [shlex.split(line) for line in commands.strip().splitlines()]
        assert all(w[0] == "export" and len(w) == 2 for w in words), commands
        env = dict(w[1].split("=", 1) for w in words)
        found[Path(path).stem] = Shown(path, text, env)
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a server needs, with the page's files in it and nothing else changed."""
    tree = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules", "dist")
    for name in ("agent", "engines", "pipeline", "web", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    for name in ("run_agent.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    for file in shown().values():
        assert not (tree / file.path).exists(), f"{file.path}: the example would replace a real file"
        (tree / file.path).write_text(file.text, encoding="utf-8")
    return tree


def test_the_page_shows_one_file_for_each_thing() -> None:
    assert {s.path.rsplit("/", 1)[0] for s in shown().values()} == {
        "pipeline/stt",
        "pipeline/llm",
        "pipeline/tts",
        "agent/lessons",
    }


def test_the_files_keep_the_rules_that_they_teach(tree: Path) -> None:
    files = [s.path for s in shown().values() if s.path.endswith(".py")]
    assert len(files) == 3
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict", "--follow-imports=silent"]):
        done = subprocess.run([sys.executable, "-m", *command, *files], cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# Servers that the engines talk to


@dataclass
class ModelServer:
    """OpenAI's API as far as the page's engines use it; what it was asked."""

    url: str
    audio: list[bytes] = field(default_factory=list)
    chats: list[dict[str, Any]] = field(default_factory=list)

    async def transcribe(self, request: Request) -> JSONResponse:
        self.audio.append(await request.body())
        return JSONResponse({"text": HEARD})

    async def chat(self, request: Request) -> StreamingResponse:
        self.chats.append(await request.json())

        async def pieces() -> AsyncIterator[str]:
            for word in re.findall(r"\S+\s*", ANSWER):
                choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
                chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "qwen", "choices": [choice]}
                yield f"data: {json.dumps(chunk)}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = ModelServer(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
    routes = [
        Route("/v1/audio/transcriptions", server.transcribe, methods=["POST"]),
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
    ]
    uv = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_config=None))
    running = asyncio.create_task(uv.serve(sockets=[listening]))
    while not uv.started:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    yield server
    uv.should_exit = True
    await running


@pytest.fixture
def serve(tree: Path, tmp_path: Path) -> Iterator[Callable[[dict[str, str]], RunningServer]]:
    started: list[RunningServer] = []

    def start(env: dict[str, str]) -> RunningServer:
        started.append(RunningServer(tmp_path / "data", env, tree))
        return started[-1].start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
async def join(flite_wav: Callable[..., Path]) -> AsyncIterator[Callable[..., Any]]:
    clients: list[WSClient] = []

    async def make(url: str) -> Learner:
        clients.append(WSClient(Server(url)))
        await clients[-1].connect()
        return Learner(clients[-1], flite_wav)

    yield make
    for client in clients:
        await client.close()


async def test_a_call_with_the_engines_of_the_page(models, serve, join) -> None:
    env = shown()["flite"].env
    for stage in ("whisper_server", "chat_server"):
        for name, value in shown()[stage].env.items():
            env[name] = re.sub(r"http://127\.0\.0\.1:\d+/v1", models.url, value)
    server = await asyncio.to_thread(serve, env)
    status = await asyncio.to_thread(server.get, "/status")
    assert {e["stage"]: (e["name"], e["state"]) for e in status["engines"]} == {
        "stt": ("whisper_server", "ready"),
        "llm": ("chat_server", "ready"),
        "tts": ("flite", "ready"),
    }
    learner = await join(server.url)
    assert (await learner.until("ai_text", is_complete=True))["text"] == ANSWER
    await learner.until("turn_complete")
    assert learner.client.heard.first_voiced(0) is not None, "the voice is heard"
    assert "introductions" in models.chats[0]["messages"][0]["content"]
    assert (models.chats[0]["temperature"], models.chats[0]["max_tokens"]) == (0.7, 200)
    config = await asyncio.to_thread(server.get, "/api/client-config")
    assert {o["name"] for o in config["options"] if o["used"]} == {"temperature", "max_tokens"}
    await learner.client.send({"type": "set_options", "temperature": 0.2, "max_tokens": 60})

    await learner.say("My sister works in a large hospital.")
    assert (await learner.until("transcript", is_final=True))["text"] == HEARD
    assert all(b"RIFF" in body for body in models.audio)
    assert (await learner.until("ai_text", is_complete=True))["text"] == ANSWER
    assert {"role": "user", "content": HEARD} in models.chats[-1]["messages"]
    assert (models.chats[-1]["temperature"], models.chats[-1]["max_tokens"]) == (0.2, 60)
    await learner.until("turn_complete")
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    assert not learner.of("error")


async def test_a_call_about_the_lesson_of_the_page(serve, join) -> None:
    server = await asyncio.to_thread(serve, shown()["tea_or_coffee"].env)
    learner = await join(server.url)
    await learner.until("turn_complete")
    await learner.client.send({"type": "text", "text": "I am like green tea."})
    await learner.until("turn_complete")
    assert [t["text"] for t in learner.of("ai_text") if t["is_complete"]] == [
        "Hello! Let's talk about drinks. What do you like to drink in the morning?",
        "So you like green tea! A good choice. Thank you, that was nice. Goodbye!",
    ]
    assert learner.of("suggestions")[0]["items"] == ["I like tea.", "I drink coffee."]
    (corrections,) = learner.of("corrections")
    assert [c["correction"] for c in corrections["items"]] == ["I like green tea"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("{}", "stt.options.base_url: field required"),
        ('{"base_url": "http://there", "modell": "x"}', "stt.options.modell: extra inputs are not permitted"),
    ],
)
def test_wrong_options_are_one_line(tree: Path, tmp_path: Path, options: str, line: str) -> None:
    overrides = {"PARLEY_STT__ENGINE": "whisper_server", "PARLEY_STT__OPTIONS": options, "PARLEY_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "run_agent.py", "serve", "--port", "0"],
        cwd=tree,
        env={"PATH": "/usr/bin:/bin", **overrides},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"parley: {line}"
