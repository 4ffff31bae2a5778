"""A client of speech to text, as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from engines.wire.kyutai import STT_PATH, Message, SttOut, pack, unpack

COMES_WITHIN_S = 20.0  # liveness, not speed


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(COMES_WITHIN_S):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def ready(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(COMES_WITHIN_S):
        while (await client.get("/ready")).status != 200:  # noqa: ASYNC110 - a server can only be asked
            await asyncio.sleep(0.02)


class Client:
    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, *messages: Message) -> None:
        for message in messages:
            await self.ws.send_bytes(pack(message))

    async def next(self, *kinds: type) -> Any:
        """The next message of one of these kinds; ``None`` where the server closed."""
        async with asyncio.timeout(COMES_WITHIN_S):
            while True:
                message = await self.ws.receive()
                if message.type != aiohttp.WSMsgType.BINARY:
                    return None
                content = unpack(message.data, SttOut)
                if not kinds or isinstance(content, kinds):
                    return content

    async def all(self) -> list[Any]:
        """Everything until the server closes."""
        return [one async for one in self._rest()]

    async def _rest(self) -> AsyncIterator[Any]:
        while (one := await self.next()) is not None:
            yield one


@asynccontextmanager
async def talking(client: aiohttp.ClientSession, query: str = "", **options: Any) -> AsyncIterator[Client]:
    async with client.ws_connect(f"{STT_PATH}{query}", **options) as ws:
        yield Client(ws)
