"""A client of ``/ws/rtvi`` as pipecat's own serialiser writes and reads its messages."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pipecat.frames.protobufs.frames_pb2 as protobufs
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.running_server import own_server, server, server_env  # noqa: F401  (fixtures)

LIVENESS_S = 20.0
READY = {"version": "1.2.0", "about": {"library": "test"}}


class RtviChat:
    """One connection, with waits that fail with what was seen. ``text``: with JSON in place of protobuf frames."""

    def __init__(self, socket: ClientConnection, *, text: bool) -> None:
        self.socket = socket
        self.text = text
        self.seen: list[dict[str, Any]] = []
        self.audio = bytearray()
        self._ids = itertools.count(1)

    async def send(self, kind: str, data: Any = None, *, id: str | None = None) -> str:
        """Send a message of RTVI; its id."""
        message = {"label": "rtvi-ai", "type": kind, "id": id or f"m{next(self._ids)}"}
        if data is not None:
            message["data"] = data
        raw = json.dumps(message)
        await self.socket.send(raw if self.text else packed(message=protobufs.MessageFrame(data=raw)))
        return str(message["id"])

    async def speak(self, pcm16: bytes, rate_hz: int = 16_000) -> None:
        """Send sound at once."""
        await self.socket.send(packed(audio=protobufs.AudioRawFrame(audio=pcm16, sample_rate=rate_hz, num_channels=1)))

    async def next(self) -> dict[str, Any]:
        """The next message; the tutor's voice on the way is kept."""
        while True:
            raw = await asyncio.wait_for(self.socket.recv(), LIVENESS_S)
            if isinstance(raw, bytes):
                frame = protobufs.Frame.FromString(raw)
                if frame.WhichOneof("frame") == "audio":
                    assert (frame.audio.sample_rate, frame.audio.num_channels) == (24_000, 1)
                    self.audio += frame.audio.audio
                    continue
                raw = frame.message.data
            message: dict[str, Any] = json.loads(raw)
            assert message["label"] == "rtvi-ai"
            self.seen.append(message)
            return message

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message of a type whose data has ``fields``."""
        try:
            async with asyncio.timeout(LIVENESS_S):
                while True:
                    message = await self.next()
                    data = message.get("data") or {}
                    if message["type"] == kind and all(data.get(k) == v for k, v in fields.items()):
                        return message
        except TimeoutError:
            raise AssertionError(f"no {kind} {fields}; saw {self.seen[-20:]}") from None

    async def closed(self) -> tuple[int | None, str]:
        """Read to the end; the close code and reason."""
        with contextlib.suppress(Exception):
            while True:
                await self.next()
        await asyncio.wait_for(self.socket.wait_closed(), LIVENESS_S)
        return self.socket.close_code, self.socket.close_reason or ""

    @property
    def kinds(self) -> list[str]:
        """Types of the messages so far, in order."""
        return [m["type"] for m in self.seen]


def packed(**fields: Any) -> bytes:
    """A frame of pipecat's protobuf schema."""
    return bytes(protobufs.Frame(**fields).SerializeToString())


@pytest.fixture
def rtvi_chat() -> Callable[..., Any]:
    """``rtvi_chat(running, query, ready=, text=)``: a connection that has said its ``client-ready`` unless told otherwise."""

    @contextlib.asynccontextmanager
    async def chat(
        running: Any, query: str = "", *, ready: bool = True, text: bool = False, **options: Any
    ) -> AsyncIterator[RtviChat]:
        url = f"ws://127.0.0.1:{running.port}/ws/rtvi{query}"
        async with connect(url, max_size=None, max_queue=None, **options) as socket:
            client = RtviChat(socket, text=text)
            if ready:
                await client.send("client-ready", READY, id="ready")
                await client.until("bot-ready")
            yield client

    return chat
