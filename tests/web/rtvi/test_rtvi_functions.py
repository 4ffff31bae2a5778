"""Functions that the client runs, with the released SDK in Node and a language model's server that does as the test says."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.minded_server import address, left_empty, mind, minded  # noqa: F401  (fixtures)
from tests.pipeline.llm.fake_vllm import FakeVLLM, Script
from tests.running_server import RunningServer

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def brief(address: socket.socket, module_server: Any) -> RunningServer:  # noqa: F811
    """A server whose tutor is whichever ``mind`` there is, for all of these tests."""
    return minded(address, module_server, PARLEY_LLM__VLLM__DIALECT="openai")


@pytest.fixture
async def briefed(mind: FakeVLLM, brief: RunningServer) -> AsyncIterator[RunningServer]:  # noqa: F811
    """A server whose tutor is ``mind``."""
    async with left_empty(brief) as running:
        yield running


async def test_client_runs_a_function_and_hears_the_answer(sdk_client, mind, briefed):  # noqa: F811
    def wants(body: dict[str, Any]) -> list[tuple[str, str]]:
        last = body["messages"][-1]
        return [("get_weather", '{"city": "Lisbon"}')] if last["role"] == "user" and "weather" in last["content"] else []

    def answer(body: dict[str, Any]) -> str:
        last = body["messages"][-1]
        if last["role"] == "tool":
            return f"It is {json.loads(last['content'])['sky']}."
        return "" if wants(body) else "Good morning."

    mind.script = Script(answer=answer, calls=wants)
    body = {"instructions": "You tell the weather", "tools": [WEATHER]}
    async with sdk_client() as client:
        await client.do("handle", name="get_weather", result={"sky": "clear"})
        await client.do("start", endpoint=f"{briefed.url}/start", requestData={"transport": "websocket", "body": body})
        await client.until("botStoppedSpeaking")
        since = len(client.seen)
        await client.do("text", content="what is the weather in Lisbon")
        asked = await client.until("llmFunctionCallInProgress", since=since)
        assert (asked["function_name"], asked["arguments"]) == ("get_weather", {"city": "Lisbon"})
        stopped = await client.until("llmFunctionCallStopped", since=since)
        assert stopped["result"] == {"sky": "clear", "given": {"city": "Lisbon"}}
        said = await client.until(
            "serverMessage", lambda d: d["type"] == "ai_text" and d["is_complete"] and d["text"], since=since
        )
        assert said["text"] == "It is clear."
        await client.until("botStoppedSpeaking", since=since)
        messages = mind.requests[-1]["messages"]
        assert messages[0] == {"role": "system", "content": "You tell the weather"}
        assert [m["role"] for m in messages[-3:]] == ["user", "assistant", "tool"]
        assert messages[-2]["tool_calls"][0]["id"] == messages[-1]["tool_call_id"] == asked["tool_call_id"]
        assert [t["function"]["name"] for t in mind.requests[-1]["tools"]] == ["get_weather"]


async def test_a_call_that_nobody_answers_does_not_hold_up_the_next(rtvi_chat, mind, briefed):  # noqa: F811
    def wants(body: dict[str, Any]) -> list[tuple[str, str]]:
        last = body["messages"][-1]
        asked = last["role"] == "user" and last["content"] in ("Lisbon", "Berlin")
        return [("get_weather", json.dumps({"city": last["content"]}))] if asked else []

    def answer(body: dict[str, Any]) -> str:
        last = body["messages"][-1]
        return f"It is {last['content']}." if last["role"] == "tool" else "" if wants(body) else "Good morning."

    mind.script = Script(answer=answer, calls=wants)
    async with httpx.AsyncClient(base_url=briefed.url, trust_env=False) as http:
        body = {"instructions": "You tell the weather", "tools": [WEATHER]}
        started = (await http.post("/start", json={"transport": "websocket", "body": body})).json()
    async with rtvi_chat(briefed, "?" + started["wsUrl"].partition("?")[2]) as chat:
        await chat.until("bot-stopped-speaking")
        await chat.send("send-text", {"content": "Lisbon"})
        first = (await chat.until("llm-function-call-in-progress"))["data"]
        await chat.send("send-text", {"content": "Berlin"})
        stopped = (await chat.until("llm-function-call-stopped"))["data"]
        assert (stopped["tool_call_id"], stopped["cancelled"]) == (first["tool_call_id"], True)
        second = (await chat.until("llm-function-call-in-progress"))["data"]
        assert second["arguments"] == {"city": "Berlin"}
        for asked, result in ((first, "late"), (second, "sunny")):
            named = {"function_name": asked["function_name"], "arguments": asked["arguments"]}
            await chat.send("llm-function-call-result", {**named, "tool_call_id": asked["tool_call_id"], "result": result})
        refused = await chat.until("error-response")
        assert first["tool_call_id"] in refused["data"]["error"]
        await chat.until("server-message", type="ai_text", text="It is sunny.", is_complete=True)


async def test_what_an_engine_cannot_follow_is_refused(server):
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        for body, what in (({"instructions": "be a cat"}, "instructions"), ({"tools": [WEATHER]}, "tools")):
            answer = await http.post("/start", json={"body": body})
            assert answer.status_code == 422
            assert answer.json()["detail"].startswith(what)
