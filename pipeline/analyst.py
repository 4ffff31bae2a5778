"""Makes the reports of calls in a process of their own, in time: without its slow part rather than late.

All calls share one process, which has the word lists in memory. A report that takes longer than ``WITHIN_S``, and one whose
process died, is made here without what needs the lists; its notes say so.

Why a process: the report of a call of 48 minutes and 400 turns takes 100 ms of Python. In a thread of the server it delays the
event loop by 8 ms again and again (median of the longest delays of 15 reports; the greatest 13), since threads take turns at
Python; from a process by 2.5 ms, once, when the record is packed. Idle the loop is 0.2 ms late.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

from loguru import logger

from agent.analysis.report import first_report
from agent.record import CallRecord, Turn
from pipeline.analyst_wire import DONE, LENGTH, READY, REPORT, TURN, pack, pack_turn
from pipeline.metrics import prometheus

WITHIN_S = 1.5
"""How long a report may take: the learner is to have it 2 s after the call, and other things happen at a call's end."""
TURN_WITHIN_S = 5.0
"""How long the analysis of a turn may take: afterwards the talk has moved on."""
LOADS_WITHIN_S = 30.0
"""A process that is not ready after this long is started anew."""
_ROOT = Path(__file__).resolve().parents[1]


class AnalysisFailed(RuntimeError):
    """The worker could not make the report; the text is its traceback."""


class _Gone(Exception):
    """The worker ended before it answered."""


class Analyst:
    """One warm process for the reports of all calls. Not before ``start`` and never after ``close`` is there such a process."""

    def __init__(self) -> None:
        self._worker: Process | None = None
        self._ready = False
        self._turn = asyncio.Lock()
        self._open = False
        self._warming: asyncio.Task[None] | None = None
        self._started_s = 0.0

    @property
    def pid(self) -> int | None:
        """The worker's process id, while it runs."""
        return self._worker.pid if self._worker is not None and self._worker.returncode is None else None

    @property
    def warm(self) -> bool:
        """Whether the process has its word lists in memory."""
        return self._ready and self.pid is not None

    async def start(self) -> None:
        """Start the process, which loads its lists in the background."""
        self._open = True
        self._warm()

    async def report(self, record: CallRecord, *, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The report of ``record`` (``agent.analysis.report``), at most a moment later than ``within_s`` from now."""
        if self._open:
            try:
                async with asyncio.timeout(within_s):
                    return await self._ask(REPORT + await asyncio.to_thread(pack, record))
            except TimeoutError:
                logger.warning("the report was not ready within {} s and is made without the word lists", within_s)
            except (OSError, _Gone, AnalysisFailed) as e:
                logger.error("the report's process failed, and the report is made without the word lists: {}", e)
            prometheus.ERRORS.labels("report").inc()
            self._warm()
        return await asyncio.to_thread(first_report, record, with_lists=False)

    async def insight(self, turn: Turn, *, within_s: float = TURN_WITHIN_S) -> dict[str, Any] | None:
        """What can be said of one turn (``agent.analysis.insight``), or ``None`` where the process is not ready for it in time.

        A turn is a small matter: it waits behind reports, is given up rather than late, and the report has it all the same.
        """
        if not self._open or not self._ready:
            return None
        try:
            async with asyncio.timeout(within_s):
                return await self._ask(TURN + pack_turn(turn))
        except TimeoutError:
            logger.warning("a turn was not analysed within {} s", within_s)
        except (OSError, _Gone, AnalysisFailed) as e:
            logger.error("a turn could not be analysed: {}", e)
        prometheus.ERRORS.labels("report").inc()
        self._warm()
        return None

    async def close(self) -> None:
        """End the process. A report that is asked for later is made without it. Safe to call twice."""
        self._open = False
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait({self._warming})
        await self._end()

    def _warm(self) -> None:
        if self._open and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(self._warmed(), name="analyst-warms")

    async def _warmed(self) -> None:
        try:
            async with self._turn:
                await self._running()
        except (OSError, _Gone) as e:
            prometheus.ERRORS.labels("report").inc()
            logger.error("no process for reports could be started: {!r}", e)

    async def _ask(self, request: bytes) -> dict[str, Any]:
        async with self._turn:
            for last in (False, True):
                try:
                    worker = await self._running()
                    return await self._answer(worker, request)
                except (OSError, _Gone):
                    # It may have died long ago, for want of memory. A record that kills it is not given to a third.
                    await self._end()
                    if last or not self._open:
                        raise
        raise AssertionError("unreachable")

    async def _answer(self, worker: Process, request: bytes) -> dict[str, Any]:
        assert worker.stdin is not None
        try:
            worker.stdin.write(LENGTH.pack(len(request)) + request)
            await worker.stdin.drain()
            answer = await _read(worker, LENGTH.unpack(await _read(worker, LENGTH.size))[0])
        except BaseException:
            # Its answer to this record would be taken for that to the next.
            await self._end()
            raise
        if answer[:1] != DONE:
            raise AnalysisFailed(answer[1:].decode(errors="replace"))
        report: dict[str, Any] = json.loads(answer[1:])
        return report

    async def _running(self) -> Process:
        if not self._open:
            raise _Gone("closed")
        stuck = not self._ready and time.monotonic() - self._started_s > LOADS_WITHIN_S
        if self._worker is not None and (self._worker.returncode is not None or stuck):
            await self._end()
        if self._worker is None:
            self._started_s = time.monotonic()
            path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
            # In a session of its own, so that Ctrl-C ends it only by way of the server, when all calls have their reports.
            self._worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "pipeline.analyst_worker"),
                stdin=PIPE,
                stdout=PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        # Who stops waiting here leaves it to load its lists for the next.
        if not self._ready:
            self._ready = await _read(self._worker, 1) == READY
        return self._worker

    async def _end(self) -> None:
        worker, self._worker, self._ready = self._worker, None, False
        if worker is None:
            return
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        if worker.stdin is not None:
            worker.stdin.close()
        await asyncio.shield(worker.wait())


async def _read(worker: Process, count: int) -> bytes:
    assert worker.stdout is not None
    try:
        return await worker.stdout.readexactly(count)
    except asyncio.IncompleteReadError as e:
        raise _Gone(f"the process ended ({worker.returncode})") from e
