"""Keeps one call going: asks the watch what is due, and says, apologises, asks again or ends the call politely.

What a stage failed at is said by the tutor and stands on the page; the call goes on. ``max_in_a_row`` faults without a good
answer between them end it, with its report. So does a learner who stays silent.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from loguru import logger

from pipeline.faults.lines import APOLOGY, GIVING_UP, NOBODY_THERE, ON_SCREEN
from pipeline.faults.watch import Fault, Limits, Silence, Watch
from pipeline.messages import Error
from pipeline.metrics import prometheus
from pipeline.settings.tree import FaultSettings, SilenceSettings

if TYPE_CHECKING:
    from pipeline.call import Call
    from pipeline.session import Session

TICK_S = 0.1
AFTER_LESSON_S = 8.0
"""Silence after the last word of a lesson that ends the call, where ``silence.ask_after_s`` is not shorter."""


class Keeper:
    """Owned by its call: ``start`` it when the pipeline runs, ``close`` it before the pipeline stops."""

    def __init__(self, call: Call, session: Session, faults: FaultSettings, silence: SilenceSettings) -> None:
        self._call = call
        self._session = session
        self._faults = faults
        self._silence = silence
        self.watch = Watch(
            Limits(
                stt_s=faults.stt_timeout_s,
                llm_first_s=faults.llm_timeout_s,
                llm_gap_s=faults.llm_gap_timeout_s,
                tts_s=faults.tts_timeout_s,
                silence_s=silence.ask_after_s,
                period_s=TICK_S,
            )
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run(), name="keeper")

    async def close(self) -> None:
        """Stop watching. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            ask_after_s = self._silence.ask_after_s
            self.watch.silence_s = min(ask_after_s, AFTER_LESSON_S) if self._session.lesson_done else ask_after_s
            due = self.watch.tick(time.monotonic())
            if isinstance(due, Fault):
                await self._on_fault(due)
            elif isinstance(due, Silence):
                await self._on_silence(due)
            elif self._call.died:
                prometheus.FAULTS.labels("pipeline", "failed").inc()
                self._session.reconnect("the pipeline failed")
                return

    async def _on_fault(self, fault: Fault) -> None:
        prometheus.FAULTS.labels(fault.stage, fault.kind).inc()
        logger.warning("{} {}{}", fault.stage, fault.kind, f": {fault.detail}" if fault.detail else "")
        self._session.faults += 1
        self._session.faults_in_a_row += 1
        await self._session.send(Error(message=ON_SCREEN[fault.stage]))
        if fault.stage == "tts":
            await self._call.leave_on_screen()
        settled = await self._call.recover(fault.stage)
        if self._session.faults_in_a_row >= self._faults.max_in_a_row:
            await self._farewell(GIVING_UP, "too many faults", spare=True, settled=settled)
        elif not settled:
            prometheus.FAULTS.labels("pipeline", "stalled").inc()
            self._session.reconnect("the pipeline hangs")
        else:
            await self._call.say(APOLOGY[fault.stage], spare=fault.stage == "tts")

    async def _on_silence(self, silence: Silence) -> None:
        if self._session.lesson_done:
            self._session.end_soon("lesson finished")
        elif silence.number <= self._silence.asks:
            await self._call.ask_again()
        else:
            await self._farewell(NOBODY_THERE, "silence")

    async def _farewell(self, text: str, reason: str, *, spare: bool = False, settled: bool = True) -> None:
        """Say goodbye, and end the session when it was heard."""
        if settled:
            await self._call.farewell(text, spare=spare)
        self._session.end_soon(reason)
