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

from tests.web.phone.caller import Caller

HANG_UP, NAME, DIGIT, FAILURE = 0x00, 0x01, 0x03, 0xFF
AUDIO = {8_000: 0x10, 12_000: 0x11, 16_000: 0x12, 24_000: 0x13, 32_000: 0x14, 44_100: 0x15, 48_000: 0x16}


class FakeAsterisk(Caller):
    """One call: ``await dial()``, then ``say`` and ``press`` until ``hang_up``."""

    def __init__(self, port: int, *, rate_hz: int = 8_000, silent: bool = False) -> None:
        super().__init__()
        self.port, self.rate_hz = port, rate_hz
        self.uuid = uuid.uuid4()
        self.kinds: set[int] = set()
        self.hung_up = False
        """Whether the server said so before it ended the connection."""
        self._silent = silent
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

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
        due = loop.time()
        while not self.ended.is_set():
            piece, is_voice = self._next_piece()
            if is_voice or not self._silent:
                self.frame(AUDIO[self.rate_hz], piece.tobytes())
                self.frames += 1
            due += self.piece_s
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

    async def close(self) -> None:
        self.ended.set()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        await self._finish_tasks()
