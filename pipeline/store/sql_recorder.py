"""The record of all calls in one SQLite file: what calls write, and what the history reads."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

import psutil
from loguru import logger
from sqlalchemy import ScalarSelect, delete, func, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.record import CallRecord, Correction, Level, Role, Source, Turn, TurnMetrics, Word
from pipeline.store.database import Database, StoreError
from pipeline.store.models import MetricsTable, SessionTable, TurnTable

__all__ = ["FILE_NAME", "SessionItem", "SessionPage", "SqlStore", "StoreError", "UnknownSession", "open_store"]

FILE_NAME = "parley.db"
INTERRUPTED = "interrupted"
"""The end reason of a call whose process died."""

CREATE_TIME_SLACK_S = 2.0
"""Where the start of a process is only known by the wall clock, corrections of that clock move it."""

_PROC = Path("/proc")
_METRIC_FIELDS = frozenset(f.name for f in fields(TurnMetrics))


class UnknownSession(LookupError):
    """No session has that id."""


@dataclass(frozen=True, slots=True)
class SessionItem:
    """One line of the history; times are seconds since the epoch."""

    id: str
    started_at: float
    ended_at: float | None
    door: str
    level: str
    lesson: str
    turn_count: int
    score: float | None = None
    """The report's final score, 0..100."""


class SessionPage(NamedTuple):
    """Some sessions, newest first, and the cursor of those after them (``None`` at the end)."""

    items: list[SessionItem]
    next: str | None


async def open_store(data_dir: Path) -> SqlStore:
    """Open the store in ``data_dir``, creating both where they are missing. Raises ``StoreError``, naming file or folder."""
    return SqlStore(await Database.open(Path(data_dir) / FILE_NAME))


class SqlStore:
    """A ``pipeline.store.recorder.Recorder``, with the queries of the history.

    Every method raises ``StoreError`` where the file cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = _process_name(os.getpid())
        self._live: set[str] = set()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    async def open(self, record: CallRecord) -> None:
        """A call begins; turns and metrics that ``record`` has already are written with it."""
        session = {
            "id": record.session_id,
            "started_at": record.started_at,
            "ended_at": record.ended_at,
            "end_reason": record.end_reason,
            "door": record.door,
            "level": record.level,
            "lesson": record.lesson,
            "owner": self._owner,
        }
        turns = [_turn_row(record.session_id, turn) for turn in record.turns]
        metrics = [_metrics_row(record.session_id, row) for row in record.metrics]

        async def work(connection: AsyncConnection) -> None:
            await _put(connection, SessionTable, [session], "id")
            await _put(connection, TurnTable, turns, "session_id", "index")
            await _put(connection, MetricsTable, metrics, "session_id", "turn")

        await self._database.write(work)
        if record.ended_at is None:
            self._live.add(record.session_id)

    async def add_turn(self, session_id: str, turn: Turn) -> None:
        """A turn is finished; the same index again replaces it. Raises ``UnknownSession``."""
        await self._put_child(TurnTable, session_id, _turn_row(session_id, turn), "index")

    async def add_metrics(self, session_id: str, row: TurnMetrics) -> None:
        """A turn's metrics; the same turn again replaces them. Raises ``UnknownSession``."""
        await self._put_child(MetricsTable, session_id, _metrics_row(session_id, row), "turn")

    async def update(self, session_id: str, *, level: str | None = None, lesson: str | None = None) -> None:
        """The level or the lesson changed. Raises ``UnknownSession``."""
        changed = {key: value for key, value in (("level", level), ("lesson", lesson)) if value is not None}
        if changed:
            await self._change(session_id, changed)

    @overload
    async def close(self) -> None: ...

    @overload
    async def close(self, session_id: str, *, ended_at: float, reason: str, report: dict[str, Any] | None) -> None: ...

    async def close(self, session_id: str | None = None, **end: Any) -> None:
        """With a session: that call is over (``ended_at``, ``reason``, ``report``). Without: close the store itself."""
        if session_id is None:
            await self._database.close()
        else:
            await self._close_session(session_id, **end)

    async def list_sessions(self, limit: int = 50, cursor: str | None = None, said: str | None = None) -> SessionPage:
        """At most ``limit`` sessions, newest first, from ``cursor`` (the ``next`` of the page before) on.

        With ``said``, only those in which every one of its words occurs, in any turn and as part of a word too; the case of
        ASCII letters does not matter. New sessions do not shift the pages that follow a cursor.

        Raises:
            ValueError: ``cursor`` is a text that is no cursor, or ``limit`` is not positive.
        """
        if limit < 1:
            raise ValueError("limit must be at least 1")
        query = (
            select(
                SessionTable.id,
                SessionTable.started_at,
                SessionTable.ended_at,
                SessionTable.door,
                SessionTable.level,
                SessionTable.lesson,
                _turn_count().label("turn_count"),
                func.json_extract(SessionTable.report, "$.final_score").label("score"),
            )
            .order_by(SessionTable.started_at.desc(), SessionTable.id.desc())
            .limit(limit + 1)
        )
        if cursor is not None:
            query = query.where(tuple_(SessionTable.started_at, SessionTable.id) < tuple_(*_read_cursor(cursor)))
        for word in (said or "").encode("utf-8", "replace").decode().split():
            # The turns themselves are searched: an index would be one more copy of the text to delete.
            found = select(TurnTable.session_id).where(func.instr(func.lower(TurnTable.text), func.lower(word)) > 0)
            query = query.where(SessionTable.id.in_(found))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        items = [SessionItem(*row) for row in rows[:limit]]
        return SessionPage(items, _cursor(items[-1]) if len(rows) > limit else None)

    async def get_session(self, session_id: str) -> CallRecord | None:
        """The record of a call with its turns and metrics, or ``None`` where there is no such session."""
        async with self._database.reading() as connection:
            return await _record(connection, session_id)

    async def load_record(self, session_id: str) -> CallRecord:
        """As ``get_session``; raises ``UnknownSession``."""
        record = await self.get_session(session_id)
        if record is None:
            raise UnknownSession(f"no session {session_id!r}")
        return record

    async def get_report(self, session_id: str) -> dict[str, Any] | None:
        """The report of a call, or ``None`` where it has none or there is no such session."""
        async with self._database.reading() as connection:
            return (
                await connection.execute(select(SessionTable.report).where(SessionTable.id == session_id))
            ).scalar_one_or_none()

    async def delete_session(self, session_id: str) -> bool:
        """Delete all that is kept of a call; false where there is no such session.

        The bytes are overwritten in the file (``secure_delete``) and leave the write-ahead log; copies that a file system or a
        backup made are out of reach.
        """

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(delete(SessionTable).where(SessionTable.id == session_id))).rowcount

        deleted = await self._database.write(work)
        if deleted:
            self._live.discard(session_id)
            await self._database.truncate_log()
        return bool(deleted)

    async def close_orphans(self, make_report: Callable[[CallRecord], dict[str, Any]]) -> list[str]:
        """Close the calls that a process left open when it died, and make their reports. Returns their ids, oldest first.

        A call ended, as far as anybody knows, with its last turn; that is later than now where the system's clock was set back
        since. Calls of another process that is alive are left alone.
        """
        async with self._database.reading() as connection:
            query = select(SessionTable.id, SessionTable.owner).where(SessionTable.ended_at.is_(None))
            open_calls = (await connection.execute(query.order_by(SessionTable.started_at, SessionTable.id))).all()
        closed = []
        for session_id, owner in open_calls:
            if session_id in self._live or (owner != self._owner and _is_alive(owner)):
                continue
            record = await self.load_record(session_id)
            record.ended_at = max([record.started_at, *(turn.ended_at for turn in record.turns)])
            record.end_reason = INTERRUPTED
            try:
                report = await asyncio.to_thread(make_report, record)
            except Exception:
                logger.exception("no report could be made of the interrupted call {}", session_id)
                report = {"notes": ["The report could not be made."]}
            await self._close_session(session_id, ended_at=record.ended_at, reason=INTERRUPTED, report=report)
            closed.append(session_id)
        return closed

    async def _close_session(self, session_id: str, *, ended_at: float, reason: str, report: dict[str, Any] | None) -> None:
        await self._change(session_id, {"ended_at": ended_at, "end_reason": reason, "report": report})
        self._live.discard(session_id)

    async def _change(self, session_id: str, values: Mapping[str, Any]) -> None:
        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(update(SessionTable).where(SessionTable.id == session_id).values(values))).rowcount

        if not await self._database.write(work):
            raise UnknownSession(f"no session {session_id!r}")

    async def _put_child(self, table: type[TurnTable | MetricsTable], session_id: str, row: dict[str, Any], key: str) -> None:
        async def work(connection: AsyncConnection) -> bool:
            if (await connection.execute(select(SessionTable.id).where(SessionTable.id == session_id))).first() is None:
                return False
            await _put(connection, table, [row], "session_id", key)
            return True

        if not await self._database.write(work):
            raise UnknownSession(f"no session {session_id!r}")


async def _put(connection: AsyncConnection, table: Any, rows: list[dict[str, Any]], *key: str) -> None:
    """Insert ``rows``, or replace those that have the same ``key``."""
    for row in rows:
        statement = insert(table).values(row)
        rest = {name: statement.excluded[name] for name in row if name not in key}
        await connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=rest))


async def _record(connection: AsyncConnection, session_id: str) -> CallRecord | None:
    session = (await connection.execute(select(SessionTable.__table__).where(SessionTable.id == session_id))).mappings().first()
    if session is None:
        return None
    turns = select(TurnTable.__table__).where(TurnTable.session_id == session_id).order_by(TurnTable.index)
    metrics = select(MetricsTable.row).where(MetricsTable.session_id == session_id).order_by(MetricsTable.turn)
    return CallRecord(
        session_id=session["id"],
        started_at=session["started_at"],
        door=session["door"],
        level=cast(Level, session["level"]),
        lesson=session["lesson"],
        turns=[_turn(row) for row in (await connection.execute(turns)).mappings()],
        metrics=[
            # A field that a later version added is not ours to read.
            TurnMetrics(**{key: value for key, value in row.items() if key in _METRIC_FIELDS})
            for row in (await connection.execute(metrics)).scalars()
        ],
        ended_at=session["ended_at"],
        end_reason=session["end_reason"],
    )


def _turn_row(session_id: str, turn: Turn) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "index": turn.index,
        "role": turn.role,
        # A client's JSON can hold half a surrogate pair, which is no text that a file can hold.
        "text": turn.text.encode("utf-8", "replace").decode("utf-8"),
        "started_at": turn.started_at,
        "ended_at": turn.ended_at,
        "interrupted": turn.interrupted,
        "typed": turn.typed,
        "source": turn.source,
        "words": [asdict(word) for word in turn.words],
        "corrections": [asdict(correction) for correction in turn.corrections],
        "backchannels": [asdict(word) for word in turn.backchannels],
    }


def _turn(row: Mapping[Any, Any]) -> Turn:
    return Turn(
        index=row["index"],
        role=cast(Role, row["role"]),
        text=row["text"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        words=[Word(**word) for word in row["words"]],
        interrupted=row["interrupted"],
        typed=row["typed"],
        source=cast(Source, row["source"]),
        corrections=[Correction(**correction) for correction in row["corrections"]],
        backchannels=[Word(**word) for word in row["backchannels"]],
    )


def _metrics_row(session_id: str, row: TurnMetrics) -> dict[str, Any]:
    return {"session_id": session_id, "turn": row.turn, "row": asdict(row)}


def _turn_count() -> ScalarSelect[int]:
    return select(func.count()).where(TurnTable.session_id == SessionTable.id).correlate(SessionTable).scalar_subquery()


def _cursor(item: SessionItem) -> str:
    return base64.urlsafe_b64encode(json.dumps([item.started_at, item.id]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        started_at, session_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise ValueError("not a cursor of this list") from None
    if not isinstance(session_id, str) or isinstance(started_at, bool) or not isinstance(started_at, int | float):
        raise ValueError("not a cursor of this list")
    try:
        at = float(started_at)
        session_id.encode()
    except (OverflowError, UnicodeEncodeError):
        raise ValueError("not a cursor of this list") from None
    if not math.isfinite(at):
        raise ValueError("not a cursor of this list")
    return at, session_id


def _process_name(pid: int) -> str:
    """A process as no later one will be called: its number, and when it was started.

    On Linux in clock ticks since this boot of the machine (``/proc/PID/stat``, field 22), which no setting of the clock moves.
    """
    try:
        ticks = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{pid}:{ticks}:{boot}"
    except (OSError, IndexError):
        return f"{pid}:{psutil.Process(pid).create_time():.2f}"


def _is_alive(owner: str) -> bool:
    """Whether the process that ``_process_name`` gave this name still runs."""
    pid, _, started = owner.partition(":")
    try:
        if ":" in started:
            return _process_name(int(pid)) == owner
        return bool(abs(psutil.Process(int(pid)).create_time() - float(started)) < CREATE_TIME_SLACK_S)
    except (ValueError, psutil.Error):
        return False
