"""Whole calls whose tutor is a language model on a server: a strict stand-in for vLLM, which the test can see into."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.faults.lines import APOLOGY, ON_SCREEN
from tests.minded_server import address, left_empty, minded  # noqa: F401  (fixtures)
from tests.pipeline.llm.fake_vllm import FakeVLLM, Script, serving
from tests.running_server import RunningServer

LONG = "Let me tell you of a long walk that I took along the river, past the old bridge and the mill, up to the castle. " * 3


def tutor(body: dict[str, Any]) -> str:
    """A greeting, and then an answer that takes up the learner's last word."""
    last = body["messages"][-1]["content"]
    if "<learner>" not in last:
        return "Hello! What is your name?"
    word = last.removesuffix("</learner>").split()[-1].strip(".?!")
    return f"You said {word}. Tell me more, please."


@pytest.fixture
async def mind(address: socket.socket) -> AsyncIterator[FakeVLLM]:  # noqa: F811
    async with serving(at=address) as fake:
        fake.script = Script(answer=tutor)
        yield fake


@pytest.fixture(scope="module")
def shared(address: socket.socket, module_server: Any) -> RunningServer:  # noqa: F811
    return minded(address, module_server, PARLEY_FAULTS__LLM_TIMEOUT_S="3")


@pytest.fixture
async def call(mind: FakeVLLM, shared: RunningServer) -> AsyncIterator[RunningServer]:
    """The server of a call over ``mind``."""
    async with left_empty(shared) as server:
        yield server


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
async def test_a_spoken_call_with_a_language_model(mind: FakeVLLM, call: Any, join: Any, door: str) -> None:
    learner = await join(call.url, door)
    connected = await learner.until("connected")
    greeting = await learner.until("ai_text", is_complete=True)
    assert greeting["text"] == "Hello! What is your name?"
    await learner.until("turn_complete", 60)
    await learner.say("my name is anna")
    said = await learner.until("transcript", is_final=True)
    answer = await learner.until("ai_text", is_complete=True)
    assert answer["text"] == tutor({"messages": [{"content": f"<learner>{said['text']}</learner>"}]})
    await learner.until("turn_complete", 60)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    kept = call.wait_for(lambda: call.get(f"/api/sessions/{connected['session_id']}"), "the stored session")
    assert [(t["role"], t["text"]) for t in kept["turns"]] == [
        ("tutor", greeting["text"]),
        ("learner", said["text"]),
        ("tutor", answer["text"]),
    ]
    # The answer, and perhaps guesses before it, began with all that the greeting had.
    greeted, *later = [r["messages"] for r in mind.requests]
    assert later
    assert all(messages[: len(greeted)] == greeted for messages in later)
    await mind.until(lambda: mind.running == 0)


async def test_speaking_over_the_tutor_aborts_its_request(mind: FakeVLLM, call: Any, join: Any) -> None:
    mind.script = Script(answer=lambda _: LONG, delay_s=0.1)
    learner = await join(call.url, "websocket")
    await learner.until("speaking", who="tutor", active=True)
    await asyncio.sleep(0.7)
    mind.script = Script(answer=tutor)
    await learner.say("wait a moment please", wait=False)
    await learner.until("interrupted")
    await mind.until(lambda: mind.aborted >= 1)
    answer = await learner.until("ai_text", 30, is_complete=True)
    assert answer["text"].startswith("You said")
    request = mind.requests[-1]["messages"]
    heard = request[2]["content"]
    assert request[2]["role"] == "assistant"
    assert LONG.startswith(heard)
    assert len(heard) < len(LONG) / 2, "the model is told what was heard, not what it wrote"
    await mind.until(lambda: mind.running == 0)


@pytest.mark.parametrize(
    "trouble",
    [Script(status=500), Script(stall_after=0), Script(garbage_after=0), Script(cut_after=0)],
    ids=["refused", "stalled", "garbage", "cut"],
)
async def test_call_survives_its_language_model(mind: FakeVLLM, call: Any, join: Any, trouble: Script) -> None:
    learner = await join(call.url, "websocket")
    await learner.until("turn_complete", 60)
    mind.script = trouble
    await learner.client.send({"type": "text", "text": "I like tea."})
    assert (await learner.until("error", 20))["message"] == ON_SCREEN["llm"]
    await learner.until("ai_text", 20, is_complete=True, text=APOLOGY["llm"])
    await mind.until(lambda: mind.running == 0)
    mind.script = Script(answer=tutor)
    await learner.client.send({"type": "text", "text": "I like coffee."})
    await learner.until("ai_text", 20, is_complete=True, text="You said coffee. Tell me more, please.")


async def test_call_survives_a_server_that_is_started_again(own_server: Any, join: Any) -> None:
    async with serving() as first:
        first.script = Script(answer=tutor)
        server = await asyncio.to_thread(own_server, PARLEY_LLM__ENGINE="vllm", PARLEY_LLM__VLLM__URL=first.url)
        learner = await join(server.url, "websocket")
        await learner.until("turn_complete", 60)
    await learner.client.send({"type": "text", "text": "I like tea."})
    assert (await learner.until("error", 20))["message"] == ON_SCREEN["llm"]
    async with serving(int(first.url.rpartition(":")[2])) as second:
        second.script = Script(answer=tutor)
        await learner.until("ai_text", 20, is_complete=True, text=APOLOGY["llm"])
        await learner.client.send({"type": "text", "text": "I like coffee."})
        await learner.until("ai_text", 20, is_complete=True, text="You said coffee. Tell me more, please.")


async def test_free_talk_is_offered_and_had(mind: FakeVLLM, call: Any, join: Any) -> None:
    offered = {lesson["id"]: lesson for lesson in call.get("/api/lessons")["items"]}
    assert offered["free_talk"]["title"] == "Free talk"
    learner = await join(call.url, "websocket")
    await learner.until("turn_complete", 60)
    await learner.client.send({"type": "set_lesson", "lesson": "free_talk"})
    await learner.until("turn_complete", 60)
    first, *_, last = (r["messages"][0]["content"] for r in mind.requests)
    assert "# Today's lesson: Meeting someone new" in first
    assert "# Today: free talk" in last
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")


async def test_corrections_of_the_model_show_on_the_page(mind: FakeVLLM, own_server: Any, join: Any) -> None:
    found = {"corrections": [{"original": "am like", "correction": "like", "explanation": "'Like' is the verb."}]}
    mind.script = Script(answer=lambda body: json.dumps(found) if "response_format" in body else tutor(body))
    server = await asyncio.to_thread(
        own_server, PARLEY_LLM__ENGINE="vllm", PARLEY_LLM__VLLM__URL=mind.url, PARLEY_LLM__CORRECTIONS="true"
    )
    learner = await join(server.url, "websocket")
    await learner.until("turn_complete", 60)
    await learner.client.send({"type": "text", "text": "I am like tea."})
    # The checker's own may be first.
    while found["corrections"][0] not in (await learner.until("corrections", 20))["items"]:
        pass
    await learner.client.send({"type": "end_conversation"})
    report = (await learner.until("analysis"))["data"]
    assert "am like" in [m["original"] for m in report["mistakes"]]


async def test_goodbye_ends_the_lesson(mind: FakeVLLM, call: Any, join: Any) -> None:
    mind.script = Script(
        answer=lambda body: "Goodbye, and well done! <end>" if "bye" in str(body["messages"][-1]) else tutor(body)
    )
    learner = await join(call.url, "websocket")
    await learner.until("turn_complete", 60)
    await learner.client.send({"type": "text", "text": "bye"})
    answer = await learner.until("ai_text", 20, is_complete=True)
    assert answer["text"] == "Goodbye, and well done!"
    # The lesson is over: the call ends after a moment, without the tutor asking whether anybody is there.
    await learner.until("analysis", 60)
    assert len([m for m in learner.of("ai_text") if m["is_complete"]]) == 2
