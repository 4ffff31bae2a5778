"""The measuring client against a peer whose delays are known: a tone back after a fixed time, stopped after a fixed time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import aiortc
import numpy as np
import pytest
import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from fastapi import FastAPI

from bench import dialogue
from bench.dialogue import Dialogue, first_packet_ms
from bench.speech import Spoken

RATE = 48_000
ANSWER_AFTER_S, STOP_AFTER_S, ANSWER_S = 0.4, 0.3, 5.0


class Echo(MediaStreamTrack):
    """Sends a tone from ``ANSWER_AFTER_S`` after the voice for ``ANSWER_S``, and stops it ``STOP_AFTER_S`` into new voice."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.channel: Any = None
        self._index = 0
        self._begin = self._stop = float("inf")
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    def heard(self, onset: bool) -> None:
        """The learner began (``onset``) or ended speaking, now."""
        now = self._loop.time()
        if onset:
            self._stop = now + STOP_AFTER_S
        else:
            self._begin, self._stop = now + ANSWER_AFTER_S, float("inf")
            row = {"turn": self._index, "v2v_ms": ANSWER_AFTER_S * 1000 + 25, "barge_in_ms": None}
            self._loop.call_later(ANSWER_AFTER_S, self._send_row, row)

    def _send_row(self, row: dict[str, Any]) -> None:
        if self.channel is not None:
            message = {"type": "metrics", "row": row}
            self.channel.send(json.dumps({"label": "rtvi-ai", "type": "server-message", "data": message}))

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(0.0, self._start + (self._index + 1) * 0.02 - self._loop.time()))
        now = self._loop.time()
        loud = self._begin <= now < min(self._begin + ANSWER_S, self._stop)
        tone = ((8000 if loud else 0) * np.sin(2 * np.pi * 440 * np.arange(960) / RATE)).astype(np.int16)
        frame = AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._index * 960, Fraction(1, RATE)
        self._index += 1
        return frame


@asynccontextmanager
async def echoing(*, deaf: bool = False) -> AsyncIterator[str]:
    app = FastAPI()
    peers: list[RTCPeerConnection] = []
    tasks: list[asyncio.Task[None]] = []

    async def listen(track: Any, echo: Echo) -> None:
        """At the wire: frames pass aiortc's jitter buffer (80 ms), which is subtracted by dating events by their count."""
        speaking, quiet = False, 0
        try:
            while True:
                loud = bool(np.abs((await track.recv()).to_ndarray()).max() > 500)
                quiet = 0 if loud else quiet + 1
                if loud and not speaking:
                    speaking = True
                    echo.heard(onset=True)
                elif speaking and quiet == 5:
                    speaking = False
                    if not deaf:
                        echo.heard(onset=False)
        except aiortc.mediastreams.MediaStreamError:
            pass

    @app.post("/api/offer")
    async def offer(body: dict[str, Any]) -> dict[str, str]:
        pc, echo = RTCPeerConnection(RTCConfiguration(iceServers=[])), Echo()
        peers.append(pc)
        pc.on("track", lambda track: tasks.append(asyncio.create_task(listen(track, echo))))
        pc.on("datachannel", lambda channel: setattr(echo, "channel", channel))
        pc.addTrack(echo)
        await pc.setRemoteDescription(RTCSessionDescription(body["sdp"], body["type"]))
        await pc.setLocalDescription(await pc.createAnswer())
        return {"sdp": pc.localDescription.sdp, "type": pc.localDescription.type}

    http = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(http.serve())
    for _ in range(500):
        if http.started:
            break
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await asyncio.gather(*(pc.close() for pc in peers))
        await asyncio.gather(*tasks)
        http.should_exit = True
        await serving


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "LEAD_S", 0.5)
    monkeypatch.setattr(dialogue, "INTERRUPT_AFTER_S", 1.2)
    monkeypatch.setattr(dialogue, "QUIET_S", 0.5)
    monkeypatch.setattr(dialogue, "STUCK_S", 2.0)


def spoken(name: str, seconds: float) -> Spoken:
    t = np.arange(round(seconds * RATE)) / RATE
    return Spoken(name, (9000 * np.sin(2 * np.pi * 200 * t)).astype(np.int16), real=False)


async def test_known_delays_are_found() -> None:
    async with echoing() as url:
        found = await Dialogue(url).run([(spoken("a", 0.7), spoken("b", 1.0))], [spoken("c", 0.6)])
    assert found.seconds > 0
    assert [(t.utterance, t.kind) for t in found.turns] == [("a", "clean"), ("b", "interrupting"), ("c", "learner")]
    # The peer hears 80 ms late, waits for 5 quiet frames, and answers 400 ms later. Lower bounds hold on any machine.
    least = ANSWER_AFTER_S * 1000 + 100
    for turn in found.turns:
        assert turn.v2v_ms is not None
        assert turn.v2v_ms >= least
        assert turn.row_ms == ANSWER_AFTER_S * 1000 + 25
    (barge_in,) = found.barge_in_ms
    assert STOP_AFTER_S * 1000 <= barge_in < (ANSWER_S - 2.0) * 1000  # were it not stopped, it would end after about 4.4 s
    assert found.not_sounding == 0
    (fell,) = found.fell_ms
    assert abs(fell - barge_in) <= 20  # it stops at once, so both are the same packet, or the next


async def test_a_peer_that_never_answers_is_stuck() -> None:
    async with echoing(deaf=True) as url:
        found = await Dialogue(url).run([(spoken("a", 0.5), spoken("b", 0.5))])
    assert [(t.utterance, t.v2v_ms) for t in found.turns] == [("a", None)]
    assert found.barge_in_ms == []


async def test_the_first_packet() -> None:
    async with echoing() as url:
        found = await first_packet_ms(url)
    assert found is not None
    assert found > 0
