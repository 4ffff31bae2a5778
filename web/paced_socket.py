"""uvicorn's WebSocket protocol, for a server on whose event loop other people talk: no connection may keep it from them.

uvicorn takes apart all that one read brings (up to 256 kB: some ten thousand small messages) before anything else may run,
reads on without a limit after it has said that it closes, and has a door that does not wait take message after message. Ten
connections that send without end hold the loop for seconds so. Here a read is taken apart in small pieces; what is more than a
client needs waits, unread, until its turn comes; all who wait share one budget, so that a crowd of them costs no more than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

if TYPE_CHECKING:
    from uvicorn.server import ServerState

PIECE_BYTES = 1_024
"""What is taken apart at once: at most some 170 messages, a few milliseconds of work."""
READ_MESSAGES, READ_BYTES = 16, 65_536
"""What one read may bring without waiting. A microphone sends 10 to 50 messages a second, of at most some kilobytes."""
TURN_S = 0.005
TURN_MESSAGES, TURN_BYTES = 16, 65_536
"""What all who wait may bring together, every ``TURN_S``: 3,200 messages and 13 MB a second."""
MAX_FRAGMENTS = 4_096
"""Frames of one message. Empty ones have no size that a limit could count."""


class Turns:
    """Connections of which more was read than may be taken apart at once. Each goes on when its turn comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[PacedProtocol] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, protocol: PacedProtocol) -> None:
        """Wait for a turn; whoever waits already keeps its place."""
        if protocol.in_line:
            return
        protocol.in_line = True
        self._waiting.append(protocol)
        if self._timer is None:
            self._timer = self._loop.call_later(TURN_S, self._turn)

    def _turn(self) -> None:
        self._timer = None
        messages, size = TURN_MESSAGES, TURN_BYTES
        for _ in range(len(self._waiting)):
            protocol = self._waiting.popleft()
            protocol.in_line = False
            took, took_bytes = protocol.go_on(messages, size)
            messages -= took
            size -= took_bytes
            if messages <= 0 or size <= 0:
                break
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(TURN_S, self._turn)


_turns: WeakKeyDictionary[ServerState, Turns] = WeakKeyDictionary()


class PacedProtocol(WebSocketsSansIOProtocol):
    """One connection. Give it to ``uvicorn.Config(ws=…)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        state: ServerState = kwargs["server_state"]
        if state not in _turns:
            _turns[state] = Turns(self.loop)
        self._turns = _turns[state]
        self._unread = b""
        self.in_line = False

    def data_received(self, data: bytes) -> None:
        """Take apart what may be; the rest waits, and nothing more is read meanwhile."""
        if self._unread:
            # Whoever closes has reading go on, to hear the peer's answer.
            self._unread += data
            self.transport.pause_reading()
            return
        self._unread = data
        self.go_on(READ_MESSAGES, READ_BYTES)

    def go_on(self, messages: int, size: int) -> tuple[int, int]:
        """Take apart ``size`` bytes, or until there were ``messages`` messages, to the end of a piece. What was taken."""
        took = at = 0
        while at < len(self._unread) and took < messages and at < size:
            piece = self._unread[at : at + PIECE_BYTES]
            at += len(piece)
            self.conn.receive_data(piece)
            if self.conn.parser_exc is not None:
                self.handle_parser_exception()
                self._unread = b""
                return took, at
            took += len(self.conn.events)
            self.handle_events()
        self._unread = b"" if self.transport.is_closing() else self._unread[at:]
        if self._unread:
            self.transport.pause_reading()
            self._wait_if_due()
        elif not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
        return took, at

    def _wait_if_due(self) -> None:
        # Before its turn, the app takes what there is. Nobody takes anything of a connection that is being closed.
        if self._unread and (self.queue.empty() or self.close_sent):
            self._turns.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was not taken apart is not wanted any more."""
        self._unread = b""
        super().connection_lost(exc)

    def handle_cont(self, event: Frame) -> None:
        """One more fragment of a message."""
        if self.close_sent:
            return
        if len(self.frames) >= MAX_FRAGMENTS:
            self.frames = []
            self.conn.send_close(CloseCode.MESSAGE_TOO_BIG, f"over {MAX_FRAGMENTS} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    async def send(self, message: Any) -> None:
        """See ASGI. After a close the answer of the peer is waited for, behind all that it had sent."""
        await super().send(message)
        # A handshake that was answered with a refusal is complete, and no error of the app's.
        self.handshake_complete = self.handshake_complete or (self.close_sent and self.initial_response is not None)
        self._wait_if_due()

    async def receive(self) -> Any:
        """See ASGI. Between two messages that are there already, everybody else comes first."""
        if not self.queue.empty():
            await asyncio.sleep(0)
        message = await self.queue.get()
        if self.queue.empty():
            if self._unread:
                self._turns.join(self)
            elif self.read_paused and not self.transport.is_closing():
                self.transport.resume_reading()
            self.read_paused = False
        return message
