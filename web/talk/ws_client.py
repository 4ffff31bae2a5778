"""The WebSocket door, headless: pcm16 at 16 kHz up, pcm16 at 24 kHz down, messages as JSON text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any
from urllib.parse import urlencode

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from web.talk.client import AudioHandler, Server, TalkClient, refusal
from web.talk.errors import TalkError
from web.talk.listening import peak
from web.talk.loudspeaker import SampleSpeaker
from web.talk.microphone import Microphone

MAX_MESSAGE_BYTES = 4_000_000


class WSClient(TalkClient):
    """``/ws/conversation?extras=1`` of a server."""

    door = "websocket"

    def __init__(
        self,
        server: Server,
        *,
        lesson: str | None = None,
        on_audio: AudioHandler | None = None,
        connect_timeout_s: float = 20.0,
        reports: bool = False,
    ) -> None:
        super().__init__(Microphone(INPUT_RATE_HZ), on_audio, reports=reports)
        self._speaker = SampleSpeaker(OUTPUT_RATE_HZ)
        self._query = urlencode({"extras": "1", **({"lesson": lesson} if lesson is not None else {})})
        self._server = server
        self._timeout_s = connect_timeout_s
        self._socket: ClientConnection | None = None
        self._rate_hz = OUTPUT_RATE_HZ

    async def connect(self) -> None:
        url = self._server.ws(f"/ws/conversation?{self._query}")
        try:
            self._socket = await connect(
                url,
                ssl=self._server.tls(),
                additional_headers=self._server.headers,
                open_timeout=self._timeout_s,
                close_timeout=2,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
            )
        except TimeoutError:
            raise TalkError(f"{url}: no answer within {self._timeout_s:.0f} s") from None
        except InvalidStatus as e:
            body = (e.response.body or b"").decode("utf-8", "replace")
            raise TalkError(f"{url}: {refusal(e.response.status_code, body, e.response.headers.get('Retry-After'))}") from None
        except (OSError, InvalidHandshake) as e:
            raise TalkError(f"{url}: cannot be reached: {e}") from None
        self._start(asyncio.create_task(self._read(self._socket), name="talk-read"))
        self._start(asyncio.create_task(self._speak(self._socket), name="talk-speak"))
        self._start(asyncio.create_task(self._report(), name="talk-report"))

    async def send(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(json.dumps(message))

    async def _speak(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send((await self.microphone.frame()).astype("<i2").tobytes())

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for raw in socket:
                self._take(raw, time.monotonic())
        except ConnectionClosed:
            pass
        code, reason = socket.close_code, socket.close_reason
        how = f"code {code}" + (f", {reason}" if reason else "") if code not in (None, 1006) else "it went without a goodbye"
        self._lose(f"the server closed the connection: {how}")

    def _played(self, at: float) -> dict[str, int] | None:
        sample = self._speaker.played(at)
        return None if sample is None else {"sample": sample}

    def _take(self, raw: str | bytes, at: float) -> None:
        if isinstance(raw, bytes):
            pcm = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.int16)
            self.heard.add(at, peak(pcm))
            self._speaker.take(len(pcm), at)
            if self._on_audio is not None:
                self._on_audio(pcm, self._rate_hz, at)
            return
        try:
            message = json.loads(raw)
        except ValueError:
            return
        if isinstance(message, dict) and isinstance(message.get("type"), str):
            if message["type"] == "ai_audio_start" and isinstance(message.get("sample_rate"), int):
                self._rate_hz = message["sample_rate"]
            match message["type"]:
                case "interrupted":
                    self._speaker.flush()
                case "hold":
                    self._speaker.hold(at)
                case "go_on":
                    self._speaker.go_on(at)
            self._deliver(message, at)

    async def _disconnect(self) -> None:
        if self._socket is not None:
            await self._socket.close()
