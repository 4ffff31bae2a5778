"""A client that is gone before its call has begun leaves no call behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
from websockets.asyncio.client import connect


async def test_clients_that_vanish_while_their_call_is_built_are_all_detached(own_server):
    server = own_server(PARLEY_SERVER__SESSION_RATE_PER_MINUTE="10000", PARLEY_SESSION__RESUME_FOR_S="1")
    url = f"ws://127.0.0.1:{server.port}/ws/conversation"

    async def vanish(after_s: float, query: str) -> None:
        with suppress(OSError):
            socket = await connect(url + query, proxy=None)
            await asyncio.sleep(after_s)
            socket.transport.abort()

    for n in range(40):
        await vanish((n % 8) * 0.004, "?extras=1" if n % 2 else "")

    def no_calls() -> bool:
        status = httpx.get(f"{server.url}/status").json()
        return status["active_calls"] == 0 and status["detached_calls"] == 0

    server.wait_for(no_calls, "every session to end", 30)
