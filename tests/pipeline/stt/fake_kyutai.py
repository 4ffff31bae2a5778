"""A strict stand-in for a Kyutai speech-to-text server: hears the pilots of marked speech and speaks the engine's wire.

It has the model's delay, steps once a frame, and knows flushes as the engine does. What a client must not do (a commit without
a complete flush, audio in another form than was agreed, a message that the wire does not have) stands in ``problems``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from engines.wire.kyutai import (
    KEY_HEADER,
    NO_FREE_CHANNELS,
    STT_PATH,
    Audio,
    Commit,
    Committed,
    EndWord,
    Error,
    Flush,
    Flushed,
    Marker,
    Message,
    Pcm16,
    Ready,
    Step,
    SttIn,
    TimedWord,
    WireError,
    Withdraw,
    Word,
    granted,
    pack,
    unpack,
)
from tests.pipeline.stt.marked_speech import pilot

FRAME = 1920
DELAY = 6
FRAME_S = 0.08


@dataclass
class FakeSession:
    """What one connection did."""

    extensions: list[str] | None
    samples: int = 0
    zeros: int = 0
    """Samples that were exactly zero, in whole messages."""
    flushes: int = 0
    withdrawn: int = 0
    commits: int = 0
    markers: int = 0
    open: bool = True


@dataclass
class FakeKyutai:
    """``words``: the word of each pilot. The other fields may be changed while it runs."""

    words: Sequence[str]
    offered: Sequence[str] = ("pcm16", "flush")
    slots: int = 8
    key: str | None = None
    mute: bool = False
    """Connections that begin now have their audio taken and hear nothing of it: a step loop that hangs."""
    deaf: bool = False
    """Does not even read."""
    answer_late_s: float = 0.0
    """Before each answer to a flush."""
    step_s: float = 0.0
    """How long a step takes."""
    pause: float = 0.1
    first: bytes | None = None
    """Said in the place of ``Ready``."""
    sessions: list[FakeSession] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: int = 0
    most_unheard_s: float = 0.0
    """The most that waited for its step at any time, of clients that send ``Pcm16``."""

    def __post_init__(self) -> None:
        self._server: Server | None = None
        self._sockets: set[ServerConnection] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def taken(self) -> int:
        return len(self._sockets)

    async def start(self) -> None:
        self._server = await serve(
            self._talk, "127.0.0.1", self.port, process_request=self._admit, compression=None, close_timeout=0.2, max_queue=4
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: every connection breaks, and nobody listens."""
        server, self._server = self._server, None
        if server is not None:
            self.break_all()
            server.close()
            await server.wait_closed()

    async def __aenter__(self) -> FakeKyutai:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def break_all(self) -> None:
        for socket in list(self._sockets):
            socket.transport.abort()

    async def say(self, data: bytes | str) -> None:
        """To every client."""
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionClosed):
                await socket.send(data)

    def _admit(self, socket: ServerConnection, request: Any) -> Any:
        parts = urlsplit(request.path)
        if parts.path != STT_PATH:
            return socket.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        if self.key is not None and request.headers.get(KEY_HEADER) != self.key:
            return socket.respond(HTTPStatus.UNAUTHORIZED, "unauthorized\n")
        return None

    async def _talk(self, socket: ServerConnection) -> None:
        if len(self._sockets) >= self.slots:
            self.refused += 1
            await socket.send(pack(Error(NO_FREE_CHANNELS)))
            return
        assert socket.request is not None
        query = parse_qs(urlsplit(socket.request.path).query)
        extensions = granted(query.get("extensions", [""])[0], self.offered) if self.offered else None
        seen = FakeSession(extensions)
        self.sessions.append(seen)
        self._sockets.add(socket)
        try:
            await socket.send(self.first or pack(Ready(extensions)))
            await _Conversation(self, socket, seen).run()
        except ConnectionClosed:
            pass
        finally:
            seen.open = False
            self._sockets.discard(socket)


class _Conversation:
    def __init__(self, fake: FakeKyutai, socket: ServerConnection, seen: FakeSession) -> None:
        self._fake, self._socket, self._seen = fake, socket, seen
        self._audio = np.zeros(0, np.float32)
        self._came = 0  # samples
        self._frames: list[int | None] = []  # the pilot of each frame
        self._told = 0  # words told or committed: the first of all that were heard
        self._ended = 0
        self._flush: tuple[int, list[TimedWord]] | None = None
        self._markers: list[tuple[int, int]] = []

    async def run(self) -> None:
        while self._fake.deaf:  # noqa: ASYNC110  (a test lets go of it)
            await asyncio.sleep(0.02)
        mute = self._fake.mute
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        worker = asyncio.create_task(self._work(inbox))
        try:
            async for data in self._socket:
                if mute:
                    continue
                try:
                    assert isinstance(data, bytes), "a text message"
                    message = unpack(data, SttIn)
                except (WireError, AssertionError) as e:
                    await self._refuse(str(e))
                    return
                self._came += len(message.data) // 2 if isinstance(message, Pcm16) else 0
                waiting = self._came - len(self._frames) * FRAME
                self._fake.most_unheard_s = max(self._fake.most_unheard_s, waiting / 24_000)
                inbox.put_nowait(message)
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def _work(self, inbox: asyncio.Queue[Any]) -> None:
        """Steps in a task of its own: what a client sends is taken however far behind the steps are."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._take(await inbox.get())

    async def _refuse(self, text: str) -> None:
        self._fake.problems.append(text)
        await self._send(Error(text))
        await self._socket.close()

    async def _send(self, message: Message) -> None:
        await self._socket.send(pack(message))

    async def _take(self, message: Any) -> None:
        extensions, seen = self._seen.extensions or [], self._seen
        if isinstance(message, (Flush, Withdraw, Commit)) and "flush" not in extensions:
            return await self._refuse(f"{type(message).__name__} was not granted")
        match message:
            case Pcm16() if "pcm16" in extensions:
                await self._hear(np.frombuffer(message.data, "<i2").astype(np.float32) / 32768)
            case Audio() if "pcm16" not in extensions:
                await self._hear(np.asarray(message.pcm, np.float32))
            case Marker():
                seen.markers += 1
                self._markers.append((len(self._frames) + DELAY + len(self._audio) // FRAME, message.id))
            case Flush():
                seen.flushes += 1
                rest = [pilot(np.pad(self._audio, (0, FRAME - len(self._audio))))] if len(self._audio) else []
                words = self._timed([*self._frames, *rest, *([None] * DELAY)])[self._told :]
                self._flush = message.id, words
                if self._fake.answer_late_s:
                    await asyncio.sleep(self._fake.answer_late_s)
                await self._send(Flushed(message.id, words))
            case Withdraw():
                seen.withdrawn += 1
                self._flush = None
            case Commit():
                if self._flush is None or self._flush[0] != message.id:
                    return await self._refuse(f"Commit of {message.id}, which is no complete flush")
                seen.commits += 1
                _, words = self._flush
                self._flush = None
                known = self._timed(self._frames[: len(self._frames) - DELAY])[: self._told]
                fresh = [w for w in words if all(w.start_time > k.start_time for k in known)]
                self._told += len(fresh)
                await self._send(Committed(message.id, fresh))
            case _:
                await self._refuse(f"{type(message).__name__} is out of place")
        return None

    async def _hear(self, pcm: np.ndarray) -> None:
        self._seen.samples += len(pcm)
        self._seen.zeros += len(pcm) if not pcm.any() else 0
        self._audio = np.concatenate([self._audio, pcm])
        while len(self._audio) >= FRAME:
            frame, self._audio = self._audio[:FRAME], self._audio[FRAME:]
            self._frames.append(pilot(frame))
            await asyncio.sleep(self._fake.step_s)
            await self._step()

    async def _step(self) -> None:
        written = self._timed(self._frames[: max(0, len(self._frames) - DELAY)])
        heads = [0.0, 0.0, self._fake.pause, 0.0]
        ends = [w for w in written if w.stop_time is not None]
        for word in ends[self._ended :]:
            await self._send(EndWord(word.stop_time or 0.0))
        self._ended = max(self._ended, len(ends))
        for word in written[self._told :]:
            await self._send(Word(word.text, word.start_time))
        self._told = max(self._told, len(written))
        await self._send(Step(len(self._frames), heads, len(self._audio)))
        for due, number in [m for m in self._markers if m[0] <= len(self._frames)]:
            self._markers.remove((due, number))
            await self._send(Marker(number))

    def _timed(self, frames: Sequence[int | None]) -> list[TimedWord]:
        """The words of ``frames``; one is written as soon as it begins."""
        found: list[TimedWord] = []
        for i, number in enumerate(frames):
            before = frames[i - 1] if i else None
            if before is not None and number != before:
                last = found[-1]
                found[-1] = TimedWord(last.text, last.start_time, i * FRAME_S)
            if number is not None and number != before and number < len(self._fake.words):
                found.append(TimedWord(self._fake.words[number], i * FRAME_S))
        return found
