"""The very first gate: requests come in one after the other, so that a crowd waits, and not the voices of those who talk.

All calls share one event loop, and answering a request (a refusal, too) holds it for some milliseconds: twenty at once are a
hole in everybody's sound. So a few pass freely, and beyond that one passes every ``EVERY_S``, address by address in turn.
Whoever finds the line full is sent away at next to no cost.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Generic, TypeVar

from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.transports.bucket import Bucket
from web.problems import problem_response

FREE = 20
"""Requests at once that nobody waits for: what a page asks for when it opens."""
EVERY_S = 0.01
MAX_WAITING, MAX_OF_ADDRESS = 256, 64
TOLD_EVERY_S = 60.0
_REFUSAL = problem_response(
    429,
    "too many requests at once; try again in a moment",
    kind="too-many-requests",
    title="Too many requests",
    headers={"Retry-After": "3", "Connection": "close"},
)
"""Made once: a crowd gets the same bytes."""
T = TypeVar("T")


class Line(Generic[T]):
    """Who waits, by address: each address has its turn, however many of another one wait. Pure."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, address: str, one: T) -> bool:
        """Stand in line. False: there is no room for this address, or for anybody."""
        own = self._waiting.get(address)
        if self._size >= self._most or (own is not None and len(own) >= self._most_of_one):
            return False
        if own is None:
            own = self._waiting[address] = deque()
        own.append(one)
        self._size += 1
        return True

    def take(self) -> T | None:
        """Whose turn it is; ``None`` where nobody waits."""
        if not self._waiting:
            return None
        address, own = self._waiting.popitem(last=False)
        one = own.popleft()
        self._size -= 1
        if own:
            self._waiting[address] = own
        return one


class Gate:
    """Lets a few pass freely, and beyond that one every ``EVERY_S``. At most ``of_address`` of one address may wait."""

    def __init__(self, of_address: int = MAX_OF_ADDRESS) -> None:
        self._free = Bucket(FREE, 1 / EVERY_S)
        self._line: Line[asyncio.Future[None]] = Line(MAX_WAITING, of_address)
        self._timer: asyncio.TimerHandle | None = None

    async def passes(self, address: str) -> bool:
        """Wait for one's turn. False, and at once: the line is full."""
        loop = asyncio.get_running_loop()
        if not self._line and self._free.take(loop.time()):
            return True
        turn = loop.create_future()
        if not self._line.put(address, turn):
            return False
        self._wait()
        await turn
        return True

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._next)

    def _next(self) -> None:
        self._timer = None
        # Those who were cancelled while they waited are nobody any more.
        while (turn := self._line.take()) is not None and turn.done():
            pass
        if turn is not None:
            turn.set_result(None)
        if self._line:
            self._wait()


class Turnstile:
    """ASGI middleware. It belongs outside of everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._gate = Gate()
        self._told_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            if not await self._gate.passes(client[0] if client else "unknown"):
                await self._send_away(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _send_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            logger.warning("more requests than can be answered: some are sent away (429)")
        if scope["type"] == "http":
            kind = "http"
        elif "websocket.http.response" in scope.get("extensions", {}):
            kind = "websocket.http"
            await receive()  # websocket.connect
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1013})
            return
        await send({"type": f"{kind}.response.start", "status": 429, "headers": _REFUSAL.raw_headers})
        await send({"type": f"{kind}.response.body", "body": _REFUSAL.body})
