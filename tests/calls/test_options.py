"""The speech rate that a learner sets is the rate at which the tutor really speaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect


@asynccontextmanager
async def dialled(url: str, query: str) -> AsyncIterator[ClientConnection]:
    async with connect(f"{url.replace('http', 'ws', 1)}/ws/conversation?extras=1&{query}", max_size=None) as socket:
        yield socket


async def line(socket: ClientConnection) -> tuple[str, float]:
    """The tutor's next line: its text and the seconds of its speech."""
    text, pcm = "", 0
    async with asyncio.timeout(60):
        while True:
            data = await socket.recv()
            if isinstance(data, bytes):
                pcm += len(data)
                continue
            message: dict[str, Any] = json.loads(data)
            if message["type"] == "ai_text" and message["is_complete"]:
                text = message["text"]
            if message["type"] == "turn_complete" and text:
                return text, pcm / 2 / 24_000


async def test_the_same_line_is_as_much_longer_as_it_is_slower(server):
    async with dialled(server.url, "speech_rate=0.8") as socket:
        first = json.loads(await socket.recv())
        slow_text, slow_s = await line(socket)
        await socket.send(json.dumps({"type": "set_options", "speech_rate": 1.3}))
        await socket.send(json.dumps({"type": "set_lesson", "lesson": first["lesson"]}))
        fast_text, fast_s = await line(socket)
        assert fast_text == slow_text
        assert slow_s / fast_s == pytest.approx(1.3 / 0.8, rel=0.15)
    # The learner comes back, and the tutor still speaks at the rate that was set.
    async with dialled(server.url, f"resume={first['resume_token']}") as socket:
        assert json.loads(await socket.recv())["options"]["speech_rate"] == 1.3
        await socket.send(json.dumps({"type": "set_lesson", "lesson": first["lesson"]}))
        again_text, again_s = await line(socket)
        assert again_text == slow_text
        assert again_s == pytest.approx(fast_s, rel=0.05)
        await socket.send(json.dumps({"type": "end_conversation"}))
        async with asyncio.timeout(30):
            async for data in socket:
                if not isinstance(data, bytes) and json.loads(data)["type"] == "analysis":
                    break
