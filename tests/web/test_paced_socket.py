"""The pace of WebSockets: everything arrives, in order, but no connection has the event loop to itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from web import paced_socket
from web.paced_socket import MAX_FRAGMENTS, PIECE_BYTES, READ_BYTES, READ_MESSAGES, TURN_BYTES, PacedProtocol

LIVENESS_S = 60.0
SMALLEST = 6
"""Bytes of an empty message of a client."""
taken: list[tuple[int, int]] = []


class Watched(PacedProtocol):
    """Notes what was taken apart at once."""

    def go_on(self, messages: int, size: int) -> tuple[int, int]:
        took = super().go_on(messages, size)
        taken.append(took)
        return took


@asynccontextmanager
async def serving(app: Callable[..., Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    taken.clear()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ws=Watched, log_level="error", ws_per_message_deflate=False, lifespan="off", **options)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, LIVENESS_S)


def numbered(count: int) -> bytes:
    """As many messages as the client sends in one go, each with its number; the mask is zero."""
    return b"".join(b"\x82\x84\x00\x00\x00\x00" + index.to_bytes(4) for index in range(count))


async def test_a_flood_of_small_messages_arrives_whole_in_order_and_bit_by_bit() -> None:
    count = 3_000
    received: list[int] = []
    iterations: list[int] = []
    passed = 0

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(int.from_bytes(message["bytes"]))
            iterations.append(passed)
            if len(received) == count:
                await send({"type": "websocket.send", "text": "all"})

    async def others() -> None:
        nonlocal passed
        while True:
            await asyncio.sleep(0)
            passed += 1

    counting = asyncio.create_task(others())
    async with serving(app) as url, connect(url, compression=None) as client:
        client.transport.write(numbered(count))
        assert await asyncio.wait_for(client.recv(), LIVENESS_S) == "all"
    counting.cancel()
    assert received == list(range(count))
    # A piece is taken apart to its end.
    assert max(messages for messages, _ in taken) <= READ_MESSAGES + PIECE_BYTES // SMALLEST
    assert max(iterations.count(i) for i in set(iterations)) <= 2


async def test_a_large_message_arrives_as_it_was_sent() -> None:
    sent = bytes(range(256)) * 4_000

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})

    async with serving(app) as url, connect(url, compression=None, max_size=None) as client:
        for _ in range(2):
            await client.send(sent)
            assert await asyncio.wait_for(client.recv(), LIVENESS_S) == sent
    assert max(size for _, size in taken) <= max(READ_BYTES, TURN_BYTES) + PIECE_BYTES


async def test_pings_without_end_are_answered_in_turns() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    async with serving(app) as url, connect(url, compression=None) as client:
        client.transport.write(b"\x89\x80\x00\x00\x00\x00" * 2_000)
        await client.send("still there?")
        assert await asyncio.wait_for(client.recv(), LIVENESS_S) == "still there?"
    assert max(messages for messages, _ in taken) <= READ_MESSAGES + PIECE_BYTES // SMALLEST
    assert len(taken) > 10


async def test_a_message_of_endless_empty_fragments_is_too_big() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with serving(app) as url, connect(url, compression=None) as client:
        client.transport.write(b"\x02\x80\x00\x00\x00\x00" + b"\x00\x80\x00\x00\x00\x00" * (MAX_FRAGMENTS + 10))
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), LIVENESS_S)
        assert (client.close_code, client.close_reason) == (1009, f"over {MAX_FRAGMENTS} fragments")


async def test_who_is_thrown_out_of_a_flood_hears_why_and_the_close_is_finished(monkeypatch: Any) -> None:
    ended = asyncio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "enough"})
        ended.set()

    monkeypatch.setattr(paced_socket, "TURN_MESSAGES", 200)  # so that the test is short
    async with serving(app) as url, connect(url, compression=None, close_timeout=LIVENESS_S) as client:
        client.transport.write(numbered(5_000))
        await asyncio.wait_for(ended.wait(), LIVENESS_S)
        await asyncio.wait_for(client.wait_closed(), LIVENESS_S)
        assert (client.close_code, client.close_reason) == (1008, "enough")
    # The answer to the close lay behind everything that was sent.
    assert sum(size for _, size in taken) >= len(numbered(5_000))
