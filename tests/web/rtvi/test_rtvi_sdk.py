"""The released client SDK (client-js with its WebSocket transport) in Node, against a real server with the embedded engines."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from tests.running_server import RunningServer


def socket_of(server: RunningServer, query: str = "") -> dict[str, str]:
    return {"wsUrl": f"ws://127.0.0.1:{server.port}/ws/rtvi{query}"}


async def test_sdk_connects_unchanged_and_holds_a_call(sdk_client, server, flite_wav):
    """Through /start: greeting, a spoken turn, a typed one, what the page's events are made of, and the end."""
    async with sdk_client() as client:
        ready = await client.do(
            "start",
            endpoint=f"{server.url}/start",
            requestData={"transport": "websocket", "body": {"level": "beginner", "lesson": "introductions"}},
        )
        assert ready["about"]["library"] == "pipecat-ai"
        hello = await client.until("serverMessage", client.server_message("connected"))
        assert (hello["level"], hello["lesson"]) == ("beginner", "introductions")
        await client.until("botStoppedSpeaking")
        order = ["botReady", "botLlmStarted", "botLlmText", "botLlmStopped", "botStartedSpeaking", "botStoppedSpeaking"]
        places = [client.kinds().index(kind) for kind in order]
        assert places[:4] == sorted(places[:4])
        assert places[4] < places[5]
        greeting = "".join(data["text"] for kind, data in client.seen if kind == "botLlmText")
        assert greeting == (await client.until("serverMessage", lambda d: d["type"] == "ai_text" and d["is_complete"]))["text"]
        assert await client.do("heard") > 24_000

        since = len(client.seen)
        await client.say(flite_wav("my name is anna"))
        final = await client.until("userTranscript", lambda data: data["final"], since=since)
        assert "name" in final["text"]
        await client.until("userStoppedSpeaking", since=since)
        await client.until("botStartedSpeaking", since=since)
        metrics = await client.until("metrics", since=since)
        assert {row["processor"] for row in metrics["ttfb"]} >= {"llm", "tts"}
        kinds = client.kinds(since)
        assert kinds.index("userStartedSpeaking") < kinds.index("userStoppedSpeaking") < kinds.index("botStartedSpeaking")

        await client.until("botStoppedSpeaking", since=since)
        since = len(client.seen)
        await client.do("text", content="I am from Spain.")
        await client.until("botLlmStarted", since=since)
        assert (await client.do("request", t="ping"))["type"] == "pong"
        await client.do("disconnectBot")
        report = await client.until("serverMessage", client.server_message("analysis"), since=since)
        assert "final_score" in report["data"]
    said = [t["text"] for t in server.get(f"/api/sessions/{hello['session_id']}")["turns"] if t["role"] == "learner"]
    assert len(said) == 2
    assert said[1] == "I am from Spain."


async def test_learner_interrupts_and_goes_on(sdk_client, server, flite_wav):
    async with sdk_client() as client:
        await client.do("connect", params=socket_of(server, "?level=beginner&lesson=introductions"))
        await client.until("botStoppedSpeaking")
        since = len(client.seen)
        await client.do("text", content="My name is Anna.")
        await client.until("botStartedSpeaking", since=since)
        await client.say(flite_wav("wait a moment please I want to ask something"))
        interrupted = await client.until("serverMessage", client.server_message("interrupted"))
        whole = await client.until("serverMessage", lambda d: d["type"] == "ai_text" and d["is_complete"], since=since)
        whole = whole["text"]
        assert whole.startswith(interrupted["text"].rstrip(".!?… "))
        assert len(interrupted["text"]) < len(whole)
        await client.until("userTranscript", lambda data: data["final"], since=since)
        await client.do("disconnect")
        assert "disconnected" in client.kinds()
    server.wait_for(lambda: server.get("/status")["active_calls"] == 0, "no call is left")


async def test_refusals_reach_the_sdks_caller(sdk_client, server):
    async with sdk_client() as client:
        with pytest.raises(RuntimeError, match="nowhere"):
            await client.do(
                "start", endpoint=f"{server.url}/start", requestData={"transport": "websocket", "body": {"lesson": "nowhere"}}
            )
    async with sdk_client() as client:
        await client.do("connect", params=socket_of(server))
        with pytest.raises(RuntimeError, match="unknown message type"):
            await client.do("request", t="dance")


async def test_answer_that_is_only_written(sdk_client, server):
    async with sdk_client() as client:
        await client.do("connect", params=socket_of(server, "?lesson=introductions"))
        await client.until("botStoppedSpeaking")
        since, heard = len(client.seen), await client.do("heard")
        await client.do("text", content="My name is Anna.", options={"run_immediately": True, "audio_response": False})
        await client.until("botLlmStopped", since=since)
        await client.until("serverMessage", client.server_message("turn_complete"), since=since)
        assert await client.do("heard") == heard
        since = len(client.seen)
        await client.do("text", content="I am from Spain.")
        await client.until("botStartedSpeaking", since=since)


async def test_eight_at_once_with_words_of_their_own(sdk_client, server):
    names = ["Anna", "Ben", "Carla", "David", "Emma", "Frank", "Greta", "Henry"]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(sdk_client()) for _ in names]
        await asyncio.gather(*(c.do("connect", params=socket_of(server, "?lesson=introductions")) for c in clients))
        await asyncio.gather(*(c.until("botStoppedSpeaking") for c in clients))
        await asyncio.gather(*(c.do("text", content=f"My name is {n}.") for c, n in zip(clients, names, strict=True)))
        await asyncio.gather(*(c.until("botStoppedSpeaking", since=c.kinds().index("botStoppedSpeaking") + 1) for c in clients))
        for client, name in zip(clients, names, strict=True):
            told = json.dumps([data for kind, data in client.seen if kind == "serverMessage"])
            assert name in told
            assert not any(other in told for other in names if other != name)
        await asyncio.gather(*(c.do("disconnectBot") for c in clients))
        await asyncio.gather(*(c.until("serverMessage", c.server_message("analysis")) for c in clients))
