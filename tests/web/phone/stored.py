"""What a server with the embedded engines has stored of a call by phone, asked for while the call goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.running_server import RunningServer
from tests.web.phone.caller import Caller


async def ask(server: RunningServer, path: str) -> Any:
    return await asyncio.to_thread(server.get, path)


async def until_turns(server: RunningServer, session_id: str, enough: Callable[[list[dict[str, Any]]], bool]) -> Any:
    """The stored session, once its turns are ``enough``."""
    for _ in range(600):
        kept = await ask(server, f"/api/sessions/{session_id}")
        if enough(kept["turns"]):
            return kept
        await asyncio.sleep(0.1)
    raise AssertionError([(t["role"], t["text"]) for t in kept["turns"]])


async def connected(server: RunningServer, call: Caller, connect: Awaitable[Any]) -> str:
    """Wait for the greeting of a call that ``connect`` begins; the session's id."""
    before = {s["id"] for s in (await ask(server, "/api/sessions"))["items"]}
    await connect
    await call.until(lambda: call.voiced_s > 0.2, "the greeting begins")
    new = [s for s in (await ask(server, "/api/sessions"))["items"] if s["id"] not in before]
    assert [s["door"] for s in new] == ["phone"]
    return str(new[0]["id"])
