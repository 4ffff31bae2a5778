"""Answers that are data: checked, asked for once more, or refused with a clear line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from agent.tutor import Message
from pipeline.llm.chat import ChatFailed
from pipeline.llm.openai_chat import OpenAIChat
from pipeline.llm.structured import BadAnswer, complete_json
from tests.pipeline.llm.fake_vllm import MODEL, FakeVLLM, Script, serving

ASK: list[Message] = [{"role": "system", "content": "You count."}, {"role": "user", "content": "two teas"}]


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    drink: str
    count: int = Field(ge=1)


GOOD = '{"drink": "tea", "count": 2}'


@pytest.fixture
async def server() -> AsyncIterator[FakeVLLM]:
    async with serving() as fake:
        yield fake


@pytest.fixture
async def chat(server: FakeVLLM) -> AsyncIterator[OpenAIChat]:
    client = OpenAIChat(server.url, model=MODEL)
    yield client
    await client.close()


def in_turn(*answers: str) -> Callable[[dict[str, Any]], str]:
    left = list(answers)
    return lambda _body: left.pop(0)


async def test_schema_is_sent_and_stands_in_the_prompt(server: FakeVLLM, chat: OpenAIChat) -> None:
    server.script = Script(answer=in_turn(GOOD))
    assert await complete_json(chat, ASK, Order) == Order(drink="tea", count=2)
    (request,) = server.requests
    assert request["response_format"]["json_schema"]["schema"] == Order.model_json_schema()
    assert request["temperature"] == 0
    assert json.dumps(Order.model_json_schema(), ensure_ascii=False) in request["messages"][0]["content"]
    assert request["messages"][1] == ASK[1]


@pytest.mark.parametrize("answer", [f"```json\n{GOOD}\n```", f"```\n{GOOD}```", f"<think>Two.</think>\n{GOOD}", f" {GOOD}\n"])
async def test_what_models_put_around_json_is_passed_over(server: FakeVLLM, chat: OpenAIChat, answer: str) -> None:
    server.script = Script(answer=in_turn(answer))
    assert (await complete_json(chat, ASK, Order)).count == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("Two teas, please.", "Invalid JSON"),
        ('{"drink": "tea", "count": 0}', "count: "),
        ('{"drink": "tea"}', "count: "),
        ('{"drink": "tea", "count": 2, "milk": true}', "milk: "),
        ('{"drink": "tea", "cou', "Invalid JSON"),
        ("", "Invalid JSON"),
    ],
)
async def test_answer_that_does_not_fit_is_sent_back_once(server: FakeVLLM, chat: OpenAIChat, bad: str, problem: str) -> None:
    server.script = Script(answer=in_turn(bad, GOOD))
    assert (await complete_json(chat, ASK, Order)).count == 2
    *before, told = server.requests[1]["messages"]
    assert before[:2] == server.requests[0]["messages"]
    assert before[2] == {"role": "assistant", "content": bad}
    assert problem in told["content"]


async def test_two_that_do_not_fit_are_an_error(server: FakeVLLM, chat: OpenAIChat) -> None:
    server.script = Script(answer=in_turn("no", '{"drink": "tea"}'))
    with pytest.raises(BadAnswer, match="gave no Order: count: Field required"):
        await complete_json(chat, ASK, Order)


async def test_server_that_knows_no_schemas_is_asked_without(server: FakeVLLM, chat: OpenAIChat) -> None:
    def answer(body: dict[str, Any]) -> str:
        return GOOD

    server.script = Script(status=422, error_body=b'{"detail": "unexpected field response_format"}')
    plain = OpenAIChat(server.url, model=MODEL, dialect="plain")
    with pytest.raises(ChatFailed):
        await complete_json(plain, ASK, Order)
    assert all("response_format" not in r for r in server.requests)
    refused = len(server.requests)
    with pytest.raises(ChatFailed, match="422"):
        await complete_json(chat, ASK, Order)
    first, second = server.requests[refused:]
    assert "response_format" in first
    assert "response_format" not in second
    server.script = Script(answer=answer)
    assert (await complete_json(plain, ASK, Order)).count == 2
    await plain.close()


async def test_failure_is_no_bad_answer(server: FakeVLLM, chat: OpenAIChat) -> None:
    server.script = Script(status=500)
    with pytest.raises(ChatFailed, match="500"):
        await complete_json(chat, ASK, Order)
    assert len(server.requests) == 1
