"""The longest call: real sessions, pipeline, transport and store; the engines are stand-ins with known times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.fakes import ANSWER_S, fake_engines
from bench.faulty import Board, faulty_engines
from pipeline.faults.lines import TIME_IS_UP
from pipeline.messages import TextInput
from pipeline.session import Session
from pipeline.sessions import SessionManager
from pipeline.settings.tree import LimitSettings, SessionSettings, Settings, SilenceSettings, TutorSettings
from pipeline.transports.websocket import WebSocketTransport

MAX_S = 3.0
ENDS_WITHIN_S = 60.0
"""Liveness: the farewell has 20 s and the report 1.5 s."""


class Client:
    """Takes everything, and keeps it in order: messages, and how many voiced bytes came before each."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.voiced_before: list[int] = []
        self.voiced = 0
        self.closed: tuple[int, str] | None = None

    async def send_json(self, data: dict[str, Any]) -> None:
        self.messages.append(data)
        self.voiced_before.append(self.voiced)

    async def send_bytes(self, data: bytes) -> None:
        self.voiced += int(np.count_nonzero(np.frombuffer(data, np.int16)))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def position(self, kind: str, **fields: Any) -> int | None:
        matches = (
            n for n, m in enumerate(self.messages) if m["type"] == kind and all(m.get(key) == v for key, v in fields.items())
        )
        return next(matches, None)


def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        limits=LimitSettings(max_call_s=MAX_S),
        session=SessionSettings(resume_for_s=600.0),
        silence=SilenceSettings(ask_after_s=0),
        tutor=TutorSettings(greet=False),
    )


@pytest.fixture
async def board() -> Board:
    return Board()


@pytest.fixture
async def manager(tmp_path) -> AsyncIterator[SessionManager]:
    manager = SessionManager(settings(tmp_path), engines=fake_engines())
    await manager.start()
    yield manager
    await manager.close()


@pytest.fixture
async def faulty_manager(tmp_path, board) -> AsyncIterator[SessionManager]:
    manager = SessionManager(settings(tmp_path), engines=faulty_engines(board))
    await manager.start()
    yield manager
    await manager.close()


async def begin(manager: SessionManager) -> tuple[Session, WebSocketTransport, Client]:
    session, client = await manager.create(door="websocket"), Client()
    transport = WebSocketTransport(client, extras=True)
    await session.attach(transport)
    return session, transport, client


async def until(condition: Callable[[], Any], timeout_s: float = ENDS_WITHIN_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.02)


async def ended(manager: SessionManager, session: Session) -> None:
    """The session ended for want of time, and all of it is kept."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        await session.wait_ended()
    kept = await manager.store.load_record(session.id)
    assert kept.end_reason == "time limit"
    assert kept.ended_at is not None
    assert kept.ended_at - kept.started_at >= MAX_S
    assert await manager.store.get_report(session.id) == session.report
    assert manager.get(session.id) is None
    assert manager.by_token(session.resume_token) is None


async def test_a_quiet_call_ends_with_a_spoken_farewell_and_its_report(manager):
    session, _, client = await begin(manager)
    await ended(manager, session)
    said = client.position("ai_text", text=TIME_IS_UP, is_complete=True)
    report = client.position("analysis")
    assert said is not None
    assert report is not None
    assert client.voiced_before[report] - client.voiced_before[said] > 24_000, "a second of voice at least"
    assert client.closed == (1000, "time limit")
    assert [t.text for t in (await manager.store.load_record(session.id)).turns] == [TIME_IS_UP]


async def test_the_tutor_is_cut_short_by_its_own_farewell(manager):
    assert ANSWER_S > MAX_S, "it would still speak"
    session, transport, client = await begin(manager)
    assert transport.on_command is not None
    await transport.on_command(TextInput(text="Hello there"))
    await ended(manager, session)
    cut, said = client.position("interrupted"), client.position("ai_text", text=TIME_IS_UP, is_complete=True)
    assert cut is not None
    assert said is not None
    assert cut < said
    report = client.position("analysis")
    assert report is not None
    assert client.voiced_before[report] - client.voiced_before[said] > 24_000
    turns = (await manager.store.load_record(session.id)).turns
    assert [(t.role, t.interrupted) for t in turns] == [("learner", False), ("tutor", True), ("tutor", False)]
    assert turns[-1].text == TIME_IS_UP


async def test_a_session_without_its_client_ends_in_time_too(manager):
    session, transport, client = await begin(manager)
    await transport.lost("gone")
    await until(lambda: session.state == "detached")
    await ended(manager, session)
    assert client.position("ai_text", text=TIME_IS_UP, is_complete=True) is None


async def test_a_client_that_comes_back_does_not_get_more_time(manager):
    session, transport, _ = await begin(manager)
    await asyncio.sleep(MAX_S / 2)
    await transport.lost("gone")
    await until(lambda: session.state == "detached")
    back = Client()
    await session.attach(WebSocketTransport(back, extras=True))
    await ended(manager, session)
    kept = await manager.store.load_record(session.id)
    assert back.position("analysis") is not None
    assert kept.turns[-1].started_at - kept.started_at >= MAX_S


async def test_a_stage_that_fails_keeps_nobody_in_the_call(faulty_manager, board):
    async def call(fault: str) -> None:
        session, transport, client = await begin(faulty_manager)
        board.put(session.id, fault)
        assert transport.on_command is not None
        await transport.on_command(TextInput(text="Hello there"))
        await ended(faulty_manager, session)
        assert client.position("analysis") is not None, fault
        assert client.closed == (1000, "time limit"), fault

    async with asyncio.TaskGroup() as calls:
        for fault in ("llm.stall", "tts.stall", "tts.raise", "stt.hang"):
            calls.create_task(call(fault), name=fault)
