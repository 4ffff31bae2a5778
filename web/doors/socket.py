"""The half of a WebSocket that a door writes to, and how a connection is refused or ended. Every door over one has the same."""

from __future__ import annotations

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from web.problems import ProblemError, problem_response
from web.state import count_session

ABUSE, TOO_BIG, FAILED, TRY_LATER = 1008, 1009, 1011, 1013
"""Close codes of RFC 6455 and its registry."""
CLOSE_REASON_BYTES = 123  # RFC 6455, 5.5


class Expelled(Exception):
    """The connection ends, with this close code; the text says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class SocketWriter:
    """Writes to a Starlette WebSocket. ``closed`` is set when this side closes it."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.closed = asyncio.Event()

    async def send(self, message: str | bytes | None) -> None:
        """Write a text or a binary message; ``None`` is nothing to say.

        Raises:
            ConnectionError: the peer is gone.
        """
        if message is None:
            return
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (RuntimeError, WebSocketDisconnect) as e:
            raise ConnectionError("closed") from e

    async def close(self, code: int, reason: str) -> None:
        """Close the socket, with as much of ``reason`` as fits. Safe to call twice; never raises for a peer that is gone."""
        if self.closed.is_set():
            return
        self.closed.set()
        short = reason.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore")
        try:
            await self._websocket.close(code, short)
        except (RuntimeError, WebSocketDisconnect, OSError):
            pass  # the client was faster


async def accepted(websocket: WebSocket) -> bool:
    """Take a connection that is to be a call; false where its address begins too many, which the handshake says."""
    try:
        count_session(websocket)
    except ProblemError as e:
        await websocket.send_denial_response(
            problem_response(e.status_code, e.detail, kind=e.kind, title=e.title, headers=dict(e.headers or {}))
        )
        return False
    await websocket.accept()
    return True
