"""Calls that mean well, in a process of their own: ``python -m bench.abuse_caller --url URL --subject NAME --calls N``.

Each call of a WebSocket sends room tone in real time and asks for another answer as soon as one is over, so that the tutor
speaks all the time; one call over WebRTC (Parley's only) speaks sentences. A line of JSON on standard input asks for what was
measured since the last one, and is answered by a line: of each call the gaps (ms) between packets of the tutor's voice, and how
long answers took to begin (ms); and how late (ms, 99th percentile) this process's own timers were.

The end of standard input ends the calls and the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pipecat.frames.protobufs.frames_pb2 as protobufs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bench.load_caller import Caller
from bench.load_speech import cycles

PIECE_S = 0.02
PIECE = np.random.default_rng(0).normal(0.0, 8.0, 320).astype("<i2").tobytes()
"""20 ms of room tone at 16 kHz."""
ASK = "Can you say that again, please?"


class Window:
    """What one call has measured since it was last asked. Pure: times are passed in."""

    def __init__(self) -> None:
        self.gaps_ms: list[float] = []
        self.answers_ms: list[float] = []
        self._last: float | None = None
        self._asked: float | None = None

    def asked(self, at: float) -> None:
        """The learner asks; the pause before the answer is no gap."""
        self._asked, self._last = at, None

    def heard(self, at: float) -> None:
        """A packet of the tutor's voice arrived."""
        if self._asked is not None:
            self.answers_ms.append((at - self._asked) * 1000)
            self._asked = None
        if self._last is not None:
            self.gaps_ms.append((at - self._last) * 1000)
        self._last = at

    def take(self, now: float) -> dict[str, list[float]]:
        """What was measured, which is then forgotten; an answer or a packet that is still awaited counts up to ``now``."""
        gaps, answers = self.gaps_ms, self.answers_ms
        if self._asked is not None:
            answers = [*answers, (now - self._asked) * 1000]
        self.gaps_ms, self.answers_ms = [], []
        return {"gaps_ms": [round(g, 2) for g in gaps], "answers_ms": [round(a, 1) for a in answers]}


class Wire(Protocol):
    """How a server's WebSocket is spoken to."""

    path: str

    def hello(self) -> list[str | bytes]:
        """What a call begins with."""
        ...

    def ask(self) -> str | bytes:
        """A turn that is typed."""
        ...

    def sound(self) -> str | bytes:
        """20 ms of the learner's."""
        ...

    def read(self, raw: str | bytes) -> str:
        """``voice``, ``over`` (the answer is), or another word."""
        ...


class ParleyWire:
    """``/ws/conversation``."""

    path = "/ws/conversation?extras=1"

    def hello(self) -> list[str | bytes]:
        """Nothing: the tutor speaks first."""
        return []

    def ask(self) -> str:
        """See ``Wire``."""
        return json.dumps({"type": "text", "text": ASK})

    def sound(self) -> bytes:
        """See ``Wire``."""
        return PIECE

    def read(self, raw: str | bytes) -> str:
        """See ``Wire``."""
        if isinstance(raw, bytes):
            return "voice"
        return "over" if json.loads(raw)["type"] == "turn_complete" else "other"


class PipecatWire:
    """pipecat's protobuf frames, with RTVI in them."""

    path = "/ws"

    def hello(self) -> list[str | bytes]:
        """The handshake of RTVI, and a first turn: this tutor does not speak first."""
        about = {"version": "1.2.0", "about": {"library": "bench"}}
        return [self._message("client-ready", about), self.ask()]

    def ask(self) -> bytes:
        """See ``Wire``."""
        return self._message("send-text", {"content": ASK, "options": {"run_immediately": True, "audio_response": True}})

    def sound(self) -> bytes:
        """See ``Wire``."""
        audio = protobufs.AudioRawFrame(audio=PIECE, sample_rate=16_000, num_channels=1)
        return bytes(protobufs.Frame(audio=audio).SerializeToString())

    def read(self, raw: str | bytes) -> str:
        """See ``Wire``."""
        frame = protobufs.Frame.FromString(raw if isinstance(raw, bytes) else raw.encode())
        if frame.WhichOneof("frame") == "audio":
            return "voice"
        if frame.WhichOneof("frame") == "message":
            return "over" if json.loads(frame.message.data).get("type") == "bot-stopped-speaking" else "other"
        return "other"

    def _message(self, kind: str, data: dict[str, Any]) -> bytes:
        text = json.dumps({"label": "rtvi-ai", "id": "bench", "type": kind, "data": data})
        return bytes(protobufs.Frame(message=protobufs.MessageFrame(data=text)).SerializeToString())


class SocketCall:
    """One call over a WebSocket."""

    name = "websocket"

    def __init__(self, url: str, wire: Wire, late_ms: list[float]) -> None:
        self._url = url.replace("http", "ws", 1) + wire.path
        self._wire = wire
        self._late_ms = late_ms
        self.window = Window()
        self.lost: str | None = None
        self._socket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Call."""
        self._socket = socket = await connect(self._url, max_size=None, max_queue=None, compression=None, ping_interval=None)
        for message in self._wire.hello():
            await socket.send(message)
        self._tasks = [asyncio.create_task(self._watched(work, socket)) for work in (self._listen, self._speak)]

    async def _watched(self, work: Callable[[ClientConnection], Any], socket: ClientConnection) -> None:
        try:
            await work(socket)
        except (WebSocketException, OSError) as e:
            self.lost = self.lost or repr(e)

    async def _listen(self, socket: ClientConnection) -> None:
        while True:
            raw = await socket.recv()
            at = time.monotonic()
            match self._wire.read(raw):
                case "voice":
                    self.window.heard(at)
                case "over":
                    self.window.asked(at)
                    await socket.send(self._wire.ask())

    async def _speak(self, socket: ClientConnection) -> None:
        due = time.monotonic()
        while True:
            await socket.send(self._wire.sound())
            due += PIECE_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._late_ms.append(max(0.0, time.monotonic() - due) * 1000)

    def take(self) -> dict[str, Any]:
        """The window that ends now."""
        return {"door": self.name, "lost": self.lost, **self.window.take(time.monotonic())}

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            with contextlib.suppress(WebSocketException, OSError):
                await self._socket.close()


class RTCCall:
    """One call over WebRTC, of packets that were encoded beforehand."""

    name = "webrtc"

    def __init__(self, url: str) -> None:
        self._caller = Caller(url, cycles()[0], 0)

    async def start(self) -> None:
        """Call."""
        await self._caller.connect()

    def take(self) -> dict[str, Any]:
        """The window that ends now."""
        report = self._caller.report()
        gaps = [round(g, 2) for g in self._caller.gaps_ms()]
        self._caller.reset()
        lost = None if report["connected"] else "the peer connection is lost"
        return {"door": self.name, "lost": lost, "gaps_ms": gaps, "answers_ms": []}

    async def close(self) -> None:
        """Hang up."""
        await self._caller.close()


async def serve(url: str, subject: str, count: int) -> None:
    """Hold the calls and do what standard input says, to its end."""
    late_ms: list[float] = []
    wires: dict[str, Callable[[], Wire]] = {"parley": ParleyWire, "peer": PipecatWire}
    calls: list[SocketCall | RTCCall] = [SocketCall(url, wires[subject](), late_ms) for _ in range(count)]
    if subject == "parley":
        calls.append(RTCCall(url))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        for call in calls:
            await call.start()
        print(json.dumps({"ready": True}), flush=True)
        while await reader.readline():  # whatever it says
            late = float(np.percentile(late_ms, 99)) if late_ms else None
            late_ms.clear()
            print(json.dumps({"late_p99_ms": late, "calls": [call.take() for call in calls]}), flush=True)
    finally:
        await asyncio.gather(*(call.close() for call in calls), return_exceptions=True)


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--subject", required=True, choices=["parley", "peer"])
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--cpu", type=int, help="the core to run on")
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    import uvloop

    uvloop.run(serve(options.url, options.subject, options.calls))


if __name__ == "__main__":
    main()
