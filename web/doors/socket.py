"""A WebSocket as every door over one has it: how it is accepted, written to, read until it is over, and refused or ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from loguru import logger
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.transports.websocket import CLOSE_TIMEOUT_S
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


async def serve_until_closed(
    reading: Coroutine[Any, Any, str], writer: SocketWriter, finish: Callable[[str, int], Awaitable[None]], *, door: str
) -> None:
    """Read until either side closes the socket, and ``finish`` whatever happens.

    ``reading`` returns why it ended; ``finish`` is given that and the code to close with. ``door`` is its name in the log.
    """
    reader = asyncio.create_task(reading, name=f"{door} reader")
    closed = asyncio.create_task(writer.closed.wait(), name=f"{door} closed")
    try:
        await asyncio.wait({reader, closed}, return_when=asyncio.FIRST_COMPLETED)
        # A closed socket ends the reader by itself, unless the client has stalled.
        await asyncio.wait({reader}, timeout=CLOSE_TIMEOUT_S + 1.0)
    finally:
        for task in (reader, closed):
            task.cancel()
        outcome, _ = await asyncio.gather(reader, closed, return_exceptions=True)
        code = 1000
        if isinstance(outcome, Exception):
            logger.opt(exception=outcome).error("the {} door failed", door)
            code = FAILED
        await finish(outcome if isinstance(outcome, str) else "the connection ended", code)


def check_size(message: Message, most_bytes: int) -> None:
    """Raises ``Expelled`` for a giant message."""
    data, text = message.get("bytes"), message.get("text")
    # Characters stand in for the bytes of a text: at most four times too lenient, and cheap.
    size = len(data) if data is not None else len(text or "")
    if size > most_bytes:
        raise Expelled(TOO_BIG, f"a message of {size} bytes is over the limit of {most_bytes}")
