"""The SQLite file: opened with the right pragmas, written by one connection, read by others, closed with no thread left over.

``synchronous=NORMAL`` with the write-ahead log: a commit is in the log file, in the operating system's hands, before it
returns, so a killed process loses nothing that was committed. Only a power cut or a crash of the system itself may lose the
last commits (never the file's consistency). ``FULL`` would also survive that, at the price of a disk flush in the path of
every turn.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pipeline.store.models import APPLICATION_ID, SCHEMA_VERSION, Base

T = TypeVar("T")

BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another process's write."""
READERS = 2
_NEWER_COLUMNS = {"source": "VARCHAR NOT NULL DEFAULT 'live'", "backchannels": "JSON NOT NULL DEFAULT '[]'"}
"""Columns of ``turns`` that older databases lack."""
CHECKED_BYTES = 256 * 2**20
"""Files up to this size are checked for damage when they are opened (about a second); larger ones are opened as they are."""
CHECKPOINT_TRIES = 20
CHECKPOINT_PAUSE_S = 0.05


class StoreError(RuntimeError):
    """The store cannot be opened, read or written; one line that names the file and what is wrong.

    ``passing``: what is wrong may pass by itself (locked, full, out of reach), and trying again may help.
    """

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


class Database:
    """One open file. Made by ``Database.open``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = _engine(path, 1, "BEGIN IMMEDIATE")
        self._reader = _engine(path, READERS, "BEGIN")
        self._turnstile = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Open or create the file and its folder.

        Raises:
            StoreError: the folder cannot be written, or the file is damaged, not ours, or of a newer version.
        """
        await asyncio.to_thread(_prepare_folder, path.parent)
        database = cls(path)
        try:
            await database._set_up()
        except BaseException as e:
            await database.close()
            if isinstance(e, sqlite3.Error | DBAPIError):
                raise database._error(e) from None
            raise
        return database

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a read transaction: one consistent state, whatever is written meanwhile. Raises ``StoreError``."""
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        try:
            async with self._reader.begin() as connection:
                yield connection
        except DBAPIError as e:
            raise self._error(e) from e

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run ``work`` in a write transaction; when this returns, it is committed. Raises ``StoreError``.

        Writes run one after the other. A write that has begun is finished even if its caller is cancelled.
        """
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        task = asyncio.ensure_future(self._write(work))
        self._writes.add(task)
        task.add_done_callback(self._written)
        try:
            return await asyncio.shield(task)
        except DBAPIError as e:
            raise self._error(e) from e

    async def truncate_log(self) -> None:
        """Move everything from the write-ahead log to the file and empty the log, so that deleted text is not left in it."""
        for _ in range(CHECKPOINT_TRIES):
            async with self._turnstile, self._writer.connect() as connection:
                raw = await connection.get_raw_connection()
                cursor = await raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
                busy, *_ = await cursor.fetchone()
                await cursor.close()
            if not busy:
                return
            await asyncio.sleep(CHECKPOINT_PAUSE_S)
        logger.warning("{}: the log could not be emptied; what was deleted leaves it with a later write", self.path)

    async def close(self) -> None:
        """Finish the writes that have begun and close all connections. Safe to call twice."""
        self._closed = True
        if self._writes:
            await asyncio.wait(set(self._writes))
        await self._reader.dispose()
        await self._writer.dispose()

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._turnstile, self._writer.begin() as connection:
            return await work(connection)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        # Where the caller was cancelled, nobody else sees the error.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("{}: a write failed: {}", self.path, error)

    async def _set_up(self) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        async with self._writer.begin() as connection:
            if 0 < size <= CHECKED_BYTES:
                verdict = (await connection.exec_driver_sql("PRAGMA quick_check(1)")).scalar_one()
                if verdict != "ok":
                    raise StoreError(
                        f"{self.path}: the database is damaged ({verdict}); move it away to start with an empty one"
                    )
            application = (await connection.exec_driver_sql("PRAGMA application_id")).scalar_one()
            version = (await connection.exec_driver_sql("PRAGMA user_version")).scalar_one()
            tables = (await connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema")).scalar_one()
            if tables and application != APPLICATION_ID:
                raise StoreError(f"{self.path}: is a database of another program; move it away or set another data_dir")
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path}: was written by a newer Parley (schema {version}, this one knows up to {SCHEMA_VERSION}); "
                    "update Parley or set another data_dir"
                )
            await connection.run_sync(Base.metadata.create_all)
            if tables and version < SCHEMA_VERSION:
                columns = (await connection.exec_driver_sql("PRAGMA table_info(turns)")).mappings()
                names = [column["name"] for column in columns]
                for name, column in _NEWER_COLUMNS.items():
                    if name not in names:
                        await connection.exec_driver_sql(f"ALTER TABLE turns ADD COLUMN {name} {column}")
            await connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
            await connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _error(self, error: BaseException) -> StoreError:
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, sqlite3.DatabaseError) and not isinstance(
            cause, sqlite3.OperationalError | sqlite3.IntegrityError
        ):
            return StoreError(f"{self.path}: not a database, or damaged ({cause}); move it away to start with an empty one")
        return StoreError(f"{self.path}: {cause}", passing=isinstance(cause, sqlite3.OperationalError))


def _engine(path: Path, connections: int, begin: str) -> AsyncEngine:
    # Transactions are begun by us: Python's sqlite3 would begin them late and deferred, and a deferred one that turns into a
    # write fails at once where another process has written meanwhile.
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        pool_size=connections,
        max_overflow=0,
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            "secure_delete = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _prepare_folder(folder: Path) -> None:
    try:
        # What people said is theirs: a new folder is for its owner only.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise StoreError(f"data_dir {folder}: is not a folder") from None
    except OSError as e:
        raise StoreError(f"data_dir {folder}: cannot be written ({e.strerror or os.strerror(e.errno or 0)})") from None
