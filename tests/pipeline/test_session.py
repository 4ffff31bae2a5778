"""A session and its connections: real models, store and pipeline; the engines are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.fakes import fake_engines
from pipeline.sessions import SessionManager
from pipeline.settings.tree import SessionSettings, Settings
from pipeline.transports.websocket import WebSocketTransport


class Sink:
    """A client that takes everything."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None

    async def send_json(self, data: dict[str, Any]) -> None:
        self.messages.append(data)

    async def send_bytes(self, data: bytes) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@pytest.fixture
async def manager(tmp_path) -> AsyncIterator[SessionManager]:
    settings = Settings(data_dir=tmp_path, session=SessionSettings(resume_for_s=30.0))
    manager = SessionManager(settings, engines=fake_engines())
    await manager.start()
    yield manager
    await manager.close()


async def until(condition, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.02)


async def test_a_client_that_is_gone_before_the_call_is_built_is_detached(manager):
    session = await manager.create(door="websocket")
    transport = WebSocketTransport(Sink(), extras=True)
    await transport.lost("gone before it began")
    await session.attach(transport)
    await until(lambda: session.state == "detached")


async def test_the_loss_of_an_old_connection_does_not_detach_the_new_one(manager):
    session = await manager.create(door="websocket")
    old, new = WebSocketTransport(Sink(), extras=True), WebSocketTransport(Sink(), extras=True)
    await session.attach(old)
    lost = old.on_lost
    assert lost is not None
    await lost("late news")
    await session.attach(new)
    await asyncio.sleep(0.2)
    assert session.state == "attached"
    await session.end("over")


async def test_a_second_connection_takes_the_place_of_the_first(manager):
    session = await manager.create(door="websocket")
    first, second = Sink(), Sink()
    await session.attach(WebSocketTransport(first, extras=True))
    await session.attach(WebSocketTransport(second, extras=True))
    assert first.closed is not None
    assert second.closed is None
    report = await session.end("over")
    assert second.messages[-1] == {"type": "analysis", "data": report}
    assert second.closed == (1000, "over")
    assert manager.get(session.id) is None


async def test_an_ended_session_takes_no_connection_and_gives_its_report_again(manager):
    session = await manager.create(door="websocket")
    await session.attach(WebSocketTransport(Sink()))
    reports = await asyncio.gather(session.end("over"), session.end("over again"))
    assert reports[0] == reports[1]
    with pytest.raises(Exception, match="ended"):
        await session.attach(WebSocketTransport(Sink()))


async def test_a_full_disk_does_not_end_the_conversation(manager, monkeypatch):
    session = await manager.create(door="websocket")
    sink = Sink()
    transport = WebSocketTransport(sink, extras=True)
    await session.attach(transport)

    async def full(*_: Any) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(manager.store, "add_turn", full)
    handler = transport.on_command
    assert handler is not None
    from pipeline.messages import TextInput

    await handler(TextInput(text="Hello there"))
    await until(lambda: any(m["type"] == "ai_text" and m["is_complete"] for m in sink.messages))
    report = await session.end("over")
    assert report["measures"]["learner_turns"]["value"] == 1
