"""The WebRTC client against a real aiortc peer behind a real HTTP server, in the same loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import aiortc
import numpy as np
import pytest
import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from web.talk.call import Call, Patience
from web.talk.client import Server
from web.talk.errors import TalkError
from web.talk.rtc_client import RTCClient

RATE = 48_000
VOICE = (8000 * np.sin(2 * np.pi * 300 * np.arange(RATE // 2) / RATE)).astype(np.int16)
BRIEF = Patience(hello=10, opening=0.3, answer=10, speech=10, report=10, quiet=0.2)


class _Voice(MediaStreamTrack):
    """Silence every 20 ms, and tone while ``voiced`` frames are left; remembers when the first tone frame left."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.voiced = 0
        self.first_voiced_at: float | None = None
        self._frames = 0
        self._started = time.monotonic()

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(0.0, self._started + (self._frames + 1) * 0.02 - time.monotonic()))
        amplitude = 8000 if self.voiced else 0
        if self.voiced:
            self.voiced -= 1
            self.first_voiced_at = self.first_voiced_at or time.monotonic()
        tone = (amplitude * np.sin(2 * np.pi * 440 * np.arange(960) / RATE)).astype(np.int16)
        frame = AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._frames * 960, Fraction(1, RATE)
        self._frames += 1
        return frame


class Tutor:
    """Answers offers; hears the learner's audio; speaks plain JSON or, once greeted so, RTVI."""

    def __init__(self, *, refuse: Response | None = None) -> None:
        self.refuse = refuse
        self.offers: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.voice = _Voice()
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._send: Callable[[dict[str, Any]], None] = lambda message: None
        self._tasks: list[asyncio.Task[None]] = []

    async def offer(self, request: Request) -> Response:
        body = await request.json()
        self.offers.append(body)
        if self.refuse is not None:
            return self.refuse
        self.pc.on("datachannel", self._on_channel)
        self.pc.on("track", lambda track: self._tasks.append(asyncio.create_task(self._hear(track))))
        self.pc.addTrack(self.voice)
        await self.pc.setRemoteDescription(RTCSessionDescription(body["sdp"], body["type"]))
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        answer = self.pc.localDescription
        return JSONResponse({"sdp": answer.sdp, "type": answer.type, "pc_id": "pc-1"})

    def _on_channel(self, channel: Any) -> None:
        @channel.on("message")
        def _(raw: str) -> None:
            message = json.loads(raw)
            self.received.append(message)
            if len(self.received) == 1:
                rtvi = message.get("label") == "rtvi-ai"
                wrap = (lambda m: {"label": "rtvi-ai", "type": "server-message", "data": m}) if rtvi else (lambda m: m)
                self._send = lambda m: channel.send(json.dumps(wrap(m)))
                channel.send("not json")
                channel.send(json.dumps({"label": "rtvi-ai", "type": "bot-ready", "data": {"version": "1.0.0"}}))
                self._send({"type": "connected", "session_id": "session-2"})
            if "end_conversation" in raw:
                self._send({"type": "analysis", "data": {"final_score": 1}})

    async def _hear(self, track: Any) -> None:
        voiced = quiet = 0
        try:
            while True:
                loud = np.abs((await track.recv()).to_ndarray()).max() > 500
                voiced, quiet = voiced + bool(loud), 0 if loud else quiet + 1
                if voiced >= 10 and quiet == 10:
                    voiced = 0
                    self._send({"type": "transcript", "text": "hello", "is_final": True})
                    self._send({"type": "ai_text", "text": "Hi.", "is_complete": True})
                    self.voice.voiced = 25
                    await asyncio.sleep(0.6)
                    self._send({"type": "turn_complete"})
        except aiortc.mediastreams.MediaStreamError:
            pass

    async def close(self) -> None:
        await self.pc.close()
        await asyncio.gather(*self._tasks)


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    """Whether ``condition`` comes true in time."""
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


@asynccontextmanager
async def serving(tutor: Tutor) -> AsyncIterator[Server]:
    app = FastAPI()
    app.post("/api/offer")(tutor.offer)
    http = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    task = asyncio.create_task(http.serve())
    assert await until(lambda: http.started)
    try:
        yield Server(f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}")
    finally:
        await tutor.close()
        http.should_exit = True
        await task


@pytest.mark.parametrize("messages", ["plain", "rtvi"])
async def test_a_whole_call(messages: Any) -> None:
    tutor = Tutor()
    recorded: list[np.ndarray] = []
    async with serving(tutor) as server:
        client = RTCClient(
            server, request_data={"lesson": "travel"}, messages=messages, on_audio=lambda pcm, rate, at: recorded.append(pcm)
        )
        result = await Call(client, patience=BRIEF).run([VOICE])
        assert client.first_packet_at is not None
        assert client.offered_at is not None
        assert client.first_packet_at > client.offered_at
        # What is measured at the wire is not later than what left, by more than the loopback takes; and never before it.
        arrived = client.heard.first_voiced(0.0)
        assert arrived is not None
        assert tutor.voice.first_voiced_at is not None
        assert arrived >= tutor.voice.first_voiced_at - 0.021
    assert tutor.offers[0]["request_data"] == {"lesson": "travel"}
    assert tutor.offers[0]["type"] == "offer"
    first, last = tutor.received[0], tutor.received[-1]
    if messages == "plain":
        assert (first, last) == ({"type": "ping"}, {"type": "end_conversation"})
    else:
        assert (first["label"], first["type"]) == ("rtvi-ai", "client-ready")
        assert (last["type"], last["data"]) == ("client-message", {"t": "end_conversation", "d": {}})
    assert (result.session_id, result.transport, result.report) == ("session-2", "webrtc", {"final_score": 1})
    (turn,) = result.turns
    assert (turn.user, turn.tutor) == ("hello", "Hi.")
    assert turn.v2v_ms is not None
    assert turn.v2v_ms >= 180
    pcm = np.concatenate(recorded)
    assert np.sqrt((pcm[np.abs(pcm) > 0].astype(float) ** 2).mean()) > 1000


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    tutor = Tutor()
    async with serving(tutor) as server:
        client = RTCClient(server)
        await client.connect()
        await client.close()
        await client.close()
    assert await until(lambda: asyncio.all_tasks() <= before)
    assert asyncio.all_tasks() <= before


async def test_a_server_that_closes_the_connection() -> None:
    tutor = Tutor()
    async with serving(tutor) as server:
        client = RTCClient(server)
        await client.connect()
        assert await client.receive(10) is not None  # its hello
        await tutor.pc.close()
        with pytest.raises(TalkError, match="server closed the call"):
            await client.receive(10)
        await client.close()


async def test_a_refusal_is_put_into_words() -> None:
    refuse = JSONResponse({"detail": "all places are taken"}, 429, {"Retry-After": "7"})
    async with serving(Tutor(refuse=refuse)) as server:
        client = RTCClient(server)
        with pytest.raises(TalkError, match=r"refused with 429: all places are taken \(try again in 7 s\)"):
            await client.connect()
        await client.close()


@pytest.mark.parametrize("body", [[], {}, {"sdp": "nonsense", "type": "answer"}, {"sdp": "", "type": "banana"}])
async def test_an_answer_that_is_none(body: Any) -> None:
    async with serving(Tutor(refuse=JSONResponse(body))) as server:
        client = RTCClient(server, connect_timeout_s=1.0)
        with pytest.raises(TalkError):
            await client.connect()
        await client.close()
