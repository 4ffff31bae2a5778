"""Servers and clients for the Realtime doors: OpenAI's own Python client, with waits that fail with what was seen."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from tests.minded_server import address, left_empty, mind, minded  # noqa: F401  (fixtures)
from tests.pipeline.llm.fake_vllm import FakeVLLM
from tests.running_server import RunningServer, module_server, own_server, server  # noqa: F401  (fixtures)
from web.talk.wavs import read_wav

LIVENESS_S = 40.0
RATE = 24_000
CHUNK_S = 0.02


@pytest.fixture(scope="session")
def server_env() -> dict[str, str]:
    """A voice as fast as it may be: most tests wait until it has spoken."""
    return {"PARLEY_TTS__ESPEAK__RATE_WPM": "250", "PARLEY_SERVER__SESSION_RATE_PER_MINUTE": "10000"}


class Client:
    """One session of OpenAI's Python client."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.seen: list[dict[str, Any]] = []
        self.audio = b""
        self._sending: asyncio.Task[None] | None = None

    async def send(self, **event: Any) -> None:
        await self.connection.send(event)

    async def next(self) -> dict[str, Any]:
        event: dict[str, Any] = (await asyncio.wait_for(self.connection.recv(), LIVENESS_S)).to_dict()
        if event["type"] == "response.output_audio.delta":
            self.audio += base64.b64decode(event["delta"])
        self.seen.append(event)
        return event

    async def until(self, kind: str, timeout_s: float = LIVENESS_S, **fields: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    event = await self.next()
                    if event["type"] == kind and all(event.get(k) == v for k, v in fields.items()):
                        return event
        except TimeoutError:
            raise AssertionError(f"no {kind} {fields}; saw {self.kinds()[-40:]} {self.errors()}") from None

    def kinds(self) -> list[str]:
        """Types in order; runs of one type count once."""
        kinds: list[str] = []
        for event in self.seen:
            if kinds[-1:] != [event["type"]]:
                kinds.append(event["type"])
        return kinds

    def errors(self) -> list[dict[str, Any]]:
        return [e["error"] for e in self.seen if e["type"] == "error"]

    async def update(self, **session: Any) -> dict[str, Any]:
        """Change the session; gives the session that is then in force."""
        await self.send(type="session.update", session={"type": "realtime", **session})
        return dict((await self.until("session.updated"))["session"])

    async def type(self, text: str, **fields: Any) -> dict[str, Any]:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send(type="conversation.item.create", item=item, **fields)
        return dict((await self.until("conversation.item.done"))["item"])

    async def respond(self, **response: Any) -> dict[str, Any]:
        """Ask for a response and wait until it is over."""
        await self.send(type="response.create", **({"response": response} if response else {}))
        return dict((await self.until("response.done"))["response"])

    def speak(self, wav: Path, *, rate: int = RATE, encode: Callable[[bytes], bytes] = bytes) -> asyncio.Task[None]:
        """A microphone in real time: silence, ``wav``, and silence until the session ends."""

        async def run() -> None:
            voice = np.concatenate([np.zeros(rate // 5), read_wav(wav, rate)]).astype("<i2").tobytes()
            step, due = int(rate * CHUNK_S) * 2, asyncio.get_running_loop().time()
            at = 0
            while True:
                chunk = voice[at : at + step].ljust(step, b"\0")
                at += step
                await self.send(type="input_audio_buffer.append", audio=base64.b64encode(encode(chunk)).decode())
                due += CHUNK_S
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

        self.hush()
        self._sending = asyncio.create_task(run())
        return self._sending

    def hush(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def close(self) -> None:
        self.hush()
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)


@asynccontextmanager
async def session(url: str, *, key: str = "none", query: dict[str, Any] | None = None, model: str = "parley") -> Any:
    """A session of OpenAI's client on the server at ``url``."""
    openai = AsyncOpenAI(base_url=f"{url}/v1", api_key=key)
    async with openai, openai.realtime.connect(model=model, extra_query=query or {}) as connection:
        client = Client(connection)
        assert (await client.next())["type"] == "session.created"
        try:
            yield client
        finally:
            await client.close()


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:  # noqa: F811
    """A session on the server that all tests share."""
    async with session(server.url) as one:
        yield one


@pytest.fixture(scope="module")
def brief(address: socket.socket, module_server: Any) -> RunningServer:  # noqa: F811
    """A server whose tutor is whichever ``mind`` there is, for all tests of a module."""
    return minded(address, module_server, PARLEY_LLM__VLLM__DIALECT="openai")


@pytest.fixture
async def briefed(mind: FakeVLLM, brief: RunningServer) -> AsyncIterator[RunningServer]:  # noqa: F811
    """A server whose tutor is ``mind``."""
    async with left_empty(brief) as running:
        yield running
