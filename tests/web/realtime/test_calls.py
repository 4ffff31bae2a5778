"""``POST /v1/realtime/calls``: a real peer connection over loopback, with events over its data channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from tests.running_server import RunningServer
from tests.web.realtime import openai_types

LIVENESS_S = 30.0


class Peer:
    """A page's part: a silent microphone, and the channel."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection()
        self.channel = self.pc.createDataChannel("oai-events")
        self.pc.addTrack(AudioStreamTrack())
        self.opened = asyncio.Event()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.seen: list[dict[str, Any]] = []
        self.channel.on("open", lambda: self.opened.set())
        self.channel.on("message", lambda text: self.events.put_nowait(json.loads(text)))

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def accept(self, sdp: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await asyncio.wait_for(self.opened.wait(), LIVENESS_S)

    def send(self, **event: Any) -> None:
        self.channel.send(json.dumps(event))

    async def until(self, kind: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while True:
                    event = await self.events.get()
                    openai_types.check(event)
                    self.seen.append(event)
                    if event["type"] == kind:
                        return event
        except TimeoutError:
            raise AssertionError(f"no {kind}; saw {[e['type'] for e in self.seen]}") from None


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    one = Peer()
    yield one
    await one.pc.close()


async def post(server: RunningServer, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, timeout=LIVENESS_S, trust_env=False) as http:
        return await http.post(path, **options)


async def test_a_call_with_events(server: RunningServer, peer: Peer) -> None:
    response = await post(server, "/v1/realtime/calls", content=await peer.offer(), headers={"Content-Type": "application/sdp"})
    assert response.status_code == 201, response.text
    assert response.headers["content-type"].startswith("application/sdp")
    await peer.accept(response.text)
    session = (await peer.until("session.created"))["session"]
    assert response.headers["location"] == f"/v1/realtime/calls/rtc_{session['id'].removeprefix('sess_')}"
    peer.send(type="session.update", session={"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}})
    await peer.until("session.updated")
    peer.send(type="response.create")
    started = await peer.until("output_audio_buffer.started")
    done = (await peer.until("response.done"))["response"]
    assert started["response_id"] == done["id"]
    assert (await peer.until("output_audio_buffer.stopped"))["response_id"] == done["id"]
    assert "response.output_audio.delta" not in [e["type"] for e in peer.seen]
    peer.send(type="response.create")
    await peer.until("output_audio_buffer.started")
    peer.send(type="output_audio_buffer.clear")
    await peer.until("output_audio_buffer.cleared")
    assert (await peer.until("response.done"))["response"]["status"] == "cancelled"
    peer.send(type="input_audio_buffer.append", audio="")
    assert "audio track" in (await peer.until("error"))["error"]["message"]
    ended = await post(server, f"{response.headers['location']}/hangup")
    assert ended.status_code == 200
    assert (await post(server, f"{response.headers['location']}/hangup")).status_code == 404
    kept = server.get(f"/api/sessions/{session['id'].removeprefix('sess_')}")
    assert kept["turns"][0]["role"] == "tutor"


async def test_an_offer_with_its_session(server: RunningServer, peer: Peer) -> None:
    wanted = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}}}
    form = {"sdp": (None, await peer.offer()), "session": (None, json.dumps(wanted))}
    response = await post(server, "/v1/realtime/calls", files=form)
    assert response.status_code == 201, response.text
    await peer.accept(response.text)
    session = (await peer.until("session.created"))["session"]
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 900
    changed = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
    peer.send(type="session.update", session=changed)
    assert (await peer.until("error"))["error"]["code"] == "cannot_update_turn_detection"


async def test_a_call_whose_client_says_when_a_turn_is_over(server: RunningServer, peer: Peer) -> None:
    wanted = {"type": "realtime", "audio": {"input": {"turn_detection": None, "transcription": {"model": "any"}}}}
    form = {"sdp": (None, await peer.offer()), "session": (None, json.dumps(wanted))}
    response = await post(server, "/v1/realtime/calls", files=form)
    await peer.accept(response.text)
    await peer.until("session.created")
    await asyncio.sleep(1.0)
    peer.send(type="input_audio_buffer.commit")
    committed = await peer.until("input_audio_buffer.committed")
    completed = await peer.until("conversation.item.input_audio_transcription.completed")
    assert completed["item_id"] == committed["item_id"]
    assert completed["usage"]["seconds"] > 0.3
    peer.send(type="response.create")
    assert (await peer.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"content": "no sdp"}, "sdp"),
        ({"files": {"sdp": (None, "v=0")}}, "sdp"),
        ({"files": {"session": (None, "{}")}}, "sdp"),
        ({"files": {"sdp": (None, "v=0"), "session": (None, "{")}}, "session"),
        ({"files": {"sdp": (None, "v=0"), "session": (None, '{"type": "realtime", "x": 1}')}}, "session.x"),
        ({"files": {"sdp": (None, "v=0"), "what": (None, "1")}}, "what"),
    ],
)
async def test_what_is_no_offer_is_refused(server: RunningServer, request_: dict[str, Any], param: str) -> None:
    response = await post(server, "/v1/realtime/calls", **request_)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_page_that_leaves_ends_its_session(server: RunningServer, peer: Peer) -> None:
    response = await post(server, "/v1/realtime/calls", content=await peer.offer())
    await peer.accept(response.text)
    session = (await peer.until("session.created"))["session"]["id"].removeprefix("sess_")
    await peer.pc.close()
    ended = await asyncio.to_thread(
        server.wait_for, lambda: server.get(f"/api/sessions/{session}").get("ended_at"), "the session has ended"
    )
    assert ended
