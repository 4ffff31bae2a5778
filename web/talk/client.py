"""What the two doors have in common for a headless client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

from web.parley_client import Server, refusal
from web.talk.errors import TalkError
from web.talk.listening import HeardLog, Pcm16
from web.talk.microphone import Microphone

__all__ = ["AudioHandler", "Server", "TalkClient", "refusal"]

AudioHandler = Callable[[Pcm16, int, float], None]
"""Called with mono pcm16, its rate in Hz, and the monotonic time at which it arrived."""


REPORT_S = 0.25
"""How often a client that reports its playout does so while the tutor speaks, as the page does."""
_SPEAKING_S = 0.5


class TalkClient:
    """One connection: a microphone that sends, a log of what is heard, and the messages in both directions.

    A door's class implements ``connect``, ``send`` and ``_disconnect``. Every task belongs to the client and is awaited in
    ``close``. With ``reports`` the server is told what of the tutor's voice has been played, which not every server
    understands.
    """

    door: Literal["webrtc", "websocket"]

    def __init__(self, microphone: Microphone, on_audio: AudioHandler | None = None, *, reports: bool = False) -> None:
        self.microphone = microphone
        self.heard = HeardLog()
        self._on_audio = on_audio
        self._reports = reports
        self._inbox: asyncio.Queue[tuple[dict[str, Any], float] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost: str | None = None
        """Why the connection is gone; ``None`` while it stands."""

    async def connect(self) -> None:
        """Open the connection and the microphone.

        Raises:
            TalkError: saying why the server could not be reached or refused.
        """
        raise NotImplementedError

    async def send(self, message: dict[str, Any]) -> None:
        """Send a client message of ``pipeline.messages``; one for a connection that is gone is dropped."""
        raise NotImplementedError

    async def _disconnect(self) -> None:
        raise NotImplementedError

    def _played(self, at: float) -> dict[str, int] | None:
        """What a ``playout`` message says at ``at``; ``None``: there is nothing to say."""
        raise NotImplementedError

    async def _report(self) -> None:
        while self._reports and self.lost is None:
            await asyncio.sleep(REPORT_S)
            now = time.monotonic()
            voiced_at, played = self.heard.last_voiced(), self._played(now)
            if played is not None and voiced_at is not None and now - voiced_at < _SPEAKING_S:
                await self.send({"type": "playout", **played})

    async def receive(self, timeout_s: float) -> tuple[dict[str, Any], float] | None:
        """The next server message and its arrival, or ``None`` after ``timeout_s``.

        Raises:
            TalkError: when the connection is gone and everything it brought has been read.
        """
        try:
            item = await asyncio.wait_for(self._inbox.get(), timeout_s)
        except TimeoutError:
            return None
        if item is None:
            self._inbox.put_nowait(None)  # for whoever asks next
            raise TalkError(self.lost or "the connection is closed")
        return item

    async def close(self) -> None:
        """End the connection and everything the client started. Safe to call twice."""
        self._lose("the call was ended here")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._disconnect()

    def _start(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)

    def _deliver(self, message: dict[str, Any], at: float) -> None:
        self._inbox.put_nowait((message, at))

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._inbox.put_nowait(None)
