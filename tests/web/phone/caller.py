"""What the stand-ins of carriers and exchanges share: a caller with a voice and an ear, and the stream of a carrier."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from web.talk.wavs import read_wav

LIVENESS_S = 30.0
CALLER, NUMBER = "+15550199", "+15550100"
Played = tuple[str, bytes | str]
"""("audio", pcm16), ("mark", name) or ("clear", "")."""


class Caller:
    """A person at a telephone: ``say`` what is to be heard, look at what was ``heard``."""

    rate_hz = 8_000
    piece_s = 0.02

    def __init__(self) -> None:
        self.heard = bytearray()
        """pcm16 at ``rate_hz`` that was played ..."""
        self.arrivals: list[float] = []
        """... and when each piece of it came, by the event loop's clock."""
        self.frames = 0
        """How many pieces of the caller's sound there were."""
        self.ended = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._voice = np.zeros(0, np.int16)
        self._said = asyncio.Event()
        self._rng = np.random.default_rng(7)

    @property
    def samples(self) -> np.ndarray:
        return np.frombuffer(bytes(self.heard), np.int16)

    @property
    def heard_s(self) -> float:
        """How much was heard, in seconds."""
        return len(self.heard) / 2 / self.rate_hz

    @property
    def voiced_s(self) -> float:
        """How much of a voice was heard, in seconds."""
        step = self.rate_hz // 50
        pcm = self.samples.astype(np.float32)
        whole = pcm[: len(pcm) // step * step].reshape(-1, step)
        return float((np.sqrt((whole**2).mean(axis=1)) > 200).sum() / 50)

    def play(self, samples: np.ndarray) -> None:
        self._said.clear()
        self._voice = np.concatenate([self._voice, samples.astype(np.int16)])

    async def say(self, wav: Path, *, wait: bool = True) -> None:
        self.play(read_wav(wav, self.rate_hz))
        if wait:
            await asyncio.wait_for(self._said.wait(), LIVENESS_S)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time") from None

    def _next_piece(self) -> tuple[np.ndarray, bool]:
        """The next ``piece_s``: the noise of a line, and in it what is to be said; whether that was anything."""
        count = round(self.piece_s * self.rate_hz)
        voice, self._voice = self._voice[:count], self._voice[count:]
        if not len(self._voice):
            self._said.set()
        piece = self._rng.normal(0, 8, count).astype(np.int16)
        piece[: len(voice)] += voice
        return piece, len(voice) > 0

    async def _finish_tasks(self) -> None:
        """Ends what the caller does; what went wrong in it is raised."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


class StreamCaller(Caller):
    """A call whose sound a carrier streams over a WebSocket, at the rate of a loudspeaker, with marks that it gives back.

    ``mark_delay_s``: how long after their sound.
    """

    marks_after_clear = True
    """Whether marks that a clear threw away come back at once."""

    def __init__(self, url: str, public_url: str, *, mark_delay_s: float = 0.05) -> None:
        super().__init__()
        self.url, self.public_url = url, public_url
        self.marks: list[str] = []
        """Marks that were sent, in order ..."""
        self.returned: list[str] = []
        """... and those that were sent back."""
        self.clears = 0
        self.close_code: int | None = None
        self.mangle: Callable[[int], list[int]] = lambda number: [number]
        """Which pieces to send when it is a piece's turn: none for a loss, another order for a mix-up."""
        self._mark_delay_s = mark_delay_s
        self._http = httpx.AsyncClient(timeout=LIVENESS_S, trust_env=False)
        self._socket: ClientConnection | None = None
        self._sequence = 0
        self._buffer: list[bytes | str] = []
        self._kept: dict[int, str | bytes] = {}

    # What each carrier has of its own

    async def status(self, what: str, path: str | None = None) -> httpx.Response:
        """Tell the server how the call is doing, in the carrier's words."""
        raise NotImplementedError

    def hello(self) -> list[str]:
        """The stream's first messages."""
        raise NotImplementedError

    def media(self, number: int, pcm16: bytes) -> str | bytes:
        raise NotImplementedError

    def read(self, message: str | bytes) -> Played:
        """A message of the server's, checked against the documents."""
        raise NotImplementedError

    def mark_message(self, name: str) -> str:
        raise NotImplementedError

    def digit_message(self, digit: str) -> str:
        raise NotImplementedError

    def after_clear(self) -> str | None:
        """What confirms a clear."""
        return None

    def bye(self) -> str | None:
        """The last message of a stream, where there is one."""
        return None

    # The stream

    async def _open(self, path: str) -> None:
        self.ended, self.close_code = asyncio.Event(), None
        self._sequence = self.frames = 0
        self._buffer.clear()
        self._socket = await connect(self.url.replace("http", "ws", 1) + path, max_size=None, ping_interval=None)
        for message in self.hello():
            await self._socket.send(message)
        for work in (self._read(), self._speak(), self._play()):
            self._tasks.append(asyncio.create_task(work))

    def sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.ended.is_set():
            piece, _ = self._next_piece()
            self.frames += 1
            self._kept[self.frames] = self.media(self.frames, piece.tobytes())
            for number in self.mangle(self.frames):
                if number in self._kept:
                    await self.raw_quietly(self._kept[number])
            self._kept.pop(self.frames - 10, None)
            due += self.piece_s
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _read(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            async for message in self._socket:
                kind, content = self.read(message)
                if kind == "clear":
                    await self._clear()
                    continue
                if kind == "mark":
                    self.marks.append(str(content))
                else:
                    self.arrivals.append(loop.time())
                self._buffer.append(content)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self._socket.close_code
            self.ended.set()

    async def _clear(self) -> None:
        self.clears += 1
        thrown, self._buffer = self._buffer, []
        for item in thrown:
            if isinstance(item, str) and self.marks_after_clear:
                await self._give_back(item)
        confirmation = self.after_clear()
        if confirmation is not None:
            await self.raw_quietly(confirmation)

    async def _give_back(self, name: str) -> None:
        self.returned.append(name)
        await self.raw_quietly(self.mark_message(name))

    async def _play(self) -> None:
        """The caller's loudspeaker: plays the buffer at real time and gives marks back after their audio."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.ended.is_set():
            if not self._buffer:
                await asyncio.sleep(0.005)
                due = max(due, loop.time())
                continue
            item = self._buffer.pop(0)
            if isinstance(item, str):
                self._tasks.append(asyncio.create_task(self._later(item)))
                continue
            self.heard += item
            due = max(due, loop.time() - 0.02) + len(item) / 2 / self.rate_hz
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _later(self, name: str) -> None:
        await asyncio.sleep(self._mark_delay_s)
        await self._give_back(name)

    # The caller

    async def press(self, digit: str) -> None:
        await self.raw_quietly(self.digit_message(digit))

    async def raw(self, message: str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(message)

    async def raw_quietly(self, message: str | bytes) -> None:
        """As ``raw``, to whoever may have closed the stream."""
        with contextlib.suppress(ConnectionClosed):
            await self.raw(message)

    async def hang_up(self, *, callback: bool = True) -> None:
        """The caller puts the receiver down, be it in the middle of a word; ``callback``: the server is told by a webhook."""
        bye = self.bye()
        if bye is not None:
            await self.raw_quietly(bye)
        await self.drop()
        if callback:
            assert (await self.status("completed")).status_code == 204

    async def drop(self) -> None:
        """The stream's connection goes, without a word."""
        assert self._socket is not None
        self.ended.set()
        await self._socket.close()

    async def close(self) -> None:
        self.ended.set()
        if self._socket is not None:
            await self._socket.close()
        await self._http.aclose()
        await self._finish_tasks()


class Receiver(Protocol):
    """What can be put down."""

    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def phoning(*calls: Receiver) -> AsyncIterator[Any]:
    """Puts all receivers down at the end."""
    try:
        yield calls[0] if len(calls) == 1 else calls
    finally:
        for call in calls:
            await call.close()
