"""Records on their way to a store that is locked, full or gone: a real SQLite file, locked by a real connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loguru import logger

from agent.record import CallRecord, Correction, Turn, TurnMetrics
from pipeline.metrics import prometheus
from pipeline.store import database, journal
from pipeline.store.journal import Journal
from pipeline.store.sql_recorder import SqlStore, open_store

WITHIN_S = 20.0


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqlStore]:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    store = await open_store(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@contextmanager
def locked(store: SqlStore) -> Iterator[sqlite3.Connection]:
    other = sqlite3.connect(store.path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield other
    finally:
        other.close()


async def limit_pages(store: SqlStore, pages: int) -> int:
    """Let the file grow to no more than ``pages``; the limit that SQLite took: never less than there are."""
    async with store._database._writer.connect() as connection:
        return int((await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")).scalar_one())


def record(session_id: str = "a") -> CallRecord:
    return CallRecord(session_id, 1000.0, "websocket", "beginner", "introductions")


def turn(index: int, text: str = "") -> Turn:
    return Turn(index, "learner", text or f"turn {index}", 1000.0 + index, 1000.5 + index)


def errors() -> float:
    return float(prometheus.ERRORS.labels("store")._value.get())


async def test_what_is_handed_over_is_written_and_the_task_ends(store):
    writer = Journal(store)
    call = writer.open(record())
    call.add_turn(turn(0))
    call.add_metrics(TurnMetrics(0, sent=5.0))
    call.update(level="advanced")
    call.update(lesson="ordering_food")
    call.close(ended_at=1010.0, reason="over", report={"final_score": 1.0})
    assert await call.written(WITHIN_S)
    kept = await store.load_record("a")
    assert (kept.turns, kept.metrics, kept.end_reason) == ([turn(0)], [TurnMetrics(0, sent=5.0)], "over")
    assert (kept.level, kept.lesson) == ("advanced", "ordering_food")
    assert await store.get_report("a") == {"final_score": 1.0}
    assert writer.waiting == 0
    assert writer.unwritten("a") is None


async def test_a_lock_delays_writes_and_loses_none(store, told):
    writer, before = Journal(store), errors()
    with locked(store):
        calls = [writer.open(record(name)) for name in ("a", "b")]
        for index in range(5):
            for call in calls:
                call.add_turn(turn(index))
        assert not await calls[0].written(0.5)
        assert writer.error is not None
        assert "locked" in writer.error
        assert writer.waiting == 12
        assert writer.unwritten("b") is calls[1]
    for call in calls:
        assert await call.written(WITHIN_S)
    assert [t.index for t in (await store.load_record("a")).turns] == list(range(5))
    assert [t.index for t in (await store.load_record("b")).turns] == list(range(5))
    assert writer.error is None
    assert errors() == before + 1, "one lock is one error, however often it is tried"
    assert len([line for line in told if "cannot be written" in line]) == 1
    assert len([line for line in told if "is written again" in line]) == 1


async def test_only_a_prompt_disk_is_waited_for(store):
    writer = Journal(store)
    call = writer.open(record())
    await call.kept(WITHIN_S)
    assert await store.get_session("a") is not None
    with locked(store):
        call.add_turn(turn(0))
        await call.kept(0.05)
        assert not call.idle.is_set()
        call.add_turn(turn(1))
        async with asyncio.timeout(WITHIN_S):
            await call.kept(10 * WITHIN_S)
        assert not call.idle.is_set()
    assert await call.written(WITHIN_S)
    call.add_turn(turn(2))
    await call.kept(WITHIN_S)
    assert len((await store.load_record("a")).turns) == 3


async def test_a_full_disk_delays_writes_until_there_is_space(store):
    writer = Journal(store)
    call = writer.open(record())
    assert await call.written(WITHIN_S)
    full = await limit_pages(store, 1)
    for index in range(3):
        call.add_turn(turn(index, "x" * 4096 * 4))
    assert not await call.written(0.5)
    assert writer.error is not None
    assert "full" in writer.error
    assert (await store.load_record("a")).turns == []
    await limit_pages(store, full + 1000)
    assert await call.written(WITHIN_S)
    assert [t.index for t in (await store.load_record("a")).turns] == [0, 1, 2]


async def test_the_last_state_of_a_turn_is_written_once(store):
    writer = Journal(store)
    said = turn(0)
    with locked(store):
        call = writer.open(record())
        call.add_turn(said)
        assert not await call.written(0.2)
        said.corrections = [Correction("goed", "went", "")]
        call.add_turn(said)
        call.add_metrics(TurnMetrics(0, sent=1.0))
        call.add_metrics(TurnMetrics(0, sent=1.0, heard=2.0))
        assert len(call.queue) <= 3
    assert await call.written(WITHIN_S)
    kept = await store.load_record("a")
    assert kept.turns == [said]
    assert kept.metrics == [TurnMetrics(0, sent=1.0, heard=2.0)]


async def test_a_long_lock_takes_up_no_more_than_so_many_writes(store, monkeypatch):
    monkeypatch.setattr(journal, "MAX_WAITING", 10)
    writer, kept = Journal(store), record()
    with locked(store):
        call = writer.open(kept)
        for index in range(55):
            kept.turns.append(turn(index))
            call.add_turn(kept.turns[-1])
            assert len(call.queue) <= 10
        call.close(ended_at=2000.0, reason="over", report={})
        call.add_turn(kept.turns[-1])
    assert await call.written(WITHIN_S)
    read = await store.load_record("a")
    assert read.turns == kept.turns
    assert read.end_reason == "over"


async def test_what_can_never_be_written_holds_up_nothing(store, told):
    writer, before = Journal(store), errors()
    call = writer.open(record())
    broken = turn(0)
    broken.role = None  # type: ignore[assignment]
    call.add_turn(broken)
    call.add_turn(turn(1))
    assert await call.written(WITHIN_S)
    assert [t.index for t in (await store.load_record("a")).turns] == [1]
    assert errors() == before + 1
    assert any("a part of the record could not be written" in line for line in told)


async def test_after_the_end_of_a_call_its_writes_are_given_up_counted_and_told(store, told):
    writer, before = Journal(store, retry_for_s=0.3), errors()
    with locked(store):
        call = writer.open(record())
        call.add_turn(turn(0))
        call.close(ended_at=1010.0, reason="over", report=None)
        assert await call.written(WITHIN_S), "nothing waits any more"
        assert writer.waiting == 0
    assert errors() == before + 1 + 3
    assert any(line.startswith("3 parts of the record were not written in time and are lost: ") for line in told)
    assert await store.get_session("a") is None
    later = writer.open(record("b"))
    assert await later.written(WITHIN_S)
    assert writer.error is None
    assert await store.get_session("b") is not None


async def test_the_end_of_the_process_waits_only_so_long(store, told):
    writer, before = Journal(store), errors()
    with locked(store):
        call = writer.open(record())
        call.add_turn(turn(0))
        assert not await call.written(0.3)
        await writer.close(0.3)
    assert writer.waiting == 0
    assert errors() > before + 1
    assert any("are lost" in line for line in told)
    call.add_turn(turn(1))
    assert await call.written(0), "a closed journal takes nothing"


async def test_a_call_that_is_deleted_is_not_written_afterwards(store):
    writer = Journal(store)
    with locked(store):
        call = writer.open(record())
        assert not await call.written(0.2)
        assert writer.forget("a")
        assert not writer.forget("a")
    other = writer.open(record("b"))
    assert await other.written(WITHIN_S)
    assert await store.get_session("a") is None
