"""Responses that are no part of the conversation, or answer something else, on a stand-in that shows what a model is given."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.llm.fake_vllm import FakeVLLM, Script
from tests.running_server import RunningServer
from tests.web.realtime.conftest import Client, session
from tests.web.realtime.test_instructions import WEATHER, echo
from tests.web.realtime.test_openai_client import messages, said
from web.talk.wavs import read_wav

PART_OF_IT = {"conversation.item.added", "conversation.item.done"}


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


async def test_a_question_beside_the_conversation_leaves_no_trace(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo)
    async with session(briefed.url) as client:
        await client.update(instructions="You are Marco", output_modalities=["text"])
        item = await client.type("a table for two")
        first = await client.respond()
        before = len(client.seen)
        beside = await client.respond(
            conversation="none",
            metadata={"topic": "order"},
            instructions="Sort it. You are Sorter",
            output_modalities=["text"],
            max_output_tokens=33,
            input=[{"type": "item_reference", "id": item["id"]}, user("how many people")],
        )
        assert said(beside) == "I am Sorter and you said how many people."
        assert (beside.get("conversation_id"), beside["metadata"]) == (None, {"topic": "order"})
        assert beside["max_output_tokens"] == 33
        asked = mind.requests[-1]
        assert asked["max_tokens"] == 33
        assert [m["content"] for m in asked["messages"]] == ["Sort it. You are Sorter", "a table for two", "how many people"]
        assert not PART_OF_IT & {e["type"] for e in client.seen[before:]}
        await client.send(type="conversation.item.retrieve", item_id=beside["output"][0]["id"])
        assert (await client.until("error"))["error"]["code"] == "item_not_found"
        await client.type("and a high chair")
        await client.respond()
        kept = [m["content"] for m in mind.requests[-1]["messages"]]
        assert kept == ["You are Marco", "a table for two", said(first), "and a high chair"]
        session_id = client.seen[0]["session"]["id"]
    assert ("tutor", said(beside)) not in await asyncio.to_thread(messages, briefed, session_id)


async def test_without_an_input_it_is_asked_about_the_conversation(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo)
    async with session(briefed.url) as client:
        await client.update(output_modalities=["text"])
        await client.type("a table for two")
        await client.respond(conversation="none", instructions="Sum up")
        assert [m["content"] for m in mind.requests[-1]["messages"]] == ["Sum up", "a table for two"]
        await client.respond(conversation="none", instructions="Begin", input=[])
        assert [m["content"] for m in mind.requests[-1]["messages"]] == ["Begin", "[The call begins.]"]


async def test_several_at_once_beside_one_that_is_spoken(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo, delay_s=0.02)
    async with session(briefed.url) as client:
        await client.update(instructions="You are Marco")
        await client.type("good evening")
        await client.send(type="response.create", response={"metadata": {"n": "spoken"}})
        await client.until("response.output_audio.delta")
        for n in range(8):
            wanted = {
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"n": str(n)},
                "input": [user(f"question {n}")],
            }
            await client.send(type="response.create", response=wanted)
        await client.send(type="response.create", response={"conversation": "none", "output_modalities": ["text"]})
        assert (await client.until("error"))["error"]["type"] == "rate_limit_error"
        done: dict[str, str] = {}
        while len(done) < 9:
            response = (await client.until("response.done"))["response"]
            assert response["status"] == "completed"
            done[response["metadata"]["n"]] = said(response)
        assert done == {
            "spoken": "I am Marco and you said good evening.",
            **{str(n): f"I am Marco and you said question {n}." for n in range(8)},
        }
        for n in range(8):
            ids = {e["response"]["id"] for e in client.seen if (e.get("response") or {}).get("metadata") == {"n": str(n)}}
            (of_it,) = ids
            deltas = [e["delta"] for e in client.seen if e.get("response_id") == of_it and "delta" in e]
            assert "".join(deltas) == done[str(n)]


async def test_one_of_them_is_cancelled_by_its_id(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=lambda _: " ".join(["on"] * 500), delay_s=0.05)
    async with session(briefed.url) as client:
        await client.send(type="response.create", response={"conversation": "none", "output_modalities": ["text"]})
        created = (await client.until("response.created"))["response"]
        await client.until("response.output_text.delta")
        await client.send(type="response.cancel")
        assert (await client.until("error"))["error"]["code"] == "response_cancel_not_active"
        await client.send(type="response.cancel", response_id=created["id"])
        response = (await client.until("response.done"))["response"]
        assert (response["id"], response["status"]) == (created["id"], "cancelled")
        assert response["status_details"]["reason"] == "client_cancelled"
        assert said(response).startswith("on")
        await mind.until(lambda: mind.aborted == 1)
        await client.send(type="response.cancel", response_id=created["id"])
        assert (await client.until("error"))["error"]["code"] == "response_cancel_not_active"


async def test_who_leaves_ends_them(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=lambda _: " ".join(["on"] * 500), delay_s=0.05)
    async with session(briefed.url) as client:
        for _ in range(3):
            await client.send(type="response.create", response={"conversation": "none", "output_modalities": ["text"]})
        await mind.until(lambda: mind.running == 3)
    await mind.until(lambda: mind.aborted == 3)


async def test_functions_that_are_asked_for_beside_the_conversation(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=lambda _: "", calls=lambda body: [("get_weather", "{}")] if "tools" in body else [])
    async with session(briefed.url) as client:
        response = await client.respond(
            conversation="none", output_modalities=["text"], tools=[WEATHER], tool_choice="required", input=[user("rain?")]
        )
        assert mind.requests[-1]["tool_choice"] == "required"
        assert [i["type"] for i in response["output"]] == ["function_call"]
        call = response["output"][0]
        again = await client.respond(
            conversation="none",
            output_modalities=["text"],
            input=[call, {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}],
        )
        assert again["status"] == "completed"
        assert [m["role"] for m in mind.requests[-1]["messages"]] == ["system", "assistant", "tool"]


async def test_a_spoken_one_is_heard_and_not_kept(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo)
    async with session(briefed.url) as client:
        await client.update(instructions="You are Marco")
        await client.type("a table for two")
        beside = await client.respond(conversation="none", instructions="You are Luigi", input=[user("say hello")])
        assert said(beside) == "I am Luigi and you said say hello."
        assert len(client.audio) > 24_000
        assert beside.get("conversation_id") is None
        await client.respond()
        assert [m["content"] for m in mind.requests[-1]["messages"]] == ["You are Marco", "a table for two"]
        session_id = client.seen[0]["session"]["id"]
    # The record is of what was heard.
    assert ("tutor", said(beside)) in await asyncio.to_thread(messages, briefed, session_id)


async def test_an_answer_to_something_else_that_is_part_of_the_conversation(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo)
    async with session(briefed.url) as client:
        await client.update(instructions="You are Marco", output_modalities=["text"])
        await client.type("good evening")
        answer = await client.respond(input=[user("say that we are full")])
        assert [m["content"] for m in mind.requests[-1]["messages"]] == ["You are Marco", "say that we are full"]
        await client.type("what a pity")
        await client.respond()
        assert [m["content"] for m in mind.requests[-1]["messages"]] == [
            "You are Marco",
            "good evening",
            said(answer),
            "what a pity",
        ]


async def test_speech_as_an_input(mind: FakeVLLM, briefed: RunningServer, flite_wav: Callable[..., Path]) -> None:
    audio = np.asarray(read_wav(flite_wav("my name is anna"), 24_000)).astype("<i2").tobytes()
    content = [{"type": "input_audio", "audio": base64.b64encode(audio).decode()}]
    async with session(briefed.url) as client:
        item = {"type": "message", "role": "user", "content": content}
        response = await client.respond(conversation="none", output_modalities=["text"], input=[item])
        assert response["status"] == "completed"
        assert mind.requests[-1]["messages"][-1]["role"] == "user"
        assert "name" in mind.requests[-1]["messages"][-1]["content"]


async def test_a_model_that_fails_fails_the_response_alone(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(status=500)
    async with session(briefed.url) as client:
        response = await client.respond(conversation="none", output_modalities=["text"])
        assert response["status"] == "failed"
        assert client.errors()[-1]["type"] == "server_error"
        mind.script = Script()
        assert (await client.respond(output_modalities=["text"]))["status"] == "completed"


async def test_an_answer_that_is_too_long_is_incomplete(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=lambda _: "One two three four", finish_reason="length")
    async with session(briefed.url) as client:
        for wanted in ({"conversation": "none"}, {}):
            response = await client.respond(output_modalities=["text"], max_output_tokens=20, **wanted)
            assert response["status"] == "incomplete"
            assert response["status_details"]["reason"] == "max_output_tokens"
            assert response["output"][0]["status"] == "incomplete"


async def test_the_models_own_tokens_are_told(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(cached_tokens=3)
    async with session(briefed.url) as client:
        await client.update(instructions="You are a waiter", output_modalities=["text"])
        for wanted in ({"conversation": "none"}, {}):
            usage = (await client.respond(**wanted))["usage"]
            prompt = sum(len(m["content"]) for m in mind.requests[-1]["messages"]) // 4
            assert usage["input_token_details"]["text_tokens"] == prompt
            assert usage["input_token_details"]["cached_tokens"] == 3
            assert usage["output_token_details"] == {"text_tokens": 5, "audio_tokens": 0}
            assert usage["total_tokens"] == prompt + 5


@pytest.mark.parametrize(
    ("wanted", "code", "param"),
    [
        ({"input": [{"type": "item_reference", "id": "nobody"}]}, "item_not_found", "response.input"),
        ({"input": [user("")]}, "missing_required_parameter", "response.input"),
        (
            {"input": [{"type": "function_call_output", "call_id": "nobody", "output": "1"}]},
            "invalid_tool_call_id",
            "response.input",
        ),
        ({"conversation": "conv_2"}, "invalid_value", "response.conversation"),
        ({"audio": {"output": {"voice": "gandalf"}}}, "invalid_value", "response.audio.output.voice"),
        (
            {"audio": {"output": {"format": {"type": "audio/pcmu"}}}},
            "unsupported_parameter",
            "response.audio.output.format",
        ),
        ({"prompt": {"id": "p"}}, "unsupported_parameter", "response.prompt"),
        ({"reasoning": {"effort": "low"}}, "unsupported_parameter", "response.reasoning"),
        ({"tools": [{"type": "mcp", "server_label": "files"}]}, "unsupported_parameter", "response.tools.type"),
        ({"metadata": {"k" * 65: "v"}}, "invalid_value", "response.metadata"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    briefed: RunningServer, wanted: dict[str, Any], code: str, param: str
) -> None:
    async with session(briefed.url) as client:
        await client.send(type="response.create", response=wanted, event_id="wish")
        error = (await client.until("error"))["error"]
        assert (error["code"], error["event_id"]) == (code, "wish")
        assert error["param"].startswith(param)
        assert "response.created" not in client.kinds()


async def test_the_scripted_tutor_answers_the_conversation_alone(client: Client) -> None:
    for wanted, param in (({"conversation": "none"}, "response.conversation"), ({"input": []}, "response.input")):
        await client.send(type="response.create", response=wanted)
        error = (await client.until("error"))["error"]
        assert (error["code"], error["param"]) == ("unsupported_parameter", param)
    await client.respond(conversation="auto", audio={"output": {"voice": "marin", "format": {"type": "audio/pcm"}}})
