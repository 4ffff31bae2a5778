"""A stand-in for an Asterisk, written from its public pages ("AudioSocket" under Channel Drivers, "AudioSocket()" under
Dialplan Applications): it connects, names the call, sends a frame of the caller's voice every 20 ms and passes on to the caller
each frame as it comes. It checks every byte that it is sent against those pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from web.talk.wavs import read_wav

PIECE_S = 0.02
LIVENESS_S = 30.0
HANG_UP, NAME, DIGIT, FAILURE = 0x00, 0x01, 0x03, 0xFF
AUDIO = {8_000: 0x10, 12_000: 0x11, 16_000: 0x12, 24_000: 0x13, 32_000: 0x14, 44_100: 0x15, 48_000: 0x16}


class FakeAsterisk:
    """One call: ``await dial()``, then ``say`` and ``press`` until ``hang_up``."""

    def __init__(self, port: int, *, rate_hz: int = 8_000, silent: bool = False) -> None:
        self.port, self.rate_hz = port, rate_hz
        self.uuid = uuid.uuid4()
        self.heard = bytearray()
        self.arrivals: list[float] = []
        self.kinds: set[int] = set()
        self.hung_up = False
        """Whether the server said so before it ended the connection."""
        self.ended = asyncio.Event()
        self.frames = 0
        self._silent = silent
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._voice = np.zeros(0, np.int16)
        self._said = asyncio.Event()
        self._rng = np.random.default_rng(7)

    @property
    def samples(self) -> np.ndarray:
        return np.frombuffer(bytes(self.heard), np.int16)

    @property
    def voiced_s(self) -> float:
        piece = round(PIECE_S * self.rate_hz)
        pcm = self.samples.astype(np.float32)
        whole = pcm[: len(pcm) // piece * piece].reshape(-1, piece)
        return float((np.sqrt((whole**2).mean(axis=1)) > 200).sum() * PIECE_S)

    async def connect(self) -> FakeAsterisk:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._tasks.append(asyncio.create_task(self._read()))
        return self

    async def dial(self) -> FakeAsterisk:
        await self.connect()
        self.frame(NAME, self.uuid.bytes)
        self._tasks.append(asyncio.create_task(self._speak()))
        return self

    def frame(self, kind: int, payload: bytes = b"") -> None:
        self.raw(bytes([kind]) + len(payload).to_bytes(2, "big") + payload)

    def raw(self, data: bytes) -> None:
        assert self._writer is not None
        if not self._writer.is_closing():
            self._writer.write(data)

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        due, piece = loop.time(), round(PIECE_S * self.rate_hz)
        while not self.ended.is_set():
            voice, self._voice = self._voice[:piece], self._voice[piece:]
            if not len(self._voice):
                self._said.set()
            if len(voice) or not self._silent:
                samples = self._rng.normal(0, 8, piece).astype(np.int16)
                samples[: len(voice)] += voice
                self.frame(AUDIO[self.rate_hz], samples.tobytes())
                self.frames += 1
            due += PIECE_S
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _read(self) -> None:
        assert self._reader is not None
        loop = asyncio.get_running_loop()
        try:
            while True:
                header = await self._reader.readexactly(3)
                payload = await self._reader.readexactly(int.from_bytes(header[1:], "big"))
                self.kinds.add(header[0])
                assert not self.hung_up, "nothing comes after a hang-up"
                match header[0]:
                    case kind if kind == AUDIO[self.rate_hz]:
                        assert payload
                        assert len(payload) % 2 == 0
                        assert len(payload) <= 2 * self.rate_hz, "an Asterisk passes a frame on as one packet"
                        self.arrivals.append(loop.time())
                        self.heard += payload
                    case kind if kind == HANG_UP:
                        assert payload == b""
                        self.hung_up = True
                    case kind:
                        raise AssertionError(f"an Asterisk takes no frame of kind {kind:#04x}")
        except asyncio.IncompleteReadError as e:
            if e.partial:
                raise AssertionError(f"half a frame: {e.partial!r}") from e
        except OSError:
            pass
        finally:
            self.ended.set()

    # The caller

    def play(self, samples: np.ndarray) -> None:
        self._said.clear()
        self._voice = np.concatenate([self._voice, samples.astype(np.int16)])

    async def say(self, wav: Path, *, wait: bool = True) -> None:
        self.play(read_wav(wav, self.rate_hz))
        if wait:
            await asyncio.wait_for(self._said.wait(), LIVENESS_S)

    def press(self, digit: str) -> None:
        self.frame(DIGIT, digit.encode())

    async def hang_up(self, *, word: bool = True) -> None:
        """The caller puts the receiver down: with a hang-up frame, or by the end of the connection alone."""
        if word:
            self.frame(HANG_UP)
        self.ended.set()
        assert self._writer is not None
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def break_off(self) -> None:
        """The connection is reset."""
        assert self._writer is not None
        self.ended.set()
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time") from None

    async def close(self) -> None:
        self.ended.set()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


@contextlib.asynccontextmanager
async def phoning(*calls: FakeAsterisk) -> AsyncIterator[Any]:
    """Puts all receivers down at the end."""
    try:
        yield calls[0] if len(calls) == 1 else calls
    finally:
        for call in calls:
            await call.close()
