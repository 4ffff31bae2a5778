"""The tutor's stage over a strict stand-in for vLLM: what it asks, what it says, and how it stops."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from pipecat.frames.frames import LLMFullResponseEndFrame, LLMFullResponseStartFrame

from agent.lessons import load_lessons
from agent.prompting import BEGIN, SILENT
from agent.record import Correction
from agent.tutor import Message
from pipeline.llm.openai_chat import OpenAIChat
from pipeline.llm.tutor_service import TutorLLMService, TutorTerms
from pipeline.options import CallOptions
from pipeline.speculation import WithdrawnFrame
from tests.pipeline.llm.fake_vllm import MODEL, FakeVLLM, Script, serving
from tests.pipeline.llm.tutoring import Tutoring, tutoring

HELLO: Message = {"role": "user", "content": "Hello, I am Ana."}


@pytest.fixture
async def server() -> AsyncIterator[FakeVLLM]:
    async with serving() as fake:
        yield fake


@pytest.fixture
def terms() -> TutorTerms:
    return TutorTerms(load_lessons(), max_model_len=4096)


@pytest.fixture
async def tutor(server: FakeVLLM, terms: TutorTerms) -> AsyncIterator[Tutoring]:
    chat = OpenAIChat(server.url, model=MODEL, read_timeout_s=2.0)
    async with tutoring(lambda call: TutorLLMService(chat, terms, call)) as running:
        yield running
    await chat.close()


async def test_answer_streams_between_its_frames(tutor: Tutoring) -> None:
    assert await tutor.answer([HELLO]) == "Hello there. How are you?"
    kinds = [type(f).__name__ for f in tutor.out.frames if type(f).__name__.startswith("LLM")]
    assert kinds[0] == "LLMServiceMetadataFrame", "at the start of the call"
    assert kinds[1:] == ["LLMFullResponseStartFrame", *["LLMTextFrame"] * 5, "LLMFullResponseEndFrame"]
    assert not tutor.errors


async def test_greeting_of_an_empty_conversation(tutor: Tutoring, server: FakeVLLM) -> None:
    await tutor.answer([])
    system, begin = server.requests[0]["messages"]
    assert system["role"] == "system"
    assert begin == {"role": "user", "content": BEGIN}


async def test_what_the_learner_has_set_holds_from_the_next_answer(tutor: Tutoring, server: FakeVLLM) -> None:
    await tutor.answer([HELLO])
    tutor.call.options = CallOptions(temperature=0.1, max_tokens=33)
    tutor.call.level, tutor.call.lesson = "advanced", "opinions"
    await tutor.answer([HELLO])
    first, second = server.requests
    assert (first["temperature"], first["max_tokens"]) == (0.7, 200)
    assert (second["temperature"], second["max_tokens"]) == (0.1, 33)
    assert "(CEFR A1 to A2)" in first["messages"][0]["content"]
    assert "(CEFR C1 to C2)" in second["messages"][0]["content"]
    assert load_lessons()["opinions"].title in second["messages"][0]["content"]


async def test_request_begins_as_the_one_before(tutor: Tutoring, server: FakeVLLM) -> None:
    talk: list[Message] = []
    for i in range(4):
        talk += [{"role": "assistant", "content": await tutor.answer(talk)}, {"role": "user", "content": f"Turn {i}."}]
    sent = [r["messages"] for r in server.requests]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(sent))


async def test_silence_is_told_and_leaves_no_trace(tutor: Tutoring, server: FakeVLLM) -> None:
    talk: list[Message] = [{"role": "assistant", "content": "How are you?"}]
    await tutor.answer(talk)
    await tutor.answer([*talk, HELLO])
    assert server.requests[0]["messages"][-1]["content"] == SILENT
    assert SILENT not in json.dumps(server.requests[1])


async def test_thoughts_and_marks_are_not_spoken_and_the_end_is_told(tutor: Tutoring, server: FakeVLLM) -> None:
    await tutor.answer([HELLO])
    server.script = Script(answer=lambda _: "<think>\nShe wants to go.\n</think>\n\nGoodbye, Ana! <end> And then")
    assert (await tutor.answer([HELLO])).strip() == "Goodbye, Ana!"
    assert [r.done for r in tutor.replies] == [False, True]
    assert tutor.replies[1].text == "Goodbye, Ana!"
    assert not any(r.expected or r.careful or r.suggestions for r in tutor.replies)


@pytest.mark.parametrize("withdrawn", [False, True], ids=["interruption", "withdrawn guess"])
async def test_interruption_aborts_the_request(tutor: Tutoring, server: FakeVLLM, withdrawn: bool) -> None:
    server.script = Script(stall_after=2)
    await tutor.ask([HELLO], speculation=withdrawn)
    await tutor.until(lambda: tutor.text == "Hello there.")
    await tutor.interrupt(WithdrawnFrame() if withdrawn else None)
    await server.until(lambda: server.aborted == 1 and server.running == 0)
    assert tutor.count(LLMFullResponseStartFrame) == 1
    assert tutor.count(LLMFullResponseEndFrame) == 0
    assert not tutor.replies
    server.script = Script()
    assert await tutor.answer([HELLO]) == "Hello there. How are you?"
    assert not tutor.errors


async def test_end_of_the_call_aborts_the_request(server: FakeVLLM, terms: TutorTerms) -> None:
    server.script = Script(stall_after=2)
    chat = OpenAIChat(server.url, model=MODEL)
    async with tutoring(lambda call: TutorLLMService(chat, terms, call)) as tutor:
        await tutor.ask([HELLO])
        await tutor.until(lambda: tutor.text == "Hello there.")
    await server.until(lambda: server.aborted == 1 and server.running == 0)
    await chat.close()


@pytest.mark.parametrize(
    ("script", "said", "error"),
    [
        (Script(status=500), "", "500"),
        (Script(status=401, error_body=b'{"error": "Unauthorized"}'), "", "401: Unauthorized"),
        (Script(cut_after=2), "Hello there.", "broke|ended in its middle"),
        (Script(stall_after=2), "Hello there.", "gone silent"),
        (Script(garbage_after=2), "Hello there.", "no answer"),
    ],
)
async def test_failure_is_an_error_frame_and_the_next_answer_comes(
    tutor: Tutoring, server: FakeVLLM, script: Script, said: str, error: str
) -> None:
    server.script = script
    assert await tutor.answer([HELLO]) == said
    await tutor.until(lambda: bool(tutor.errors))
    (frame,) = tutor.errors
    assert re.search(error, frame.error)
    assert isinstance(frame.processor, TutorLLMService)
    assert frame.processor.is_usable
    server.script = Script()
    assert await tutor.answer([HELLO]) == "Hello there. How are you?"


def notes_or_answer(body: dict[str, Any]) -> str:
    return "Notes: Ana likes tea." if body["messages"][0]["content"].startswith("You keep the notes") else "I see. And then?"


def long_talk(turns: int) -> list[Message]:
    talk: list[Message] = []
    for i in range(turns):
        talk += [
            {"role": "assistant", "content": f"Question {i}: what did you do then, and why?"},
            {"role": "user", "content": f"Answer {i}: " + "I went to the market and bought a lot of things. " * 3},
        ]
    return talk


async def test_long_conversation_is_kept_under_the_models_length(server: FakeVLLM) -> None:
    """Notes are asked for beside the answer, which does not wait for them; later requests hold them in place of old turns."""
    length = 2600
    server.script = Script(answer=notes_or_answer)
    chat = OpenAIChat(server.url, model=MODEL)
    async with tutoring(lambda call: TutorLLMService(chat, TutorTerms(load_lessons(), length), call)) as tutor:
        turns = 0
        while not any("[Notes of the call so far" in r["messages"][1]["content"] for r in server.requests):
            turns += 1
            assert turns < 60
            assert await tutor.answer(long_talk(turns)) == "I see. And then?"
            await server.until(lambda: server.running == 0)
        noted = server.requests[-1]["messages"]
        assert "Notes: Ana likes tea." in noted[1]["content"]
        assert long_talk(turns)[-1]["content"].strip() in noted[-1]["content"]
        for _ in range(20):
            turns += 1
            await tutor.answer(long_talk(turns))
    for request in server.requests:
        # The stand-in counts a token for four characters.
        assert sum(len(m["content"]) for m in request["messages"]) / 4 + request["max_tokens"] <= length
    assert not tutor.errors
    await chat.close()


async def test_answer_does_not_wait_for_notes_that_never_come(server: FakeVLLM) -> None:
    stuck: list[int] = []

    def answer(body: dict[str, Any]) -> str:
        if body["messages"][0]["content"].startswith("You keep the notes"):
            stuck.append(1)
            server.script = Script(answer=answer)
            return "n " * 3000
        return "I see."

    server.script = Script(answer=answer, delay_s=0.01)
    chat = OpenAIChat(server.url, model=MODEL)
    async with tutoring(lambda call: TutorLLMService(chat, TutorTerms(load_lessons(), 2600), call)) as tutor:
        for turns in range(1, 40):
            assert await tutor.answer(long_talk(turns)) == "I see."
        assert stuck == [1], "one request for notes at a time"
    await server.until(lambda: server.running == 0)
    assert server.aborted == 1, "the call's end gives it up"
    await chat.close()


async def test_no_room_for_a_conversation_is_an_error(server: FakeVLLM) -> None:
    chat = OpenAIChat(server.url, model=MODEL)
    async with tutoring(lambda call: TutorLLMService(chat, TutorTerms(load_lessons(), 600), call)) as tutor:
        assert await tutor.answer([HELLO]) == ""
        await tutor.until(lambda: bool(tutor.errors))
    assert "no room" in tutor.errors[0].error
    await chat.close()


def corrected(*found: tuple[str, str]) -> str:
    items = [{"original": o, "correction": c, "explanation": "So it is said."} for o, c in found]
    return json.dumps({"corrections": items})


async def test_corrections_come_after_the_answer(server: FakeVLLM) -> None:
    def answer(body: dict[str, Any]) -> str:
        if "response_format" not in body:
            return "You like tea! And coffee?"
        return corrected(("I am like", "I like"), ("not said", "never said"), ("tea", "tea"))

    server.script = Script(answer=answer)
    chat = OpenAIChat(server.url, model=MODEL)
    terms = TutorTerms(load_lessons(), corrections=True)
    async with tutoring(lambda call: TutorLLMService(chat, terms, call)) as tutor:
        await tutor.answer([{"role": "user", "content": "i am like tea"}])
        await tutor.until(lambda: len(tutor.replies) == 2)
    first, second = tutor.replies
    assert not first.corrections
    assert list(second.corrections) == [Correction("I am like", "I like", "So it is said.")]
    assert second.text == first.text
    await chat.close()


async def test_corrections_of_a_withdrawn_guess_are_given_up(server: FakeVLLM) -> None:
    release = asyncio.Event()

    def answer(body: dict[str, Any]) -> str:
        if "response_format" in body:
            release.set()
            return "x " * 3000
        return "You like tea!"

    server.script = Script(answer=answer, delay_s=0.01)
    chat = OpenAIChat(server.url, model=MODEL)
    terms = TutorTerms(load_lessons(), corrections=True)
    async with tutoring(lambda call: TutorLLMService(chat, terms, call)) as tutor:
        await tutor.answer([{"role": "user", "content": "i am like tea"}])
        await asyncio.wait_for(release.wait(), 10)
        await tutor.interrupt(WithdrawnFrame())
        await server.until(lambda: server.aborted == 1 and server.running == 0)
        assert len(tutor.replies) == 1
    await chat.close()
