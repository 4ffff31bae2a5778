"""The record of a session as it grows, in a real SQLite file: turns, corrections and rows, and when they are durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.record import CallRecord, Correction, Turn, TurnMetrics
from pipeline.messages import Corrections, ServerMessage, TurnAnalysis
from pipeline.record_writer import RecordWriter
from pipeline.store.journal import Journal
from pipeline.store.sql_recorder import SqlStore, open_store

TAUGHT = Correction("I goed", "I went", "An irregular verb.")
FOUND = Correction("to home", "home", "No preposition.")


class Session:
    """What a writer needs of one: its client, its tasks, and who looks at turns."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.journal = Journal(store)
        self.record = CallRecord("a", 1000.0, "websocket", "beginner", "introductions")
        self.sent: list[ServerMessage] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.found: dict[str, Any] | None = None
        self.writer = RecordWriter(self.record, self, send=self.send, spawn=self.spawn)

    async def insight(self, turn: Turn) -> dict[str, Any] | None:
        return self.found

    async def send(self, message: ServerMessage) -> None:
        self.sent.append(message)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(coroutine))

    def says(self, text: str, role: Any = "learner") -> Turn:
        return self.writer.take_turn(role, text, started_at=1001.0, ended_at=1002.0, typed=True)

    async def settled(self) -> list[ServerMessage]:
        """What was sent since, once nothing is under way."""
        await asyncio.gather(*self.tasks)
        sent, self.sent = self.sent, []
        return sent

    async def stored(self) -> Any:
        """The record in the file."""
        await self.writer.written()
        return await self.store.load_record("a")


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    store = await open_store(tmp_path)
    session = Session(store)
    yield session
    await session.settled()
    await session.journal.close(5.0)
    await store.close()


async def test_it_is_written_from_its_opening_on_with_what_was_there_before(session: Session) -> None:
    session.says("Hello!", "tutor")
    assert session.writer.open(session.journal)
    assert not session.writer.open(session.journal)
    said = session.says("i like tea")
    assert said.index == 1
    await session.writer.kept()
    assert [t.text for t in (await session.stored()).turns] == ["Hello!", "i like tea"]


async def test_a_row_takes_the_place_of_an_earlier_state_of_its_turn(session: Session) -> None:
    session.writer.open(session.journal)
    session.says("Hello!", "tutor")
    row = TurnMetrics(0, sent=5.0)
    session.writer.add_metrics(row)
    row.heard = 6.0
    assert session.record.metrics[0].heard is None, "a later change is not the kept row's"
    session.writer.add_metrics(row)
    session.writer.add_metrics(TurnMetrics(1, sent=7.0))
    assert [(r.turn, r.sent, r.heard) for r in session.record.metrics] == [(0, 5.0, 6.0), (1, 7.0, None)]


async def test_what_is_found_in_a_turn_is_kept_and_told(session: Session) -> None:
    session.writer.open(session.journal)
    session.found = {"corrections": [vars_of(FOUND)], "levels": {"A1": 2}, "notable": []}
    turn = session.says("I goed to home")
    told, levels = await session.settled()
    assert isinstance(told, Corrections)
    assert [item.original for item in told.items] == ["to home"]
    assert isinstance(levels, TurnAnalysis)
    assert levels.turn == turn.index
    assert (await session.stored()).turns[0].corrections == [FOUND]


async def test_the_lessons_corrections_go_before_what_was_found(session: Session) -> None:
    session.found = {"corrections": [vars_of(FOUND)], "levels": {}, "notable": []}
    turn = session.says("I goed to home")
    await session.settled()
    await session.writer.correct_last([TAUGHT])
    (told,) = await session.settled()
    assert isinstance(told, Corrections)
    assert turn.corrections == [TAUGHT, FOUND]
    session.writer.amend_turn(turn)
    assert await session.settled() == [], "nothing new was found"


async def test_only_a_learner_is_analysed_and_corrected(session: Session) -> None:
    session.found = {"corrections": [vars_of(FOUND)], "levels": {"A1": 2}, "notable": []}
    session.says("I goed to home", "tutor")
    await session.writer.correct_last([TAUGHT])
    assert await session.settled() == []


async def test_what_is_found_after_the_end_changes_nothing(session: Session) -> None:
    session.writer.open(session.journal)
    session.found = {"corrections": [vars_of(FOUND)], "levels": {"A1": 2}, "notable": []}
    turn = session.says("I goed to home")
    session.writer.close(ended_at=1010.0, reason="over", report=None)
    assert await session.settled() == []
    assert turn.corrections == []
    stored = await session.stored()
    assert stored.end_reason == "over"


def vars_of(correction: Correction) -> dict[str, str]:
    return {"original": correction.original, "correction": correction.correction, "explanation": correction.explanation}
