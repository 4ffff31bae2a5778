"""OpenAI's Python client against a real server with its embedded engines: events, their order, speech both ways."""

from __future__ import annotations

import asyncio
import audioop
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.running_server import RunningServer
from tests.web.realtime.conftest import Client, session

TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "any"}}}}
ANSWERED = [
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


def said(response: dict[str, Any]) -> str:
    return " ".join(
        part.get("transcript") or part.get("text") or "" for i in response["output"] for part in i.get("content", [])
    )


def messages(server: RunningServer, session_id: str) -> list[tuple[str, str]]:
    """The turns of the record, once the session has ended."""
    path = f"/api/sessions/{session_id.removeprefix('sess_')}"
    kept = server.wait_for(lambda: (s := server.get(path)).get("ended_at") and s, "the session has ended")
    return [(t["role"], t["text"]) for t in kept["turns"]]


async def test_the_tutor_greets_when_it_is_asked_to_and_not_before(client: Client) -> None:
    with pytest.raises(AssertionError):
        await client.until("response.created", timeout_s=2.0)
    response = await client.respond()
    assert response["status"] == "completed"
    assert said(response).startswith("Hello")
    order = [k for i, k in enumerate(client.kinds()) if k in ANSWERED and k not in client.kinds()[:i]]
    assert order == ANSWERED
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    seconds = len(client.audio) / 48_000
    assert usage["output_token_details"]["audio_tokens"] == pytest.approx(seconds * 20, abs=1)


async def test_a_spoken_turn_is_transcribed_and_answered(client: Client, flite_wav: Callable[..., Path]) -> None:
    await client.update(**TRANSCRIBED)
    await client.respond()
    client.speak(flite_wav("my name is anna"))
    started = await client.until("input_audio_buffer.speech_started")
    stopped = await client.until("input_audio_buffer.speech_stopped")
    assert stopped["item_id"] == started["item_id"]
    assert stopped["audio_end_ms"] > started["audio_start_ms"]
    committed = await client.until("input_audio_buffer.committed")
    assert committed["item_id"] == started["item_id"]
    completed = await client.until("conversation.item.input_audio_transcription.completed")
    assert "anna" in completed["transcript"].lower()
    response = (await client.until("response.done"))["response"]
    assert "Anna" in said(response)
    await client.send(type="conversation.item.retrieve", item_id=started["item_id"])
    item = (await client.until("conversation.item.retrieved"))["item"]
    assert item["content"] == [{"type": "input_audio", "audio": None, "transcript": completed["transcript"]}]
    assert client.errors() == []


async def test_the_record_is_that_of_any_call(server: RunningServer) -> None:
    async with session(server.url) as client:
        first = await client.respond()
        await client.type("my name is anna")
        second = await client.respond()
        session_id = client.seen[0]["session"]["id"]
    assert await asyncio.to_thread(messages, server, session_id) == [
        ("tutor", said(first)),
        ("learner", "my name is anna"),
        ("tutor", said(second)),
    ]


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_telephone_formats_both_ways(client: Client, flite_wav: Callable[..., Path], kind: str) -> None:
    encode = audioop.lin2ulaw if kind == "audio/pcmu" else audioop.lin2alaw
    decode = audioop.ulaw2lin if kind == "audio/pcmu" else audioop.alaw2lin
    audio = {"input": {"format": {"type": kind}, **TRANSCRIBED["audio"]["input"]}, "output": {"format": {"type": kind}}}
    in_force = await client.update(audio=audio)
    assert in_force["audio"]["output"]["format"] == {"type": kind}
    await client.respond()
    voice = np.frombuffer(decode(client.audio, 2), np.int16).astype(float)
    assert 1.0 < len(voice) / 8_000 < 12.0
    assert np.sqrt(np.mean(voice**2)) > 300
    client.speak(flite_wav("my name is anna"), rate=8_000, encode=lambda pcm16: encode(pcm16, 2))
    # How well it is understood at 8 kHz is the recogniser's affair (docs/benchmarks.md).
    assert (await client.until("conversation.item.input_audio_transcription.completed"))["transcript"]
    await client.until("response.done")


async def test_without_turn_detection_the_client_commits(client: Client, flite_wav: Callable[..., Path]) -> None:
    audio = {"input": {"turn_detection": None, "transcription": {"model": "any"}}}
    assert (await client.update(audio=audio))["audio"]["input"]["turn_detection"] is None
    await client.respond()
    speaking = client.speak(flite_wav("my name is anna"))
    await asyncio.sleep(2.5)
    speaking.cancel()
    await client.send(type="input_audio_buffer.commit")
    committed = await client.until("input_audio_buffer.committed")
    await client.send(type="response.create")
    completed = await client.until("conversation.item.input_audio_transcription.completed")
    assert completed["item_id"] == committed["item_id"]
    assert "anna" in completed["transcript"].lower()
    assert "Anna" in said((await client.until("response.done"))["response"])
    assert "input_audio_buffer.speech_started" not in client.kinds()
    await client.send(type="input_audio_buffer.commit")
    assert (await client.until("error"))["error"]["code"] == "input_audio_buffer_commit_empty"


async def test_turns_that_the_client_wants_to_answer_itself(client: Client, flite_wav: Callable[..., Path]) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 400, "create_response": False}
    in_force = await client.update(audio={"input": {"turn_detection": detection, "transcription": {"model": "any"}}})
    assert in_force["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 400
    await client.respond()
    client.speak(flite_wav("my name is anna"))
    completed = await client.until("conversation.item.input_audio_transcription.completed")
    assert "anna" in completed["transcript"].lower()
    with pytest.raises(AssertionError):
        await client.until("response.created", timeout_s=2.0)
    assert "Anna" in said(await client.respond())


async def test_turn_detection_changes_in_mid_call(client: Client, flite_wav: Callable[..., Path]) -> None:
    await client.respond()
    detection = {"type": "server_vad", "silence_duration_ms": 300}
    await client.update(audio={"input": {"turn_detection": detection, "transcription": {"model": "any"}}})
    client.speak(flite_wav("my name is anna"))
    assert "Anna" in said((await client.until("response.done"))["response"])
    assert client.errors() == []


async def test_cancelling_keeps_what_was_heard(server: RunningServer) -> None:
    async with session(server.url) as client:
        await client.send(type="response.create")
        while len(client.audio) < 48_000:
            await client.next()
        await client.send(type="response.cancel")
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"]["reason"] == "client_cancelled"
        whole = "".join(e["delta"] for e in client.seen if e["type"] == "response.output_audio_transcript.delta")
        heard = said(response)
        assert heard
        assert whole.startswith(heard)
        assert len(heard) < len(whole)
        await client.send(type="response.cancel")
        assert (await client.until("error"))["error"]["code"] == "response_cancel_not_active"
        session_id = client.seen[0]["session"]["id"]
    assert await asyncio.to_thread(messages, server, session_id) == [("tutor", heard)]


async def test_truncating_cuts_the_conversation_and_the_record(server: RunningServer) -> None:
    async with session(server.url) as client:
        response = await client.respond()
        item = response["output"][0]
        length_ms = len(client.audio) / 48
        await client.send(type="conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=999_999)
        assert "already shorter" in (await client.until("error"))["error"]["message"]
        end_ms = int(length_ms / 2)
        await client.send(type="conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=end_ms)
        truncated = await client.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (item["id"], end_ms)
        await client.send(type="conversation.item.retrieve", item_id=item["id"])
        heard = (await client.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        assert said(response).startswith(heard)
        assert 0.25 < len(heard) / len(said(response)) < 0.75
        session_id = client.seen[0]["session"]["id"]
    assert await asyncio.to_thread(messages, server, session_id) == [("tutor", heard)]


async def test_speaking_over_the_tutor_interrupts_it(server: RunningServer, flite_wav: Callable[..., Path]) -> None:
    async with session(server.url, query={"lesson": "introductions"}) as client:
        await client.update(**TRANSCRIBED)
        await client.send(type="response.create")
        await client.until("response.output_audio.delta")
        client.speak(flite_wav("wait a moment please"))
        await client.until("input_audio_buffer.speech_started")
        first = (await client.until("response.done"))["response"]
        assert first["status"] == "cancelled"
        assert first["status_details"]["reason"] == "turn_detected"
        await client.until("conversation.item.input_audio_transcription.completed")
        answer = (await client.until("response.done"))["response"]
        assert answer["status"] == "completed"


async def test_a_written_answer_has_no_sound(client: Client) -> None:
    await client.update(output_modalities=["text"])
    response = await client.respond()
    assert response["output"][0]["content"][0]["type"] == "output_text"
    assert said(response).startswith("Hello")
    assert client.audio == b""
    assert "response.output_text.delta" in client.kinds()
    await client.type("my name is anna")
    assert "Anna" in said(await client.respond(output_modalities=["audio"]))
    assert len(client.audio) > 24_000
    spoken = len(client.audio)
    await client.type("i am from spain")
    await client.respond()
    assert len(client.audio) == spoken


async def test_only_one_response_at_a_time(client: Client) -> None:
    await client.send(type="response.create")
    await client.until("response.created")
    await client.send(type="response.create", event_id="mine")
    error = (await client.until("error"))["error"]
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "mine")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_speech_as_an_item(client: Client, flite_wav: Callable[..., Path]) -> None:
    from web.talk.wavs import read_wav

    await client.respond()
    audio = base64.b64encode(np.asarray(read_wav(flite_wav("my name is anna"), 24_000)).astype("<i2").tobytes()).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}], "id": "spoken"}
    await client.send(type="conversation.item.create", item=item)
    assert "Anna" in said(await client.respond())


async def test_items_are_deleted_and_keep_their_order(client: Client) -> None:
    first = await client.type("my name is anna")
    second = await client.type("i am from spain")
    await client.send(type="conversation.item.create", previous_item_id="root", item={
        "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "What is your name?"}], "id": "zero"
    })  # fmt: skip
    added = await client.until("conversation.item.added")
    assert added.get("previous_item_id") is None
    await client.send(type="conversation.item.delete", item_id=second["id"])
    assert (await client.until("conversation.item.deleted"))["item_id"] == second["id"]
    await client.send(type="conversation.item.retrieve", item_id=second["id"])
    error = (await client.until("error"))["error"]
    assert error["code"] == "item_not_found"
    third = await client.type("i am a nurse")
    order = [e for e in client.seen if e["type"] == "conversation.item.added"]
    assert order[-1]["item"]["id"] == third["id"]
    assert order[-1]["previous_item_id"] == first["id"]
