"""A strict little text-to-speech server on the wire of Kyutai's: a tone for every word, and words told ahead of their sound.

It plays no model: what it is for is the client's part of the wire, and what becomes of it when the server misbehaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from engines.wire import kyutai as wire

RATE_HZ = 24_000
FRAME = 1_920
WORD_FRAMES = 4
"""Frames of 80 ms for each word."""
TONE_HZ = 1_000
Words = asyncio.Queue[str | None]
LEVEL = 8_000


def tone(frame: int) -> np.ndarray:
    """int16 (1920,): the tone's frame of that number."""
    n = np.arange(FRAME) + frame * FRAME
    return np.round(LEVEL * np.sin(2 * np.pi * TONE_HZ * n / RATE_HZ)).astype("<i2")


@dataclass
class Visit:
    """One connection. ``frames``: of sound, sent. ``end``: "said", "cancelled", "gone" or "dropped"."""

    query: dict[str, list[str]]
    key: str | None
    messages: list[object] = field(default_factory=list)
    frames: int = 0
    end: str | None = None

    @property
    def text(self) -> str:
        """All words that came."""
        return " ".join(w for m in self.messages if isinstance(m, wire.Text) for w in m.text.split())


@dataclass
class KyutaiServer:
    """``plain``: like moshi-server, without extensions. ``full``: so many connections find no free channel. ``key``: asked for.
    ``drop_before``, ``drop_after``: so many connections are cut off at the first word, at the fourth frame. ``mute``: it says
    nothing, not even that it is ready. ``garbage``: it sends what is no message. ``silent``: it ends without a sound.
    ``words_only``: so many connections tell words and are then cut off. ``pace_s``: between frames."""

    plain: bool = False
    full: int = 0
    key: str | None = None
    drop_before: int = 0
    drop_after: int = 0
    words_only: int = 0
    mute: bool = False
    garbage: bool = False
    silent: bool = False
    pace_s: float = 0.0
    word_frames: int = WORD_FRAMES
    visits: list[Visit] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    faults: list[str] = field(default_factory=list)
    port: int = 0
    _server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that have not ended."""
        return sum(visit.end is None for visit in self.visits)

    async def start(self) -> None:
        """Listen, on the port of before where there was one."""
        self._server = await serve(self._visit, "127.0.0.1", self.port, process_request=self._request, close_timeout=1)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[KyutaiServer]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def until(self, done: object, within_s: float = 30.0) -> None:
        """Wait until ``done()`` is true."""
        async with asyncio.timeout(within_s):
            while not done():  # type: ignore[operator]
                self.changed.clear()
                await self.changed.wait()

    def _request(self, _connection: ServerConnection, request: Request) -> Response | None:
        if urlsplit(request.path).path != wire.TTS_PATH:
            return Response(HTTPStatus.NOT_FOUND, "Not Found", request.headers.__class__(), b"")
        if self.key is not None and request.headers.get(wire.KEY_HEADER) != self.key:
            return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", request.headers.__class__(), b"")
        return None

    async def _visit(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        visit = Visit(parse_qs(urlsplit(socket.request.path).query), socket.request.headers.get(wire.KEY_HEADER))
        self.visits.append(visit)
        self.changed.set()
        try:
            await self._serve(socket, visit)
        except ConnectionClosed:
            visit.end = visit.end or "gone"
        finally:
            visit.end = visit.end or "said"
            self.changed.set()

    async def _serve(self, socket: ServerConnection, visit: Visit) -> None:
        if visit.query.get("format") != ["PcmMessagePack"]:
            self.faults.append(f"format {visit.query.get('format')}")
        if self.mute:
            await socket.wait_closed()
            visit.end = "gone"
            return
        if self.full > 0:
            self.full -= 1
            await socket.send(wire.pack(wire.Error(wire.NO_FREE_CHANNELS)))
            visit.end = "dropped"
            return
        granted = None if self.plain else wire.granted(visit.query.get("extensions", [""])[0], wire.TTS_EXTENSIONS)
        await socket.send(wire.pack(wire.Ready(granted)))
        words: Words = asyncio.Queue()
        reading = asyncio.create_task(self._read(socket, visit, words, granted or []))
        speaking = asyncio.create_task(self._speak(socket, visit, words, granted or []))
        _, pending = await asyncio.wait({reading, speaking}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for end in await asyncio.gather(reading, speaking, return_exceptions=True):
            if isinstance(end, ConnectionClosed):
                visit.end = visit.end or "gone"
            elif isinstance(end, Exception):
                raise end

    async def _read(self, socket: ServerConnection, visit: Visit, words: Words, granted: list[str]) -> None:
        """Until the client cancels or goes; what it must not send is kept as a fault."""
        partial, ended = "", False
        while True:
            data = await socket.recv()
            try:
                message = wire.unpack(data, wire.TtsIn) if isinstance(data, bytes) else None
            except wire.WireError as e:
                self.faults.append(str(e))
                continue
            visit.messages.append(message)
            self.changed.set()
            if isinstance(message, wire.Cancel):
                if "cancel" not in granted:
                    self.faults.append("a Cancel that was not granted")
                visit.end = "cancelled"
                await socket.send(wire.pack(wire.Cancelled()))
                return
            if ended:
                self.faults.append(f"{message} behind Eos")
            elif isinstance(message, wire.Text):
                if self.drop_before > 0:
                    self.drop_before -= 1
                    visit.end = "dropped"
                    socket.transport.abort()
                    return
                # A word is complete when a space follows: what is cut in two would be said as two.
                partial += message.text
                *complete, partial = partial.replace("\n", " ").split(" ")
                for word in complete:
                    if word:
                        words.put_nowait(word)
            elif isinstance(message, wire.Eos):
                ended = True
                if partial:
                    self.faults.append(f"Eos behind half a word {partial!r}")
                words.put_nowait(None)
            else:
                self.faults.append(f"{message}")

    async def _speak(self, socket: ServerConnection, visit: Visit, words: Words, granted: list[str]) -> None:
        said = 0
        while (word := await words.get()) is not None and not self.silent:
            start_s, stop_s = (self.word_frames * 0.08 * n for n in (said, said + 1))
            said += 1
            if self.garbage:
                await socket.send(b"\x93garbage")
                await socket.wait_closed()
                return
            await socket.send(wire.pack(wire.Text(word, start_s, stop_s)))
            if self.words_only > 0 and said == 2:
                self.words_only -= 1
                visit.end = "dropped"
                socket.transport.abort()
                return
            if self.words_only > 0:
                continue
            for _ in range(self.word_frames):
                pcm = tone(visit.frames)
                message = wire.Pcm16(pcm.tobytes()) if "pcm16" in granted else wire.Audio((pcm / 32767).tolist())
                await socket.send(wire.pack(message))
                visit.frames += 1
                self.changed.set()
                if visit.frames == 4 and self.drop_after > 0:
                    self.drop_after -= 1
                    visit.end = "dropped"
                    socket.transport.abort()
                    return
                await asyncio.sleep(self.pace_s)
        visit.end = "said"
        await socket.close()
