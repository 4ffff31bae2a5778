"""A TCP link that delivers everything later, in order: a WebSocket over a distant or busy network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def slow_link(port: int, delay_s: float) -> AsyncIterator[int]:
    """Connects to ``port`` of this machine whoever comes to the yielded port, with ``delay_s`` each way."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due_at, data = await under_way.get()
                await asyncio.sleep(due_at - loop.time())
                if not data:
                    break
                writer.write(data)
            writer.close()

        delivery = asyncio.create_task(deliver())
        try:
            data = b"-"
            while data:
                data = await reader.read(65_536)
                under_way.put_nowait((loop.time() + delay_s, data))
            await delivery
        except ConnectionError:
            pass
        finally:
            delivery.cancel()
            with suppress(ConnectionError):
                writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, back), (there, writer)):
            task = asyncio.create_task(carry(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
