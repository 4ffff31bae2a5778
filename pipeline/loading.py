"""Loads and unloads the engines of the process, one at a time, and knows the state of each.

One at a time, since what an engine needs while it loads is more than it keeps: together they would need all of it at once. For
the same reason the memory that each costs can be measured: nothing else of this size changes meanwhile.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import psutil
from loguru import logger

from pipeline.engine import AtCapacity, Engine, EngineState, NotLoaded
from pipeline.garbage import settle, unsettle

LOADING_RETRY_S = 2.0
UNLOADED_RETRY_S = 30.0
"""Nobody knows when an operator loads an engine again; a client should not ask all the time."""


class LoadFailed(RuntimeError):
    """One or more engines could not be loaded; the text names each with its reason. The others are loaded."""


@dataclass(slots=True)
class EngineLife:
    """Where an engine is between unloaded and ready."""

    state: EngineState = "unloaded"
    load_s: float | None = None
    """Seconds that the last load took."""
    memory_mb: float | None = None
    """Memory (10⁶ bytes) that this process and its children had more of after the load; ``None`` while not loaded."""
    error: str | None = None
    """Why the last load failed."""


class EngineLoader:
    """The lives of ``engines`` (by stage), in the order in which they are loaded.

    ``not_counted`` gives the processes that belong to no engine; their memory is left out.
    """

    def __init__(self, engines: Mapping[str, Engine], *, not_counted: Callable[[], Collection[int]] = tuple) -> None:
        self._engines = engines
        self._not_counted = not_counted
        self._lives = {stage: EngineLife() for stage in engines}
        self._coming: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()

    def life(self, stage: str) -> EngineLife:
        """The state of one engine."""
        return self._lives[stage]

    @property
    def ready(self) -> bool:
        """Whether every engine is loaded."""
        return all(life.state == "ready" for life in self._lives.values())

    def admit(self) -> None:
        """Refuse a call as long as an engine is not there.

        Raises:
            AtCapacity: one is still loading.
            NotLoaded: one was unloaded or failed to load, and nobody is loading it.
        """
        if missing := self.missing():
            raise NotLoaded(f"no calls now: {missing}", retry_after_s=UNLOADED_RETRY_S)
        if not self.ready:
            raise AtCapacity("the engines are still loading", retry_after_s=LOADING_RETRY_S)

    def missing(self) -> str | None:
        """The engines that are neither ready nor being loaded, in words, and what to do; ``None`` where there are none."""
        if failures := self.failures():
            return f"loading failed: {failures}; POST /models/load tries again"
        unloaded = [self._named(s) for s, life in self._lives.items() if life.state == "unloaded" and s not in self._coming]
        if not unloaded:
            return None
        verb = "is" if len(unloaded) == 1 else "are"
        return f"{' and '.join(unloaded)} {verb} unloaded; POST /models/load loads {'it' if verb == 'is' else 'them'} again"

    def failures(self) -> str | None:
        """The engines that failed to load, with their reasons; ``None`` where there are none."""
        return "; ".join(self._failure(stage) for stage, life in self._lives.items() if life.state == "failed") or None

    async def load(self, stages: Iterable[str] | None = None) -> None:
        """Load and warm up the engines of ``stages`` (all of them by default) that are not loaded, one after the other.

        One that fails does not keep the next from being loaded. Returns, or raises, when all have been tried.

        Raises:
            LoadFailed: naming those of them that failed.
        """
        wanted = self._in_order(stages)
        async with self._lock:
            self._coming = frozenset(wanted)
            missing = [stage for stage in wanted if self._lives[stage].state != "ready"]
            try:
                for stage in missing:
                    await self._load(stage)
            finally:
                self._coming = frozenset()
            if missing:
                settle()  # no call runs yet
        if failed := [self._failure(stage) for stage in wanted if self._lives[stage].state == "failed"]:
            raise LoadFailed("; ".join(failed))

    async def unload(self, stages: Iterable[str] | None = None, *, check: Callable[[], None] = lambda: None) -> None:
        """Release the engines of ``stages`` and give their memory back to the system. One that is not loaded stays so.

        ``check`` may refuse, by raising. It is asked when all loading is over, and no call is admitted from then on.
        """
        wanted = self._in_order(stages)
        async with self._lock:
            check()
            loaded = [stage for stage in reversed(wanted) if self._lives[stage].state != "unloaded"]
            for stage in loaded:
                self._lives[stage] = EngineLife()
            for stage in loaded:
                engine = self._engines[stage]
                before = await self._memory_bytes()
                await engine.close()
                _give_back_memory()
                freed = before - await self._memory_bytes()
                logger.info("{} is unloaded: {:.0f} MB given back", self._named(stage), freed / 1e6)

    async def close(self) -> None:
        """Release every engine at the end of the process. A load under way must have been cancelled. Safe to call twice."""
        for life in self._lives.values():
            life.state = "unloaded"
        unsettle()
        await asyncio.gather(*(engine.close() for engine in self._engines.values()), return_exceptions=True)

    async def _load(self, stage: str) -> None:
        engine = self._engines[stage]
        life = self._lives[stage] = EngineLife("loading")
        before, started = await self._memory_bytes(), time.perf_counter()
        try:
            await engine.load()
        except BaseException as e:
            await self._clear(engine)
            if not isinstance(e, Exception):
                self._lives[stage] = EngineLife()
                raise
            life.state, life.error = "failed", str(e) or type(e).__name__
            logger.opt(exception=e).error("{} failed to load", self._named(stage))
            return
        life.load_s = round(time.perf_counter() - started, 3)
        life.memory_mb = round(max(0, await self._memory_bytes() - before) / 1e6, 1)
        life.state = "ready"
        logger.info("{} is loaded: {:.1f} s, {:.0f} MB", self._named(stage), life.load_s, life.memory_mb)

    async def _clear(self, engine: Engine) -> None:
        try:
            await engine.close()
        except Exception as e:
            logger.opt(exception=e).error("{} could not be released after its load had failed", engine.name)

    async def _memory_bytes(self) -> int:
        return await asyncio.to_thread(memory_bytes, frozenset(self._not_counted()))

    def _in_order(self, stages: Iterable[str] | None) -> list[str]:
        wanted = set(self._engines if stages is None else stages)
        return [stage for stage in self._engines if stage in wanted]

    def _named(self, stage: str) -> str:
        return f"{stage} ({self._engines[stage].name})"

    def _failure(self, stage: str) -> str:
        return f"{self._named(stage)}: {self._lives[stage].error}"


def memory_bytes(not_counted: Collection[int] = ()) -> int:
    """Memory of this process and its children but for those in ``not_counted``; takes some ms.

    What several of them share counts once (Linux: proportional set size; elsewhere what each has for itself alone).
    """
    own = psutil.Process(os.getpid())
    total = 0
    for process in (own, *own.children(recursive=True)):
        if process.pid in not_counted:
            continue
        try:
            info = process.memory_full_info()
        except psutil.Error:  # it has ended, or may not be looked at
            continue
        total += getattr(info, "pss", info.uss)
    return total


def _give_back_memory() -> None:
    """What Python has freed is still the allocator's. No call runs now, so that nobody notices the pause."""
    settle()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
