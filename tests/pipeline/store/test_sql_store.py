"""The store on a real SQLite file: what is written comes back, in order, and goes away when it is deleted."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.record import LEVELS, CallRecord, Correction, Turn, TurnMetrics, Word
from pipeline.store.database import StoreError
from pipeline.store.models import APPLICATION_ID, SCHEMA_VERSION
from pipeline.store.recorder import Recorder
from pipeline.store.sql_recorder import FILE_NAME, SqlStore, UnknownSession, _read_cursor, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = await open_store(tmp_path)
    yield store
    await store.close()


def call(session_id: str = "s1", started_at: float = 1000.0) -> CallRecord:
    return CallRecord(session_id=session_id, started_at=started_at, door="websocket", level="beginner", lesson="introductions")


def turn(index: int, text: str = "hello", **kwargs: object) -> Turn:
    values: dict[str, object] = {
        "role": "learner" if index % 2 else "tutor",
        "started_at": 1000.0 + index,
        "ended_at": 1000.5 + index,
    }
    return Turn(index=index, text=text, **{**values, **kwargs})  # type: ignore[arg-type]


times = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)
optional_times = st.none() | times
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
words = st.builds(Word, texts, times, times, st.none() | st.floats(0, 1))
corrections = st.builds(Correction, texts, texts, texts)
turns = st.builds(
    Turn,
    index=st.integers(0, 50),
    role=st.sampled_from(["learner", "tutor"]),
    text=texts,
    started_at=times,
    ended_at=times,
    words=st.lists(words, max_size=4),
    interrupted=st.booleans(),
    typed=st.booleans(),
    corrections=st.lists(corrections, max_size=3),
)
stages = ("user_stop", "eot", "stt_final", "llm_first_token", "llm_first_sentence", "tts_first_audio")
marks = (*stages, "sent", "heard", "onset", "ducked", "stopped")
metrics = st.builds(
    TurnMetrics,
    turn=st.integers(0, 50),
    verdict=st.sampled_from([None, "real", "backchannel", "noise"]),
    **dict.fromkeys(marks, optional_times),
)
records = st.builds(
    CallRecord,
    session_id=texts,
    started_at=times,
    door=texts,
    level=st.sampled_from(LEVELS),
    lesson=texts,
    turns=st.lists(turns, max_size=5, unique_by=lambda t: t.index).map(lambda ts: sorted(ts, key=lambda t: t.index)),
    metrics=st.lists(metrics, max_size=5, unique_by=lambda m: m.turn).map(lambda ms: sorted(ms, key=lambda m: m.turn)),
    ended_at=st.just(None),
    end_reason=st.just(None),
)
reports = st.dictionaries(texts, st.none() | st.booleans() | times | texts | st.lists(texts, max_size=2), max_size=4)


@given(record=records, end=times, reason=texts, report=st.none() | reports, at_once=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_field_comes_back(
    record: CallRecord, end: float, reason: str, report: dict[str, object] | None, at_once: bool
) -> None:
    async def go(data_dir: Path) -> None:
        store = await open_store(data_dir)
        if at_once:
            await store.open(record)
        else:
            await store.open(CallRecord(record.session_id, record.started_at, record.door, record.level, record.lesson))
            for t in record.turns:
                await store.add_turn(record.session_id, t)
            for m in record.metrics:
                await store.add_metrics(record.session_id, m)
        assert await store.load_record(record.session_id) == record
        await store.close(record.session_id, ended_at=end, reason=reason, report=report)
        await store.close()
        again = await open_store(data_dir)
        closed = await again.load_record(record.session_id)
        assert (closed.turns, closed.metrics, closed.ended_at, closed.end_reason) == (record.turns, record.metrics, end, reason)
        assert await again.get_report(record.session_id) == report
        (item,) = (await again.list_sessions(10)).items
        assert (item.id, item.started_at, item.ended_at) == (record.session_id, record.started_at, end)
        assert (item.door, item.level, item.lesson, item.turn_count) == (
            record.door,
            record.level,
            record.lesson,
            len(record.turns),
        )
        await again.close()

    with TemporaryDirectory() as folder:
        asyncio.run(go(Path(folder)))


async def test_is_a_recorder(store: SqlStore) -> None:
    recorder: Recorder = store
    await recorder.open(call())
    await recorder.update("s1", level="advanced")
    await recorder.update("s1", lesson="other")
    await recorder.update("s1")
    record = await store.load_record("s1")
    assert (record.level, record.lesson) == ("advanced", "other")


async def test_same_index_again_replaces(store: SqlStore) -> None:
    await store.open(call())
    await store.add_turn("s1", turn(0, "first"))
    await store.add_turn("s1", turn(0, "second", corrections=[Correction("a", "b", "c")]))
    await store.add_metrics("s1", TurnMetrics(turn=0, sent=1.0))
    await store.add_metrics("s1", TurnMetrics(turn=0, sent=1.0, heard=2.0))
    record = await store.load_record("s1")
    assert [t.text for t in record.turns] == ["second"]
    assert record.turns[0].corrections == [Correction("a", "b", "c")]
    assert [(m.sent, m.heard) for m in record.metrics] == [(1.0, 2.0)]


async def test_unknown_session_is_said(store: SqlStore) -> None:
    with pytest.raises(UnknownSession, match="nobody"):
        await store.add_turn("nobody", turn(0))
    with pytest.raises(UnknownSession, match="nobody"):
        await store.add_metrics("nobody", TurnMetrics(turn=0))
    with pytest.raises(UnknownSession, match="nobody"):
        await store.update("nobody", level="advanced")
    with pytest.raises(UnknownSession, match="nobody"):
        await store.close("nobody", ended_at=1.0, reason="x", report=None)
    with pytest.raises(UnknownSession, match="nobody"):
        await store.load_record("nobody")
    assert await store.get_session("nobody") is None
    assert await store.get_report("nobody") is None
    assert await store.delete_session("nobody") is False


async def test_half_a_surrogate_pair_is_stored_as_text(store: SqlStore) -> None:
    await store.open(call())
    await store.add_turn("s1", turn(1, "oh \ud83d no", typed=True))
    assert (await store.load_record("s1")).turns[0].text == "oh ? no"


async def test_pages_are_newest_first_and_stable(store: SqlStore) -> None:
    # Equal times too: the id decides, so that no session is shown twice or left out.
    for i in range(7):
        await store.open(call(f"s{i}", started_at=1000.0 + i // 2))
    await store.add_turn("s6", turn(0))
    seen: list[str] = []
    page = await store.list_sessions(3)
    assert [item.turn_count for item in page.items] == [1, 0, 0]
    seen += [item.id for item in page.items]
    await store.open(call("newer", started_at=2000.0))
    while page.next is not None:
        page = await store.list_sessions(limit=3, cursor=page.next)
        seen += [item.id for item in page.items]
    assert seen == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]
    assert (await store.list_sessions(1)).items[0].id == "newer"
    items, after = await store.list_sessions(100)
    assert len(items) == 8
    assert after is None


@pytest.mark.parametrize(
    "cursor", ["", "x", "bm90IGpzb24", "WzFd", "W3RydWUsICJhIl0", "W05hTiwgImEiXQ", "WzEsIDJd", "é", "WzFlOTk5LCAiYSJd"]
)
async def test_a_wrong_cursor_is_a_value_error(store: SqlStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        await store.list_sessions(5, cursor)


@given(cursor=st.text(max_size=40) | st.binary(max_size=30).map(lambda b: urlsafe_b64encode(b).decode()))
@settings(max_examples=25, deadline=None)
def test_no_cursor_does_more_than_a_value_error(cursor: str) -> None:
    try:
        at, session_id = _read_cursor(cursor)
    except ValueError:
        return
    assert isinstance(at, float)
    assert isinstance(session_id, str)


async def test_deleted_words_leave_the_files(store: SqlStore, tmp_path: Path) -> None:
    secret = "marmalade telescope"
    await store.open(call())
    await store.open(call("kept"))
    long_text = secret + " and more" * 2000
    for i in range(20):
        await store.add_turn(
            "s1", turn(i, long_text, words=[Word(secret, 0.0, 1.0)], corrections=[Correction(secret, "b", "c")])
        )
    await store.add_turn("kept", turn(0, "something else"))
    await store.close("s1", ended_at=1.0, reason="bye", report={"mistakes": [{"original": secret}]})

    def places() -> list[str]:
        return [f.name for f in tmp_path.iterdir() if secret.encode() in f.read_bytes()]

    assert places()
    assert await store.delete_session("s1") is True
    assert places() == []
    assert await store.get_session("s1") is None
    assert await store.get_report("s1") is None
    assert [t.text for t in (await store.load_record("kept")).turns] == ["something else"]
    assert await store.delete_session("s1") is False


async def test_many_writers_at_once(tmp_path: Path) -> None:
    # Two stores on one file, as two processes would have.
    stores = [await open_store(tmp_path) for _ in range(2)]
    for c in range(8):
        await stores[0].open(call(f"s{c}"))

    async def one_call(c: int) -> None:
        for i in range(50):
            await stores[c % 2].add_turn(f"s{c}", turn(i, f"call {c} turn {i}"))
            await stores[c % 2].add_metrics(f"s{c}", TurnMetrics(turn=i, sent=float(i)))

    await asyncio.gather(*(one_call(c) for c in range(8)), *(stores[0].list_sessions(5) for _ in range(40)))
    for c in range(8):
        record = await stores[1].load_record(f"s{c}")
        assert [t.text for t in record.turns] == [f"call {c} turn {i}" for i in range(50)]
        assert len(record.metrics) == 50
    for store in stores:
        await store.close()


async def test_a_cancelled_caller_loses_no_write(store: SqlStore) -> None:
    await store.open(call())
    for i in range(20):
        task = asyncio.create_task(store.add_turn("s1", turn(i)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await store.add_turn("s1", turn(20))
    assert [t.index for t in (await store.load_record("s1")).turns] == list(range(21))


async def test_close_finishes_what_has_begun(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.open(call())
    writes = [asyncio.create_task(store.add_turn("s1", turn(i))) for i in range(10)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.add_turn("s1", turn(11))
    with pytest.raises(StoreError, match="closed"):
        await store.get_session("s1")
    again = await open_store(tmp_path)
    assert len((await again.load_record("s1")).turns) == 10
    await again.close()


async def test_closing_leaves_no_thread_and_no_file_open(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        store = await open_store(tmp_path)
        await store.open(call())
        await asyncio.gather(*(store.get_session("s1") for _ in range(5)))
        assert any(
            "aiosqlite" in str(t._target) or "_connection_worker" in str(t._target) for t in set(threading.enumerate()) - before
        )  # type: ignore[attr-defined]
        await store.close()
    deadline = time.monotonic() + 20
    # The worker threads of the loop's default executor stay; they belong to the loop.
    while left := [t for t in set(threading.enumerate()) - before if not t.name.startswith("asyncio_")]:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.01)
    assert [f.path for f in psutil.Process().open_files() if str(tmp_path) in f.path] == []


# Opening.


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    await (await open_store(tmp_path)).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=rf"{FILE_NAME}: was written by a newer Parley \(schema {SCHEMA_VERSION + 1}"):
        await open_store(tmp_path)


@pytest.mark.parametrize(("lacks", "version"), [(["source", "backchannels"], 1), (["backchannels"], 2)])
async def test_an_older_database_is_brought_up_to_date(tmp_path: Path, lacks: list[str], version: int) -> None:
    store = await open_store(tmp_path)
    await store.open(call())
    await store.add_turn("s1", turn(1))
    await store.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    for column in lacks:
        connection.execute(f"ALTER TABLE turns DROP COLUMN {column}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    store = await open_store(tmp_path)
    await store.add_turn("s1", turn(3, source="upload", backchannels=[Word("mm hmm", 1.0, 1.0)]))
    turns = (await store.load_record("s1")).turns
    assert [t.source for t in turns] == ["live", "upload"]
    assert [t.backchannels for t in turns] == [[], [Word("mm hmm", 1.0, 1.0)]]
    await store.close()
    await (await open_store(tmp_path)).close()


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(StoreError, match=f"{FILE_NAME}: is a database of another program"):
        await open_store(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


async def test_not_a_database_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("this is a shopping list\n" * 100)
    with pytest.raises(StoreError, match=f"{FILE_NAME}: not a database, or damaged"):
        await open_store(tmp_path)


async def test_a_damaged_database_is_said(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.open(call())
    for i in range(60):
        await store.add_turn("s1", turn(i, "words " * 500))
    await store.close()
    path = tmp_path / FILE_NAME
    data = bytearray(path.read_bytes())
    for at in range(4096 * 3, len(data), 4096):
        data[at : at + 200] = b"\xa5" * 200
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{FILE_NAME}: .*damaged"):
        await open_store(tmp_path)


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self"), Path("/proc/nowhere")):
        with pytest.raises(StoreError, match=rf"data_dir {data_dir}: "):
            await open_store(data_dir)


async def test_a_database_in_use_is_waited_for_then_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.store.database.BUSY_TIMEOUT_S", 0.2)
    store = await open_store(tmp_path)
    await store.open(call())
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=f"{FILE_NAME}: .*locked"):
        await store.add_turn("s1", turn(0))
    other.execute("ROLLBACK")
    other.close()
    await store.add_turn("s1", turn(0))
    assert len((await store.load_record("s1")).turns) == 1
    await store.close()
