"""The records of all calls on their way to the store: taken at once, written in order behind the calls' backs.

A database that another program has locked, or a disk that is full, must be felt neither by an answer nor by the end of a
call. So a call only hands over what is to be written. One task writes, in turn for each call, and each call's parts in the
order in which they were handed over. What cannot be written now is tried again, for as long as the call lasts and
``RETRY_FOR_S`` after its end; then it is given up, counted and logged. The learner has had the report by then.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from loguru import logger

from agent.record import CallRecord, Turn, TurnMetrics
from pipeline.metrics import prometheus
from pipeline.store.database import StoreError
from pipeline.store.recorder import Recorder

RETRY_FOR_S = 60.0
"""How long after the end of a call its writes are tried again."""
PAUSES_S = (0.1, 0.25, 0.5, 1.0)
"""Between one failed try and the next; the last one from then on."""
MAX_WAITING = 500
"""Writes of one call that may wait. Above that the whole record is written at once, from memory, in their place."""

Write = Callable[[], Awaitable[None]]


class CallJournal:
    """What is to be written of one call; made by ``Journal.open``. Its methods never wait and never raise.

    A later state of the same turn or the same row takes the place of one that still waits.
    """

    def __init__(self, journal: Journal, recorder: Recorder, record: CallRecord) -> None:
        self.record = record
        self.report: dict[str, Any] | None = None
        self.queue: OrderedDict[Hashable, Write] = OrderedDict()
        self.give_up_at: float | None = None
        """Monotonic seconds; ``None`` while the call lasts."""
        self.idle = asyncio.Event()
        self._journal = journal
        self._recorder = recorder
        self._changed: dict[str, str] = {}

    def add_turn(self, turn: Turn) -> None:
        """A turn is finished, or has changed; what it is when it is written counts."""
        self._put(("turn", turn.index), lambda: self._recorder.add_turn(self.record.session_id, turn))

    def add_metrics(self, row: TurnMetrics) -> None:
        """A turn's metrics row, which is no longer changed."""
        self._put(("metrics", row.turn), lambda: self._recorder.add_metrics(self.record.session_id, row))

    def update(self, **changed: str) -> None:
        """The ``level`` or the ``lesson`` changed."""
        self._changed |= changed
        values = dict(self._changed)
        self._put("update", lambda: self._recorder.update(self.record.session_id, **values))

    def close(self, *, ended_at: float, reason: str, report: dict[str, Any] | None) -> None:
        """The call is over: what waits is tried for ``RETRY_FOR_S`` from now on."""
        self.report = report
        self.give_up_at = time.monotonic() + self._journal.retry_for_s
        self._put(
            "close",
            lambda: self._recorder.close(self.record.session_id, ended_at=ended_at, reason=reason, report=report),
        )

    async def written(self, within_s: float) -> bool:
        """Wait until everything is durable, ``within_s`` at most; whether it is."""
        if not self.idle.is_set():
            try:
                await asyncio.wait_for(self.idle.wait(), within_s)
            except TimeoutError:
                return False
        return True

    async def kept(self, within_s: float) -> None:
        """Give the disk a moment, where it is known to work: wait until everything is durable, ``within_s`` at most.

        A disk that did not take it in that time is waited for by nobody until it has written something again.
        """
        if not self.idle.is_set() and self._journal.prompt and not await self.written(within_s):
            self._journal.prompt = False

    def _put(self, key: Hashable, write: Write) -> None:
        if len(self.queue) >= MAX_WAITING and key not in ("close", "open"):
            closing = self.queue.get("close")
            self.queue.clear()
            self.queue["open"] = self.open
            if closing is not None:
                self.queue["close"] = closing
        else:
            self.queue[key] = write
        self.idle.clear()
        self._journal.waits(self)

    async def open(self) -> None:
        """Write the whole record as it is now."""
        await self._recorder.open(self.record)


class Journal:
    """Writes to ``recorder``, from a task that lives only while something waits."""

    def __init__(self, recorder: Recorder, *, retry_for_s: float = RETRY_FOR_S) -> None:
        self.retry_for_s = retry_for_s
        self.error: str | None = None
        """Why nothing can be written at the moment."""
        self.prompt = True
        """Whether the last write that somebody waited for was in time."""
        self._recorder = recorder
        self._waiting: OrderedDict[str, CallJournal] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Writes that are not durable yet."""
        return sum(max(1, len(call.queue)) for call in self._waiting.values())

    def open(self, record: CallRecord) -> CallJournal:
        """A call begins."""
        call = CallJournal(self, self._recorder, record)
        call._put("open", call.open)
        return call

    def unwritten(self, session_id: str) -> CallJournal | None:
        """A call of which something still waits: its record and report are here, and not yet, or not all, in the store."""
        return self._waiting.get(session_id)

    def forget(self, session_id: str) -> bool:
        """Write nothing more of a call, since it is to be deleted; whether anything waited."""
        call = self._waiting.pop(session_id, None)
        if call is None:
            return False
        call.queue.clear()
        call.idle.set()
        return True

    async def close(self, within_s: float) -> None:
        """Write what waits, for ``within_s`` at most, and give up the rest. Nothing is taken afterwards."""
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=within_s)
        self._closed = True
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})
        for call in list(self._waiting.values()):
            self._give_up(call)

    # For a ``CallJournal``

    def waits(self, call: CallJournal) -> None:
        """Something of ``call`` is to be written."""
        if self._closed:
            self._give_up(call)
            return
        self._waiting[call.record.session_id] = call
        if self._task is None or self._task.done():
            # A context of its own: what one call's log lines carry is not for the writes of all the others.
            self._task = asyncio.create_task(self._run(), name="journal", context=contextvars.Context())

    # The task

    async def _run(self) -> None:
        while self._waiting:
            session_id, call = next(iter(self._waiting.items()))
            self._waiting.move_to_end(session_id)
            if await self._write_one(call):
                if not call.queue and self._waiting.get(session_id) is call:
                    del self._waiting[session_id]
                    call.idle.set()
            else:
                await asyncio.sleep(PAUSES_S[min(self._failures, len(PAUSES_S)) - 1])
                now = time.monotonic()
                for late in [c for c in self._waiting.values() if c.give_up_at is not None and c.give_up_at <= now]:
                    self._give_up(late)

    async def _write_one(self, call: CallJournal) -> bool:
        """Write the first of what waits of ``call``; false if it has to be tried again."""
        if not call.queue:
            return True
        key, write = call.queue.popitem(last=False)
        try:
            await write()
        except Exception as e:
            if _passes(e):
                # Something newer may have been handed over meanwhile; its turn is now, too. And "open" stands for all.
                if self._waiting.get(call.record.session_id) is call and next(iter(call.queue), None) != "open":
                    call.queue.setdefault(key, write)
                    call.queue.move_to_end(key, last=False)
                self._failed(e)
                return False
            prometheus.ERRORS.labels("store").inc()
            logger.bind(call=call.record.session_id).error("a part of the record could not be written: {}", e)
            return True
        self._succeeded()
        return True

    def _failed(self, error: Exception) -> None:
        if self.error is None:
            prometheus.ERRORS.labels("store").inc()
            logger.error("the record cannot be written; it waits and is tried again: {}", error)
        self.error = str(error)
        self.prompt = False
        self._failures += 1

    def _succeeded(self) -> None:
        if self.error is not None:
            logger.info("the record is written again")
        self.error = None
        self.prompt = True
        self._failures = 0

    def _give_up(self, call: CallJournal) -> None:
        self._waiting.pop(call.record.session_id, None)
        lost = len(call.queue)
        call.queue.clear()
        call.idle.set()
        if lost:
            prometheus.ERRORS.labels("store").inc(lost)
            logger.bind(call=call.record.session_id).error(
                "{} parts of the record were not written in time and are lost: {}", lost, self.error or "the store is closed"
            )


def _passes(error: Exception) -> bool:
    """Whether trying again may help: the database is locked, the disk is full or away."""
    return error.passing if isinstance(error, StoreError) else isinstance(error, OSError)
