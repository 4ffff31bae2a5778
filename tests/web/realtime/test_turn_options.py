"""What a client may want of turn-taking: a response that nobody stops, silences that are answered, one voice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.llm.fake_vllm import FakeVLLM, Script
from tests.running_server import RunningServer
from tests.web.realtime.conftest import Client, session
from tests.web.realtime.test_instructions import echo
from tests.web.realtime.test_openai_client import messages, said
from web.doors.realtime import events as ev
from web.doors.realtime.idle import Silence
from web.doors.realtime.items import Item

SPEECH = "input_audio_buffer.speech_started"


def listening(**detection: Any) -> dict[str, Any]:
    return {"input": {"turn_detection": detection, "transcription": {"model": "any"}}}


async def test_a_voice_that_may_not_interrupt_is_heard_and_answered_by_nobody(
    mind: FakeVLLM, briefed: RunningServer, flite_wav: Callable[..., Path]
) -> None:
    long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen."
    mind.script = Script(answer=lambda body: long if body["messages"][-1]["content"] == "count" else echo(body))
    async with session(briefed.url) as client:
        in_force = await client.update(
            instructions="You are Marco", audio=listening(type="semantic_vad", interrupt_response=False)
        )
        assert in_force["audio"]["input"]["turn_detection"]["interrupt_response"] is False
        await client.type("count")
        await client.send(type="response.create")
        await client.until("response.output_audio.delta")
        client.speak(flite_wav("my name is anna"))
        await client.until(SPEECH)
        over = await client.until("conversation.item.input_audio_transcription.completed")
        response = (await client.until("response.done"))["response"]
        assert (response["status"], said(response)) == ("completed", long)
        # All of its voice was sent, and the voice over it was a turn of its own that is not answered by itself.
        assert "input_audio_buffer.committed" in client.kinds()
        with pytest.raises(AssertionError):
            await client.until("response.created", timeout_s=2.0)
        asked = len(mind.requests)
        assert said(await client.respond()) == f"I am Marco and you said {over['transcript']}."
        assert len(mind.requests) == asked + 1
        kept = [m["content"] for m in mind.requests[-1]["messages"]]
        assert kept == ["You are Marco", "count", long, over["transcript"]]
        # A turn in silence is answered as ever.
        client.speak(flite_wav("i am from spain"))
        heard = await client.until("conversation.item.input_audio_transcription.completed")
        answer = (await client.until("response.done"))["response"]
        assert said(answer) == f"I am Marco and you said {heard['transcript']}."
        assert client.errors() == []
        session_id = client.seen[0]["session"]["id"]
    record = await asyncio.to_thread(messages, briefed, session_id)
    assert sorted(record) == sorted(
        [
            ("learner", "count"),
            ("tutor", long),
            ("learner", over["transcript"]),
            ("tutor", f"I am Marco and you said {over['transcript']}."),
            ("learner", heard["transcript"]),
            ("tutor", said(answer)),
        ]
    )


async def test_interrupting_can_be_allowed_again(server: RunningServer, flite_wav: Callable[..., Path]) -> None:
    async with session(server.url, query={"lesson": "introductions"}) as client:
        await client.update(audio=listening(type="server_vad", interrupt_response=False))
        await client.send(type="input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.update(audio=listening(type="server_vad", interrupt_response=True))
        await client.send(type="response.create")
        await client.until("response.output_audio.delta")
        client.speak(flite_wav("wait a moment please"))
        response = (await client.until("response.done"))["response"]
        assert response["status_details"]["reason"] == "turn_detected"


async def test_a_silence_is_answered_like_a_turn(client: Client) -> None:
    in_force = await client.update(audio=listening(type="server_vad", idle_timeout_ms=5_000))
    assert in_force["audio"]["input"]["turn_detection"]["idle_timeout_ms"] == 5_000
    first = await client.respond()
    triggered = await client.until("input_audio_buffer.timeout_triggered")
    committed = await client.until("input_audio_buffer.committed")
    assert committed["item_id"] == triggered["item_id"]
    assert triggered["audio_end_ms"] >= triggered["audio_start_ms"] >= 0
    second = (await client.until("response.done"))["response"]
    assert second["id"] != first["id"]
    assert said(second)
    assert SPEECH not in client.kinds()
    await client.update(audio=listening(type="server_vad", idle_timeout_ms=None))
    with pytest.raises(AssertionError):
        await client.until("input_audio_buffer.timeout_triggered", timeout_s=6.5)


async def test_a_model_is_told_of_the_silence(mind: FakeVLLM, briefed: RunningServer) -> None:
    async with session(briefed.url) as client:
        await client.update(instructions="Be brief", audio=listening(type="server_vad", idle_timeout_ms=5_000))
        first = await client.respond()
        triggered = await client.until("input_audio_buffer.timeout_triggered")
        await client.until("response.done")
        contents = [m["content"] for m in mind.requests[-1]["messages"]]
        assert contents == ["Be brief", said(first), "[The user is silent.]"]
        await client.send(type="conversation.item.delete", item_id=triggered["item_id"])
        await client.until("conversation.item.deleted")
        session_id = client.seen[0]["session"]["id"]
    assert [role for role, _ in await asyncio.to_thread(messages, briefed, session_id)] == ["tutor", "tutor"]


@pytest.mark.parametrize("idle_timeout_ms", [0, 4_999, 30_001])
async def test_silences_that_are_too_short_or_long_are_refused(client: Client, idle_timeout_ms: int) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": idle_timeout_ms}
    await client.send(type="session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    error = (await client.until("error"))["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "session.audio.input.turn_detection.idle_timeout_ms")


def test_silence_counts_from_the_end_of_a_response_until_something_is_said() -> None:
    silence = Silence()
    assert silence.due_s(5.0) is None
    done = ev.ResponseDone(response={"conversation_id": "conv_1"})
    silence.tell([done], 10.0)
    assert silence.due_s(5.0) == 15.0
    assert silence.due_s(None) is None
    silence.tell(
        [ev.ResponseCreated(response={"conversation_id": None}), ev.ResponseDone(response={"conversation_id": None})], 12.0
    )
    assert silence.due_s(5.0) == 15.0
    item = Item()
    for said_ in (
        ev.SpeechStarted(audio_start_ms=0, item_id=item.id),
        ev.Committed(previous_item_id=None, item_id=item.id),
        ev.ResponseCreated(response={"conversation_id": "conv_1"}),
    ):
        silence.tell([done], 20.0)
        silence.tell([said_], 21.0)
        assert silence.due_s(5.0) is None


async def test_the_voice_has_one_name_once_it_was_heard(client: Client) -> None:
    before = await client.update(audio={"output": {"voice": "marin"}})
    await client.update(audio={"output": {"voice": "cedar"}})
    await client.respond()
    await client.send(type="session.update", session={"type": "realtime", "audio": {"output": {"voice": "marin"}}})
    error = (await client.until("error"))["error"]
    assert (error["code"], error["param"]) == ("cannot_update_voice", "session.audio.output.voice")
    assert (await client.update(audio={"output": {"voice": "cedar"}}))["audio"] == before["audio"]
