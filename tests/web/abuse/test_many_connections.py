"""A thousand connections that are opened and dropped, beside a call of somebody else's, which goes on.

What they do to its packets is measured by ``python -m bench abuse``.
"""

from __future__ import annotations

import asyncio
import json
import random

import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.web.abuse.conftest import calls

CONNECTIONS = 1_000
AT_ONCE = 20
LIVENESS_S = 60.0
MAX_MEMORY_MB_MORE = 150
"""Of the server's process. What one dropped call leaked would be 10 MB and more."""
pytestmark = pytest.mark.leaves_running(reason="the server starts its process for reports anew when one has taken too long")


async def talk(socket: ClientConnection, stop: asyncio.Event) -> int:
    """Have the tutor answer again and again, and once more after ``stop``; how many pieces of its voice came before."""
    pieces = 0
    last = False
    while True:
        raw = await asyncio.wait_for(socket.recv(), LIVENESS_S)
        if isinstance(raw, bytes):
            pieces += not stop.is_set()
        elif json.loads(raw)["type"] == "turn_complete":
            if last:
                return pieces
            last = stop.is_set()
            await socket.send(json.dumps({"type": "text", "text": "Can you say that again, please?"}))


async def drop_one(url: str, number: int) -> None:
    """Open a connection, say something fit or unfit, or nothing, and go without a goodbye."""
    draw = random.Random(number)
    try:
        async with connect(url + draw.choice(["", "?extras=1"]), max_size=None, compression=None, open_timeout=60) as socket:
            for said in draw.choice([[], [b"\x00" * 640] * 5, ["{"], [b"\x00"], ['{"type":"ping"}']]):
                await socket.send(said)
            await asyncio.sleep(draw.choice([0, 0, 0.02]))
            socket.transport.abort()
    except (OSError, WebSocketException):
        pass  # the server was full and quicker


async def drop_all(url: str, crowd: int) -> None:
    numbers = iter(range(crowd))

    async def some() -> None:
        for number in numbers:
            await drop_one(url, number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def test_a_call_goes_on_beside_a_thousand_dropped_connections(nothing_broke):
    server = nothing_broke
    url = f"ws://127.0.0.1:{server.port}/ws/conversation"
    process = psutil.Process(server.process.pid)
    await drop_all(url, 50)  # warms the process
    await asyncio.to_thread(server.wait_for, lambda: calls(server) == 0, "every call ends", 60)
    memory = process.memory_info().rss
    async with connect(f"{url}?extras=1", max_size=None, max_queue=None, compression=None) as socket:
        hello = json.loads(await asyncio.wait_for(socket.recv(), LIVENESS_S))
        assert hello["type"] == "connected", "it has its place before the crowd comes"
        stop = asyncio.Event()
        talking = asyncio.create_task(talk(socket, stop))
        await drop_all(url, CONNECTIONS)
        stop.set()
        assert await talking > 0
        await socket.send('{"type":"end_conversation"}')
    await asyncio.to_thread(server.wait_for, lambda: calls(server) == 0, "every call ends", 60)
    assert (process.memory_info().rss - memory) / 1e6 < MAX_MEMORY_MB_MORE
