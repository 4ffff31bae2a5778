"""A real model, if a tiny one: in the process that stands in for a server, and behind transformers' own server.

The model's words are nonsense, but always the same for the same conversation at temperature 0.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from agent.tutor import Message
from pipeline.engine import CallState
from pipeline.llm.chat import ChatFailed, ChatRequest, FallbackChat, whole
from pipeline.llm.openai_chat import OpenAIChat
from pipeline.llm.transformers import make_engine as make_transformers
from pipeline.llm.vllm import make_engine as make_vllm
from pipeline.llm.worker_chat import WorkerChat
from pipeline.settings.tree import Settings, TransformersSettings
from tests.pipeline.llm.fake_vllm import FakeVLLM, Script, serving
from tests.pipeline.llm.tutoring import tutoring

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / ".venv-engines-test" / "bin"
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
START_S = 120.0
pytestmark = [
    pytest.mark.skipif(
        not (BIN / "python").exists(), reason="not run: the speech engines' environment is missing (.venv-engines-test)"
    )
]
TALK: list[Message] = [{"role": "system", "content": "You are a tutor."}, {"role": "user", "content": "Hello, I am Ana."}]
ASK = ChatRequest(TALK, max_tokens=24, temperature=0.0)
LONG = replace(ASK, max_tokens=4000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-qwen")
    subprocess.run(
        [BIN / "python", "-m", "tests.engines.tiny_qwen", folder], cwd=ROOT, env=ENV, check=True, capture_output=True
    )
    return folder


@pytest.fixture
def wanted(model: Path) -> TransformersSettings:
    return TransformersSettings(model=str(model), python=str(BIN / "python"), threads=1)


@pytest.fixture
async def worker(wanted: TransformersSettings) -> AsyncIterator[WorkerChat]:
    chat = WorkerChat(wanted)
    await chat.load()
    yield chat
    await chat.close()


async def test_answer_streams_and_is_the_same_alone_and_among_others(worker: WorkerChat) -> None:
    told: list[int] = []
    async with aclosing(worker.stream(replace(ASK, on_prompt_tokens=told.append))) as stream:
        pieces = [piece async for piece in stream]
    alone = "".join(pieces)
    assert len(alone) > 10
    assert len(set(alone)) > 5, "a model that says one letter tells nothing apart"
    assert len(pieces) > 5
    assert told[0] > len("".join(m["content"] for m in TALK))
    other = replace(ASK, messages=[{"role": "user", "content": "Something else entirely."}])
    among = await asyncio.gather(whole(worker, ASK), whole(worker, other), whole(worker, ASK))
    assert among[0] == among[2] == alone
    assert among[1] != alone


async def test_turn_that_goes_on_from_the_last_is_answered_as_if_it_were_the_first(
    worker: WorkerChat, wanted: TransformersSettings
) -> None:
    """What was read for the turn before is kept; that must change nothing but the time."""
    first = await whole(worker, ASK)
    onward = replace(ASK, messages=[*TALK, {"role": "assistant", "content": first}, {"role": "user", "content": "I like tea."}])
    kept = await whole(worker, onward)
    fresh = WorkerChat(wanted)
    await fresh.load()
    assert await whole(fresh, onward) == kept
    await fresh.close()


async def test_prompt_that_was_read_beforehand_changes_nothing_but_the_time(wanted: TransformersSettings) -> None:
    cold, warm = WorkerChat(wanted), WorkerChat(wanted)
    await cold.load()
    await warm.load()
    await warm.warm(TALK[:1])
    others = [replace(ASK, messages=[TALK[0], {"role": "user", "content": text}]) for text in ("One.", "Two.", "Three.")]
    # At the same time, so that all of them begin with what is shared.
    assert await asyncio.gather(*(whole(warm, r) for r in others)) == await asyncio.gather(*(whole(cold, r) for r in others))
    await cold.close()
    await warm.close()


def test_what_was_read_is_not_read_again(model: Path) -> None:
    """Of one conversation, and of one that only begins alike."""
    system = {"role": "system", "content": "You are a tutor. " * 10}
    ask = {"max_tokens": 3, "temperature": 0, "top_p": 1, "stop": []}
    user = [{"role": "user", "content": text} for text in ("One.", "Two.")]
    lines = [
        {"id": 1, "messages": [system], "warm": True, **ask},
        {"id": 2, "messages": [system, user[0]], **ask},
        {"id": 3, "messages": [system, user[1]], **ask},
    ]
    command = [BIN / "python", "-m", "engines.llm.worker", "--model", model, "--threads", "1"]
    with subprocess.Popen(command, cwd=ROOT, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert "ready" in json.loads(worker.stdout.readline())
        prompts = {}
        for line in lines:
            worker.stdin.write(json.dumps(line).encode() + b"\n")
            worker.stdin.flush()
            while "done" not in (said := json.loads(worker.stdout.readline())):
                if "kept" in said:
                    prompts[said["id"]] = said
        worker.stdin.close()
    begins = len(system["content"])  # a token is a letter
    assert prompts[1]["kept"] == 0
    for key in (2, 3):
        assert begins <= prompts[key]["kept"] < prompts[key]["prompt_tokens"]


async def test_stop_text_ends_the_answer_and_is_not_said(worker: WorkerChat) -> None:
    text = await whole(worker, ASK)
    assert await whole(worker, replace(ASK, stop=(text[6:9],))) == text[: text.index(text[6:9])]


async def test_temperature_draws(worker: WorkerChat) -> None:
    drawn = {await whole(worker, replace(ASK, temperature=1.5)) for _ in range(4)}
    assert len(drawn) > 1


async def test_cancelled_answer_leaves_the_process_to_others(worker: WorkerChat) -> None:
    async with aclosing(worker.stream(LONG)) as stream:
        await anext(stream)
    assert worker.pid is not None
    text = await whole(worker, ASK)
    assert len(text) > 10
    # Nobody asks for anything: a process that went on with the cancelled answer would still be computing.
    process = psutil.Process(worker.pid)
    async with asyncio.timeout(20):
        while True:
            before = sum(process.cpu_times()[:2])
            await asyncio.sleep(0.3)
            if sum(process.cpu_times()[:2]) - before < 0.05:
                break


async def test_too_long_a_prompt_is_one_clear_line(worker: WorkerChat) -> None:
    with pytest.raises(ChatFailed, match="more than 32768"):
        await whole(worker, replace(ASK, max_tokens=40_000))
    assert len(await whole(worker, ASK)) > 10


async def test_process_that_dies_fails_its_answers_and_comes_back(worker: WorkerChat) -> None:
    before = await whole(worker, ASK)
    async with aclosing(worker.stream(LONG)) as stream:
        await anext(stream)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ChatFailed, match="ended"):
            "".join([piece async for piece in stream])
    with pytest.raises(ChatFailed) as e:
        await whole(worker, ASK)
    assert e.value.absent
    async with asyncio.timeout(START_S):
        while True:
            try:
                assert await whole(worker, ASK) == before
                break
            except ChatFailed:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"model": "/nowhere"}, "model /nowhere cannot be loaded: OSError"), ({"python": "/nowhere/python"}, "cannot be run")],
)
async def test_process_that_cannot_start_is_one_clear_line(
    wanted: TransformersSettings, change: dict[str, str], says: str
) -> None:
    chat = WorkerChat(wanted.model_copy(update=change))
    with pytest.raises(ChatFailed, match=says):
        await chat.load()
    assert chat.pid is None


def settings(wanted: TransformersSettings, url: str = "", **llm: object) -> Settings:
    return Settings.model_validate({"llm": {"vllm": {"url": url}, "transformers": wanted.model_dump(), **llm}})


async def test_engine_answers_a_call(wanted: TransformersSettings) -> None:
    engine = make_transformers(settings(wanted))
    await engine.load()
    assert engine.status().state == "ready"
    assert engine.status().detail["max_model_len"] == 32768
    async with tutoring(engine.create, lesson="introductions") as tutor:
        text = await tutor.answer([{"role": "user", "content": "Hello."}])
        await tutor.ask([{"role": "user", "content": "Hello again."}])
        await tutor.interrupt()
    assert len(text) > 10
    assert not tutor.errors
    await engine.close()
    await engine.load()
    await engine.close()
    assert engine.status().state == "unloaded"


async def test_fallback_answers_while_the_server_is_absent(wanted: TransformersSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    engine = make_vllm(settings(wanted, f"http://127.0.0.1:{port}", fallback="transformers", max_model_len=20_000))
    await engine.load()
    assert engine.status().state == "ready"
    async with tutoring(engine.create) as tutor:
        own = await tutor.answer([{"role": "user", "content": "Hello."}])
        assert len(own) > 10
        assert engine.status().detail["on_fallback"] is True
        assert isinstance(engine._source, FallbackChat)
        engine._source._forget_after_s = 0.0
        async with serving(port) as server:
            assert await tutor.answer([{"role": "user", "content": "Hello."}]) == "Hello there. How are you?"
            assert engine.status().detail["on_fallback"] is False
            server.script = Script(status=500)
            assert await tutor.answer([{"role": "user", "content": "Hello."}]) == "", "a server that fails is there"
        assert len(await tutor.answer([{"role": "user", "content": "Hello."}])) > 10
    await engine.close()


async def test_without_fallback_an_absent_server_is_an_error(wanted: TransformersSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        engine = make_vllm(settings(wanted, f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(ChatFailed, match="no language model at"):
            await engine.load()
    assert engine.status().state == "failed"
    await engine.close()


@pytest.fixture(scope="module")
def transformers_serve(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of ``transformers serve`` with the tiny model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as out:
        command = [BIN / "transformers", "serve", model, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, env=ENV, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


async def test_same_model_says_the_same_behind_transformers_own_server(
    transformers_serve: str, model: Path, worker: WorkerChat
) -> None:
    chat = OpenAIChat(transformers_serve, model=str(model), dialect="plain", read_timeout_s=60)
    assert await whole(chat, ASK) == await whole(worker, ASK)
    async with aclosing(chat.stream(LONG)) as stream:
        await anext(stream)
    assert await whole(chat, ASK) == await whole(worker, ASK), "an answer that was given up does not hold it up"
    await chat.close()


async def test_tutor_on_transformers_own_server(transformers_serve: str, model: Path) -> None:
    wanted = {"url": transformers_serve, "model": str(model), "dialect": "plain", "read_timeout_s": 60}
    # A token of this model is a letter.
    engine = make_vllm(Settings.model_validate({"llm": {"vllm": wanted, "max_model_len": 32_768}}))
    await engine.load()
    async with tutoring(engine.create) as tutor:
        assert len(await tutor.answer([])) > 10
        assert not tutor.errors
    await engine.close()


async def test_engine_finds_what_its_server_has() -> None:
    async with serving() as server:
        await _loads_and_says_what_is_missing(server)


async def _loads_and_says_what_is_missing(server: FakeVLLM) -> None:
    engine = make_vllm(Settings.model_validate({"llm": {"vllm": {"url": server.url}}}))
    await engine.load()
    assert engine.status().detail == {"url": server.url, "model": server.models[0], "max_model_len": 2048}
    assert engine.create(CallState("x", "beginner", "introductions")) is not None
    await engine.close()
    other = make_vllm(Settings.model_validate({"llm": {"vllm": {"url": server.url, "model": "other"}}}))
    with pytest.raises(ValueError, match=f"llm.vllm.model: .* has no 'other'; it has: {server.models[0]}"):
        await other.load()
    await other.close()
