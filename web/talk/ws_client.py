"""The WebSocket door, headless: pcm16 at 16 kHz up, pcm16 at 24 kHz down, messages as JSON text."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from web.parley_client import Audio, Event, ParleyClient, Server
from web.talk.client import AudioHandler, TalkClient
from web.talk.errors import TalkError
from web.talk.listening import peak
from web.talk.loudspeaker import SampleSpeaker
from web.talk.microphone import Microphone


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
        # A client that measures wants to know of a lost connection, not to have it mended.
        self._call = ParleyClient(server, lesson=lesson, connect_timeout_s=connect_timeout_s, reconnect_for_s=0)

    async def connect(self) -> None:
        await self._call.open()
        self._start(asyncio.create_task(self._read(), name="talk-read"))
        self._start(asyncio.create_task(self._speak(), name="talk-speak"))
        self._start(asyncio.create_task(self._report(), name="talk-report"))

    async def send(self, message: dict[str, Any]) -> None:
        await self._call.send(message)

    async def _speak(self) -> None:
        while True:
            await self._call.send_audio((await self.microphone.frame()).astype("<i2").tobytes())

    async def _read(self) -> None:
        try:
            while received := await self._call.receive():
                self._take(*received)
        except TalkError:
            self._lose(self._call.lost or "the connection is closed")

    def _played(self, at: float) -> dict[str, int] | None:
        sample = self._speaker.played(at)
        return None if sample is None else {"sample": sample}

    def _take(self, event: Event, at: float) -> None:
        if isinstance(event, Audio):
            pcm = np.frombuffer(event.pcm16, "<i2").astype(np.int16)
            self.heard.add(at, peak(pcm))
            self._speaker.take(len(pcm), at)
            if self._on_audio is not None:
                self._on_audio(pcm, event.rate_hz, at)
            return
        match event["type"]:
            case "interrupted":
                self._speaker.flush()
            case "hold":
                self._speaker.hold(at)
            case "go_on":
                self._speaker.go_on(at)
        self._deliver(event, at)

    async def _disconnect(self) -> None:
        await self._call.close()
