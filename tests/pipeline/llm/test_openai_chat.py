"""The client of chat completions against a strict server on a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import psutil
import pytest

from pipeline.brief import AnswerEnd
from pipeline.llm.chat import ChatFailed, ChatRequest, whole
from pipeline.llm.openai_chat import OpenAIChat
from tests.pipeline.llm.fake_vllm import MAX_MODEL_LEN, MODEL, FakeVLLM, Script, serving

ASK = ChatRequest([{"role": "user", "content": "Hello?"}], max_tokens=50)


@pytest.fixture
async def server() -> AsyncIterator[FakeVLLM]:
    async with serving() as fake:
        yield fake


@pytest.fixture
async def chat(server: FakeVLLM) -> AsyncIterator[OpenAIChat]:
    client = OpenAIChat(server.url, model=MODEL, read_timeout_s=1.0)
    yield client
    await client.close()


async def test_answer_comes_in_pieces_and_says_how_long_the_prompt_was(server: FakeVLLM, chat: OpenAIChat) -> None:
    told: list[int] = []
    async with aclosing(chat.stream(replace(ASK, on_prompt_tokens=told.append))) as stream:
        pieces = [piece async for piece in stream]
    assert pieces == ["Hello", " there.", " How", " are", " you?"]
    assert told == [len("Hello?") // 4]
    assert server.finished == 1


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (Script(), AnswerEnd(1, 5)),
        (Script(cached_tokens=1, finish_reason="length"), AnswerEnd(1, 5, 1, cut=True)),
        (Script(garbage_after=2, garbage=b'data: {"choices": [], "usage": "none"}\n\n'), AnswerEnd(1, 5)),
    ],
)
async def test_how_an_answer_ended_is_told(server: FakeVLLM, chat: OpenAIChat, script: Script, end: AnswerEnd) -> None:
    server.script = script
    told: list[AnswerEnd] = []
    await whole(chat, replace(ASK, on_end=told.append))
    assert told == [end]


async def test_of_an_answer_that_broke_off_no_end_is_told(server: FakeVLLM, chat: OpenAIChat) -> None:
    server.script = Script(cut_after=2)
    told: list[AnswerEnd] = []
    with pytest.raises(ChatFailed):
        await whole(chat, replace(ASK, on_end=told.append))
    assert told == []


async def test_request_holds_what_vllm_wants(server: FakeVLLM, chat: OpenAIChat) -> None:
    await whole(chat, replace(ASK, temperature=0.3, top_p=0.8, stop=("Learner:",)))
    assert server.requests == [
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Hello?"}],
            "stream": True,
            "max_tokens": 50,
            "temperature": 0.3,
            "top_p": 0.8,
            "stop": ["Learner:"],
            "stream_options": {"include_usage": True},
            "chat_template_kwargs": {"enable_thinking": False},
        }
    ]


async def test_plain_dialect_sends_nothing_beyond_the_usual(server: FakeVLLM) -> None:
    chat = OpenAIChat(f"{server.url}/v1/", model=MODEL, dialect="plain")
    await whole(chat, replace(ASK, schema={"type": "object"}))
    assert set(server.requests[0]) == {"model", "messages", "stream", "max_tokens", "temperature", "top_p"}
    await chat.close()


async def test_key_is_sent_and_a_wrong_one_refused(server: FakeVLLM) -> None:
    server.key = "right"
    right, wrong = OpenAIChat(server.url, key="right"), OpenAIChat(server.url, key="wrong")
    assert await right.models() == {MODEL: MAX_MODEL_LEN}
    with pytest.raises(ChatFailed, match=r"401.*Unauthorized") as e:
        await whole(wrong, ASK)
    assert not e.value.absent
    await right.close()
    await wrong.close()


async def test_first_listed_model_is_asked_where_none_is_named(server: FakeVLLM) -> None:
    chat = OpenAIChat(server.url)
    await whole(chat, ASK)
    assert server.requests[0]["model"] == MODEL
    await chat.close()


async def test_another_model_is_found_where_none_is_named(server: FakeVLLM) -> None:
    chat = OpenAIChat(server.url)
    await whole(chat, ASK)
    server.models = ["other"]
    with pytest.raises(ChatFailed, match=r"404: The model .* does not exist"):
        await whole(chat, ASK)
    await whole(chat, ASK)
    assert server.requests[-1]["model"] == "other"
    await chat.close()


@pytest.mark.parametrize("text", ["naïve café — 你好", "one\u2028two\x85three", "a <b> c"])
async def test_text_survives_any_cut_of_the_bytes(server: FakeVLLM, chat: OpenAIChat, text: str) -> None:
    server.script = Script(answer=lambda _: text, halves=True)
    assert await whole(chat, ASK) == text


@pytest.mark.parametrize("script", [Script(done=False), Script(finish_reason=None)], ids=["no [DONE]", "no finish_reason"])
async def test_either_sign_of_the_end_is_enough(server: FakeVLLM, chat: OpenAIChat, script: Script) -> None:
    server.script = script
    assert await whole(chat, ASK) == "Hello there. How are you?"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Script(done=False, finish_reason=None), "ended in its middle"),
        (Script(cut_after=2), "broke|ended in its middle"),
        (Script(error_after=2), "EngineCore died"),
        (Script(garbage_after=1), "no answer.*not json"),
        (Script(garbage_after=1, garbage=b"data: [1, 2]\n\n"), "no answer"),
        (Script(garbage_after=1, garbage=b'data: {"choices": [{"delta": "x"}]}\n\n'), "no answer"),
        (Script(garbage_after=1, garbage=b"x" * 1_100_000), "without end"),
        (Script(stall_after=2), "gone silent"),
        (Script(status=400), "400: made to fail"),
        (Script(status=500), "500: made to fail"),
        (Script(status=422, error_body=b'{"detail": "unknown field"}'), "422: unknown field"),
        (Script(status=500, error_body=b"<html>\xff"), "500: '<html>"),
    ],
)
async def test_trouble_is_one_clear_line(server: FakeVLLM, chat: OpenAIChat, script: Script, says: str) -> None:
    server.script = script
    with pytest.raises(ChatFailed, match=says) as e:
        await whole(chat, ASK)
    assert not e.value.absent
    assert "\n" not in str(e.value)
    server.script = Script()
    assert await whole(chat, ASK) == "Hello there. How are you?"


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_server_behind_a_gateway_that_is_gone_is_absent(server: FakeVLLM, chat: OpenAIChat, status: int) -> None:
    server.script = Script(status=status)
    with pytest.raises(ChatFailed) as e:
        await whole(chat, ASK)
    assert e.value.absent


async def test_no_server_is_absent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chat = OpenAIChat(f"http://127.0.0.1:{free.getsockname()[1]}", model=MODEL)
        with pytest.raises(ChatFailed, match="no language model at") as e:
            await whole(chat, ASK)
    assert e.value.absent
    await chat.close()


async def test_giving_up_is_seen_by_the_server(server: FakeVLLM, chat: OpenAIChat) -> None:
    server.script = Script(stall_after=2)
    async with aclosing(chat.stream(ASK)) as stream:
        assert await anext(stream) == "Hello"
        assert server.running == 1
    await server.until(lambda: server.aborted == 1 and server.running == 0)


async def test_cancelling_who_reads_is_seen_by_the_server(server: FakeVLLM, chat: OpenAIChat) -> None:
    server.script = Script(stall_after=0)
    task = asyncio.create_task(whole(chat, ASK))
    await server.until(lambda: server.running == 1)
    task.cancel()
    await asyncio.wait({task})
    await server.until(lambda: server.aborted == 1 and server.running == 0)


async def test_answers_that_were_given_up_leave_no_connection(server: FakeVLLM, chat: OpenAIChat) -> None:
    """Cancelled at every stage: before the connection, while it waits, and in the middle of the text."""
    server.script = Script(delay_s=0.005)
    port = int(server.url.rpartition(":")[2])

    async def given_up_after(steps: int) -> None:
        task = asyncio.create_task(whole(chat, ASK))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    for steps in range(0, 120, 3):
        await given_up_after(steps)
    await server.until(lambda: server.running == 0)
    assert await whole(chat, ASK) == "Hello there. How are you?"
    mine = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port]
    assert len(mine) <= 2, "those that are kept for the next request"


async def test_server_that_was_started_again_is_asked_again() -> None:
    async with serving() as first:
        chat = OpenAIChat(first.url, model=MODEL)
        await whole(chat, ASK)
    # The connection that was kept is of no use to the server that now listens in its place.
    async with serving(int(first.url.rpartition(":")[2])) as second:
        assert await whole(chat, ASK) == "Hello there. How are you?"
        assert second.finished == 1
    with pytest.raises(ChatFailed) as e:
        await whole(chat, ASK)
    assert e.value.absent
    await chat.close()
