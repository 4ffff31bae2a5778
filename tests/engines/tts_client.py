"""A client of text to speech, as a test wants it, and a server around a voice without weights."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from prometheus_client import CollectorRegistry

from engines.kyutai.link.host import Host, listeners
from engines.kyutai.tts_engine import TtsEngine
from engines.kyutai.tts_metrics import TtsMetrics
from engines.kyutai.tts_service import TtsService
from engines.kyutai.tts_text import described
from engines.wire.kyutai import TTS_PATH, Audio, Error, Pcm16, Text, TtsOut, unpack
from tests.engines.fake_tts import FakeTts

READY_WITHIN_S = 30.0
HEARD_WITHIN_S = 30.0


@dataclass
class Heard:
    """What one listener was sent: MessagePack messages, or bare audio; and how the socket closed."""

    messages: list[Any] = field(default_factory=list)
    bare: bytes = b""
    code: int | None = None
    reason: str = ""

    @property
    def pcm(self) -> np.ndarray:
        """All samples of ``Audio`` and ``Pcm16``, float32."""
        parts = [np.zeros(0, np.float32)]
        for one in self.messages:
            if isinstance(one, Audio):
                parts.append(np.array(one.pcm, np.float32))
            elif isinstance(one, Pcm16):
                parts.append(np.frombuffer(one.data, "<i2").astype(np.float32) / 32767)
        return np.concatenate(parts)

    @property
    def words(self) -> list[Text]:
        return [one for one in self.messages if isinstance(one, Text)]

    @property
    def errors(self) -> list[str]:
        return [one.message for one in self.messages if isinstance(one, Error)]


class Client:
    """Of the server at ``base``."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    @asynccontextmanager
    async def socket(self, **query: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        url = f"{self.base}{TTS_PATH}"
        async with self.session.ws_connect(url, params={"format": "PcmMessagePack", **query}, max_msg_size=0) as ws:
            yield ws

    async def say(self, *sent: bytes | str, **query: str) -> Heard:
        """Sends these, and hears all that comes."""
        async with self.socket(**query) as ws:
            for one in sent:
                await (ws.send_str(one) if isinstance(one, str) else ws.send_bytes(one))
            return await hear(ws, structured=query.get("format", "PcmMessagePack").endswith("MessagePack"))

    async def health(self) -> dict[str, Any]:
        async with self.session.get(f"{self.base}/health") as answer:
            return await answer.json()

    async def emptied(self, within_s: float = 5.0) -> dict[str, Any]:
        """Waits until the server has no session, which may take its turn. Returns what it says of itself."""
        for _ in range(round(within_s / 0.02)):
            if not (health := await self.health())["sessions"]:
                break
            await asyncio.sleep(0.02)
        return health


async def hear(ws: aiohttp.ClientWebSocketResponse, *, structured: bool = True, frames: int | None = None) -> Heard:
    """All that comes until the socket closes, or until so many frames of audio came."""
    heard = Heard()
    deadline = time.monotonic() + HEARD_WITHIN_S
    while True:
        # A deadline for all of it, since pings would put off one for each message.
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            message = await ws.receive()
        if message.type == aiohttp.WSMsgType.BINARY:
            if structured:
                heard.messages.append(unpack(message.data, TtsOut))
            else:
                heard.bare += message.data
            if frames is not None and len(heard.pcm) >= 1920 * frames:
                return heard
        elif message.type == aiohttp.WSMsgType.CLOSE:
            heard.code, heard.reason = message.data, message.extra or ""
        elif message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):
            heard.code = heard.code if heard.code is not None else ws.close_code
            return heard


@asynccontextmanager
async def client(base: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, base)


@dataclass
class Served:
    """A server in this process, its front-ends in theirs."""

    base: str
    host: Host
    model: FakeTts


@contextmanager
def served(
    tokenizer: bytes,
    *sizes: int,
    voices: Sequence[str] = (),
    keys: Sequence[str] = (),
    queue: int = 0,
    front_ends: int = 2,
    step_s: float = 0.0,
    patience: dict[str, float] | None = None,
) -> Iterator[Served]:
    """A server of ``FakeTts``, ready. ``step_s``: what a step of it takes."""
    sockets = listeners("127.0.0.1", 0, front_ends)
    port = sockets[0].getsockname()[1]
    host = Host(sockets, {"door": "tts", "keys": list(keys), "patience": patience or {}})
    host.start()
    registry = CollectorRegistry()
    model = FakeTts(*sizes)
    step = model.step

    def slow(batch: Any) -> Any:
        time.sleep(step_s)
        return step(batch)

    model.step = slow  # type: ignore[method-assign]
    service = TtsService(model, clock=time.monotonic, metrics=TtsMetrics(registry), voices=voices, queue=queue)
    service.warm([5])
    engine = TtsEngine(service, host.send, registry, text=described(tokenizer), voices=voices)
    host.ready({"type": "py", "path": TTS_PATH})
    thread = threading.Thread(target=host.run, args=(engine,))
    thread.start()
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield Served(f"http://127.0.0.1:{port}", host, model)
    finally:
        host.stop()
        thread.join()
        host.close()


def wait_until_ready(base: str, within_s: float = READY_WITHIN_S) -> None:
    """Waits until the server says that it is, several times in a row: each front-end is to say so.

    :raises TimeoutError: where it does not
    """
    deadline = time.monotonic() + within_s
    in_a_row = 0
    while in_a_row < 8:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{base} is not ready")
        try:
            # A new connection each time, which the kernel gives to one or the other.
            with urllib.request.urlopen(f"{base}/ready", timeout=5):
                in_a_row += 1
        except OSError:
            in_a_row = 0
            time.sleep(0.05)
