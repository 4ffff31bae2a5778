"""Clients of ``/ws/rtvi``: one that writes pipecat's frames itself, and the released SDK in a process of Node's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pipecat.frames.protobufs.frames_pb2 as protobufs
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.running_server import ROOT, module_server, own_server, server  # noqa: F401  (fixtures)
from web.talk.wavs import read_wav

LIVENESS_S = 20.0
SDK_LIVENESS_S = 40.0
SDK = Path(__file__).parent / "sdk"
READY = {"version": "1.2.0", "about": {"library": "test"}}


@pytest.fixture(scope="session")
def server_env() -> dict[str, str]:
    """A tutor who talks as fast as can still be interrupted: most tests wait until it has spoken."""
    return {"PARLEY_TTS__ESPEAK__RATE_WPM": "250"}


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


@pytest.fixture(scope="session")
def sdk() -> Path:
    """The folder of the SDK's client, with the packages that it needs."""
    if not (SDK / "node_modules" / "@pipecat-ai" / "websocket-transport").is_dir():
        command = [
            ROOT / "scripts" / "with-node",
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--ignore-scripts",
        ]
        done = subprocess.run(command, cwd=SDK, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"the SDK could not be installed:\n{done.stderr[-2000:]}"
    return SDK


class SdkClient:
    """One SDK client in a process of its own; its events as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self.seen: list[tuple[str, Any]] = []
        self._news = asyncio.Condition()
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            async with self._news:
                self.seen.append((told["event"], told["data"]))
                self._news.notify_all()

    async def until(self, event: str, wanted: Callable[[Any], bool] = lambda _: True, *, since: int = 0) -> Any:
        """The data of the first such event since ``since`` (an index of ``seen``)."""

        def found() -> list[Any]:
            return [data for kind, data in self.seen[since:] if kind == event and wanted(data)]

        try:
            async with asyncio.timeout(SDK_LIVENESS_S), self._news:
                await self._news.wait_for(found)
        except TimeoutError:
            raise AssertionError(f"no {event}; saw {self.seen[-25:]}") from None
        return found()[0]

    async def do(self, deed: str, **fields: Any) -> Any:
        """Have something done; what it returned. Fails as the SDK does."""
        id = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": id, "deed": deed, **fields}).encode() + b"\n")
        await self._process.stdin.drain()
        mine: Callable[[Any], bool] = lambda data: isinstance(data, dict) and data.get("id") == id  # noqa: E731
        done = asyncio.create_task(self.until("done", mine))
        failed = asyncio.create_task(self.until("failed", mine))
        await asyncio.wait({done, failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in (done, failed):
            if not task.done():
                task.cancel()
        await asyncio.gather(done, failed, return_exceptions=True)
        if not failed.cancelled() and failed.exception() is None:
            raise RuntimeError(failed.result()["reason"])
        return done.result()["result"]

    async def say(self, wav: Path) -> None:
        """Speak, as fast as one speaks."""
        samples = read_wav(wav, 16_000).clip(-32768, 32767).astype("<i2")
        await self.do("say", pcm16=base64.b64encode(samples.tobytes()).decode())

    def kinds(self, since: int = 0) -> list[str]:
        return [kind for kind, _ in self.seen[since:]]

    def server_message(self, kind: str) -> Callable[[Any], bool]:
        return lambda data: data["type"] == kind


@pytest.fixture
def sdk_client(sdk: Path) -> Callable[[], Any]:
    """``async with sdk_client() as client``: one SDK client."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[SdkClient]:
        process = await asyncio.create_subprocess_exec(
            str(ROOT / "scripts" / "with-node"),
            "node",
            "--experimental-websocket",
            "--no-warnings",
            str(sdk / "client.mjs"),
            cwd=sdk,
            env={k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 24,
        )
        client = SdkClient(process)
        try:
            yield client
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 20)
            await client.reader

    return make
