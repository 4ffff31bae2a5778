"""Data channels of calls over WebRTC under random conversations, plain, in RTVI, and with events of the Realtime API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline.messages import ServerMessage
from pipeline.transports.webrtc import MESSAGES, STRIKES
from tests.running_server import RunningServer
from tests.web.abuse.messages import texts, values
from tests.web.rtvi.conftest import READY
from tests.web.rtvi.test_rtvi_fuzz import texts as rtvi_texts
from tests.web.test_webrtc_door import Peer

pytestmark = pytest.mark.leaves_running(reason="the server starts its process for reports anew when one has taken too long")
WITHIN_S = 60.0
_ours: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)
# Each example is a whole call, with ICE and DTLS.
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
binaries = st.binary(max_size=700)
Said = Sequence[str | bytes]


class Chat:
    """One call and what is told over its channel."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.told: list[dict[str, Any]] = []
        self.opened, self.closed, self.news = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.peer.channel.on("open", self.opened.set)
        self.peer.channel.on("close", self._over)
        self.peer.pc.on("connectionstatechange", self._changed)
        self.peer.channel.on("message", self._heard)

    def _over(self) -> None:
        self.closed.set()
        self.news.set()

    def _changed(self) -> None:
        if self.peer.pc.connectionState in ("closed", "failed"):
            self._over()

    def _heard(self, raw: str | bytes) -> None:
        assert isinstance(raw, str)
        self.told.append(json.loads(raw))
        self.news.set()

    async def connect(self, server: RunningServer, *, realtime: bool = False) -> Chat:
        async with httpx.AsyncClient(base_url=server.url, timeout=WITHIN_S, trust_env=False) as http:
            offer = await self.peer.offer()
            if realtime:
                sent = await http.post("/v1/realtime/calls", content=offer["sdp"], headers={"Content-Type": "application/sdp"})
                assert sent.status_code == 201, sent.text
                await self.peer.accept({"sdp": sent.text, "type": "answer"})
            else:
                sent = await http.post("/api/offer", json=offer)
                assert sent.status_code == 200, sent.text
                await self.peer.accept(sent.json())
        await asyncio.wait_for(self.opened.wait(), WITHIN_S)
        return self

    def say(self, raw: str | bytes) -> bool:
        """False: the server has hung up."""
        if self.closed.is_set() or self.peer.channel.readyState != "open":
            return False
        self.peer.channel.send(raw)
        return True

    async def until(self, answer: Any) -> bool:
        """Wait for a message of which ``answer`` is true; false where the server hangs up before."""
        async with asyncio.timeout(WITHIN_S):
            while not any(answer(m) for m in self.told):
                if self.closed.is_set():
                    return False
                self.news.clear()
                await self.news.wait()
        return True


def asks_to_end(raw: str | bytes) -> bool:
    return isinstance(raw, str) and ("end_conversation" in raw or "disconnect-bot" in raw)


async def hold(server: RunningServer, said: Said, ping: str, is_pong: Any, *, realtime: bool = False) -> list[dict[str, Any]]:
    """Say all of it, and then ``ping``, which is answered unless the client was hung up on, for a reason. What was told."""
    chat = Chat()
    try:
        await chat.connect(server, realtime=realtime)
        spoke = [chat.say(raw) for raw in said]
        answered = all(spoke) and chat.say(ping) and await chat.until(is_pong)
        assert answered or len(said) > STRIKES or any(asks_to_end(raw) for raw in said), chat.told[-5:]
        return chat.told
    finally:
        await chat.peer.close()


def payload(message: dict[str, Any]) -> dict[str, Any]:
    """Our own message, which RTVI packs into another one."""
    if message.get("label") != "rtvi-ai":
        return message
    data: dict[str, Any] = message.get("data") or {}
    return data if message["type"] == "server-message" else {}


def is_pong(message: dict[str, Any]) -> bool:
    return payload(message).get("type") == "pong"


def assert_in_the_protocol(told: list[dict[str, Any]]) -> None:
    for message in told:
        own = payload(message)
        if own:
            answer = _ours.validate_python(own)
            if answer.type == "error":
                assert 0 < len(answer.message) < 1_000
        else:
            assert isinstance(message["type"], str)


@few
@given(said=st.lists(texts() | binaries, max_size=25))
def test_any_plain_conversation_is_answered(nothing_broke, said):
    assert_in_the_protocol(asyncio.run(hold(nothing_broke, said, '{"type":"ping"}', is_pong)))


@few
@given(said=st.lists(rtvi_texts | binaries | texts(), max_size=25))
def test_any_conversation_in_rtvi_is_answered(nothing_broke, said):
    hello = json.dumps({"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": READY})
    ping = json.dumps({"label": "rtvi-ai", "type": "client-message", "id": "last", "data": {"t": "ping"}})
    assert_in_the_protocol(asyncio.run(hold(nothing_broke, [hello, *said], ping, is_pong)))


KINDS = [
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "output_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.truncate",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
]
FIELDS = ["event_id", "session", "audio", "item", "item_id", "previous_item_id", "content_index", "audio_end_ms", "response"]
events = st.builds(
    lambda kind, fields: json.dumps({"type": kind, **fields}),
    st.sampled_from(KINDS) | values,
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), values, max_size=4),
)


@few
@given(said=st.lists(events | texts() | binaries, max_size=25))
def test_any_events_over_webrtc_are_answered(nothing_broke, said):
    last = json.dumps({"type": "conversation.item.retrieve", "item_id": "nobody", "event_id": "last"})

    def answered(event: dict[str, Any]) -> bool:
        return event["type"] == "error" and event["error"]["event_id"] == "last"

    told = asyncio.run(hold(nothing_broke, said, last, answered, realtime=True))
    assert told[0]["type"] == "session.created"
    for event in told:
        assert isinstance(event["type"], str)
        if event["type"] == "error":
            assert 0 < len(event["error"]["message"]) < 1_000


@pytest.mark.parametrize("message", ["{", '{"type":"ping"}'], ids=["bad", "good"])
async def test_a_flood_is_hung_up_on_and_the_next_call_is_as_good_as_ever(nothing_broke, message):
    chat = await Chat().connect(nothing_broke)
    try:
        sent = 0
        async with asyncio.timeout(WITHIN_S):
            while chat.say(message):
                sent += 1
                if sent % 50 == 0:
                    await asyncio.sleep(0.05)
        assert sent > (STRIKES if message == "{" else MESSAGES)
        errors = [m["message"] for m in chat.told if m["type"] == "error"]
        assert errors[-1] == "too many bad messages"
        assert ("JSON" if message == "{" else "a second are allowed") in errors[0]
    finally:
        await chat.peer.close()
    assert await hold(nothing_broke, [], '{"type":"ping"}', is_pong)
