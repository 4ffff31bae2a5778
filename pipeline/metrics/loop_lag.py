"""Measures how late the event loop runs its timers, the first sign of anything that blocks it, for the headroom."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from loguru import logger

from pipeline.headroom import Headroom, Verdict
from pipeline.metrics.prometheus import ADMITS, HEADROOM, LOOP_LAG, LOOP_LAG_P99, PACKET_LATE_P99

PERIOD_S = 0.05


class LoopLagMonitor:
    """A task that sleeps for ``PERIOD_S`` and records how much longer it took.

    ``headroom`` is told of each; what it makes of them goes to the gauges, and to the log where calls begin or cease to be
    refused.
    """

    def __init__(self, headroom: Headroom | None = None) -> None:
        self._headroom = headroom or Headroom()
        self._admitted = True
        self._task: asyncio.Task[None] | None = None
        self._recent: deque[float] = deque(maxlen=200)

    @property
    def worst_recent_s(self) -> float:
        """The worst lag of about the last ten seconds."""
        return max(self._recent, default=0.0)

    def start(self) -> None:
        """Begin to measure, in the running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="loop-lag")

    async def close(self) -> None:
        """Stop measuring."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(PERIOD_S)
            now = time.monotonic()
            lag = max(0.0, now - before - PERIOD_S)
            self._recent.append(lag)
            LOOP_LAG.observe(lag)
            if self._headroom.lagged(lag, now):
                self._tell(self._headroom.verdict)

    def _tell(self, verdict: Verdict) -> None:
        HEADROOM.set(verdict.headroom)
        ADMITS.set(verdict.admits)
        LOOP_LAG_P99.set(verdict.loop_lag_p99_s or 0.0)
        PACKET_LATE_P99.set(verdict.packet_late_p99_s or 0.0)
        if verdict.admits != self._admitted:
            self._admitted = verdict.admits
            if verdict.admits:
                logger.info("there is headroom again: calls are admitted")
            else:
                logger.warning("no headroom, calls are refused: {}", verdict.reason)
