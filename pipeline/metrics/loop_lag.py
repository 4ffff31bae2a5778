"""Measures how late the event loop runs its timers, the first sign of anything that blocks it."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from pipeline.metrics.prometheus import LOOP_LAG

PERIOD_S = 0.05


class LoopLagMonitor:
    """A task that sleeps for ``PERIOD_S`` and records how much longer it took."""

    def __init__(self) -> None:
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
            lag = max(0.0, time.monotonic() - before - PERIOD_S)
            self._recent.append(lag)
            LOOP_LAG.observe(lag)
