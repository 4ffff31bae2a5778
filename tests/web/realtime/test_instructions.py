"""An assistant that is what its client says, on a stand-in for vLLM's server that shows what the model is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pipeline.llm.fake_vllm import FakeVLLM, Script
from tests.running_server import RunningServer
from tests.web.realtime.conftest import Client, session
from tests.web.realtime.test_openai_client import messages, said

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def echo(body: dict[str, Any]) -> str:
    """Who the model was told to be, and what it heard last."""
    asked = body["messages"]
    return f"I am {asked[0]['content'].split()[-1]} and you said {asked[-1]['content']}."


async def test_instructions_take_the_tutors_place(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo)
    async with session(briefed.url) as client:
        in_force = await client.update(instructions="You are a waiter called Marco", max_output_tokens=77)
        assert in_force["instructions"] == "You are a waiter called Marco"
        assert said(await client.respond()) == "I am Marco and you said [The call begins.]."
        await client.type("a table for two")
        assert said(await client.respond()) == "I am Marco and you said a table for two."
        assert mind.requests[-1]["max_tokens"] == 77
        assert [m["role"] for m in mind.requests[-1]["messages"]] == ["system", "assistant", "user"]
        once = await client.respond(instructions="For once you are Luigi", metadata={"why": "a test"})
        assert said(once).startswith("I am Luigi")
        assert once["metadata"] == {"why": "a test"}
        await client.type("are you back")
        assert said(await client.respond()).startswith("I am Marco")
        await client.send(
            type="conversation.item.create",
            item={"type": "message", "role": "system", "content": [{"type": "input_text", "text": "The kitchen is closed."}]},
        )
        await client.until("conversation.item.done")
        await client.respond()
        assert mind.requests[-1]["messages"][-1] == {"role": "system", "content": "The kitchen is closed."}
        assert client.errors() == []


async def test_a_written_answer_that_is_cancelled_was_read_as_far_as_it_came(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=lambda _: "One two three four five six seven eight nine ten.", delay_s=0.2)
    async with session(briefed.url) as client:
        await client.update(instructions="Count", output_modalities=["text"])
        await client.send(type="response.create")
        for _ in range(3):
            await client.until("response.output_text.delta")
        await client.send(type="response.cancel")
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "cancelled"
        assert said(response).startswith("One two")
        assert "ten" not in said(response)
        mind.script = Script()
        await client.type("go on")
        await client.respond()
        assert mind.requests[-1]["messages"][1] == {"role": "assistant", "content": said(response)}


async def test_what_was_truncated_the_model_does_not_see(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=lambda _: "One two three four five six seven eight nine ten.")
    async with session(briefed.url) as client:
        await client.update(instructions="Count")
        response = await client.respond()
        item = response["output"][0]["id"]
        end_ms = len(client.audio) // 48 // 2
        await client.send(type="conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=end_ms)
        await client.until("conversation.item.truncated")
        await client.type("go on")
        await client.respond()
        kept = mind.requests[-1]["messages"][1]
        assert kept["role"] == "assistant"
        assert kept["content"].startswith("One two")
        assert "nine" not in kept["content"]
        await client.send(type="conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
        await client.until("conversation.item.truncated")
        await client.type("again")
        await client.respond()
        assert [m["role"] for m in mind.requests[-1]["messages"]][:2] == ["system", "user"]


async def test_items_stand_where_the_client_puts_them(mind: FakeVLLM, briefed: RunningServer) -> None:
    async with session(briefed.url) as client:
        await client.update(instructions="Be brief")
        one = await client.type("one")
        await client.type("three")
        await client.type("two", previous_item_id=one["id"])
        zero = await client.type("zero", previous_item_id="root")
        await client.respond()
        assert [m["content"] for m in mind.requests[-1]["messages"][1:]] == ["zero", "one", "two", "three"]
        await client.send(type="conversation.item.delete", item_id=zero["id"])
        await client.until("conversation.item.deleted")
        await client.type("four")
        await client.respond()
        contents = [m["content"] for m in mind.requests[-1]["messages"][1:]]
        assert contents == ["one", "two", "three", "Hello there. How are you?", "four"]


async def test_functions_are_run_by_the_client(mind: FakeVLLM, briefed: RunningServer) -> None:
    def wants(body: dict[str, Any]) -> list[tuple[str, str]]:
        return [] if body["messages"][-1]["role"] == "tool" else [("get_weather", '{"city": "Lisbon"}')]

    def answer(body: dict[str, Any]) -> str:
        last = body["messages"][-1]
        return f"It is {json.loads(last['content'])['sky']}." if last["role"] == "tool" else ""

    mind.script = Script(answer=answer, calls=wants)
    async with session(briefed.url) as client:
        in_force = await client.update(tools=[WEATHER], tool_choice="auto", instructions="You tell the weather")
        assert in_force["tools"] == [WEATHER]
        await client.type("what is the weather in Lisbon")
        response = await client.respond()
        (call,) = response["output"]
        assert (call["type"], call["name"], json.loads(call["arguments"])) == (
            "function_call",
            "get_weather",
            {"city": "Lisbon"},
        )
        assert mind.requests[-1]["tools"][0]["function"]["name"] == "get_weather"
        done = [e for e in client.seen if e["type"] == "response.function_call_arguments.done"]
        assert done[0]["call_id"] == call["call_id"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"sky": "clear"}'}
        await client.send(type="conversation.item.create", item=output)
        assert said(await client.respond()) == "It is clear."
        asked = mind.requests[-1]["messages"]
        assert [m["role"] for m in asked] == ["system", "user", "assistant", "tool"]
        assert asked[2]["tool_calls"][0]["id"] == asked[3]["tool_call_id"] == call["call_id"]
        session_id = client.seen[0]["session"]["id"]
        assert client.errors() == []
    assert await asyncio.to_thread(messages, briefed, session_id) == [
        ("learner", "what is the weather in Lisbon"),
        ("tutor", "It is clear."),
    ]


async def test_words_and_a_call_in_one_response(mind: FakeVLLM, briefed: RunningServer, flite_wav: Callable[..., Path]) -> None:
    mind.script = Script(
        answer=lambda body: "It rains." if body["messages"][-1]["role"] == "tool" else "Let me see.",
        calls=lambda body: [] if body["messages"][-1]["role"] == "tool" else [("get_weather", "{}")],
    )
    async with session(briefed.url) as client:
        await client.update(tools=[WEATHER], instructions="You tell the weather")
        client.speak(flite_wav("my name is anna"))  # an answer that may be begun before the turn is over
        response = (await client.until("response.done"))["response"]
        client.hush()
        assert [i["type"] for i in response["output"]] == ["message", "function_call"]
        assert said(response) == "Let me see."
        call = response["output"][1]
        await client.send(
            type="conversation.item.create",
            item={"type": "function_call_output", "call_id": call["call_id"], "output": "rain"},
        )
        assert said(await client.respond()) == "It rains."
        asked = mind.requests[-1]["messages"]
        assert [m["role"] for m in asked] == ["system", "user", "assistant", "tool"]
        assert asked[2]["content"] == "Let me see."


async def test_eight_sessions_at_once_hear_nothing_of_each_other(mind: FakeVLLM, briefed: RunningServer) -> None:
    mind.script = Script(answer=echo, delay_s=0.02)
    names = [f"Agent{n}{n}" for n in range(8)]

    async def talk(name: str) -> list[str]:
        async with session(briefed.url) as client:
            await client.update(instructions=f"You are {name}")
            answers = []
            for turn in range(3):
                await client.type(f"{name} turn {turn}")
                answers.append(said(await client.respond()))
            text = json.dumps(client.seen)
            assert name in text
            assert not [other for other in names if other != name and other in text]
            return answers

    results = await asyncio.gather(*(talk(name) for name in names))
    for name, answers in zip(names, results, strict=True):
        assert answers == [f"I am {name} and you said {name} turn {turn}." for turn in range(3)]
    for request in mind.requests:
        text = json.dumps(request["messages"])
        assert len([name for name in names if name in text]) == 1


async def test_the_scripted_tutor_says_that_it_follows_nobody(client: Client) -> None:
    for session_, param in (
        ({"instructions": "You are a pirate"}, "session.instructions"),
        ({"tools": [WEATHER]}, "session.tools"),
        ({"max_output_tokens": 100}, "session.max_output_tokens"),
    ):
        await client.send(type="session.update", session={"type": "realtime", **session_}, event_id="wish")
        error = (await client.until("error"))["error"]
        assert (error["code"], error["param"], error["event_id"]) == ("unsupported_parameter", param, "wish")
    await client.send(
        type="conversation.item.create",
        item={"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be rude."}]},
    )
    assert (await client.until("error"))["error"]["param"] == "item.role"
    assert (await client.update(instructions=""))["instructions"] == ""
    assert said(await client.respond()).startswith("Hello")
