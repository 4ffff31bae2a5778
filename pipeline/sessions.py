"""All sessions of the process: admission, look-up, resumption, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from loguru import logger

from agent.lessons import FreeTalk, Lesson
from agent.record import CallRecord, Level
from pipeline.analyst import Analyst
from pipeline.engine import AtCapacity, Engine
from pipeline.headroom import WINDOW_S, Headroom
from pipeline.lessons import call_lessons
from pipeline.loading import EngineLoader
from pipeline.metrics import prometheus
from pipeline.metrics.loop_lag import LoopLagMonitor
from pipeline.models import SharedModels
from pipeline.options import CallOptions
from pipeline.recording.archive import Archive
from pipeline.registry import make_engines
from pipeline.session import Services, Session
from pipeline.settings.engines import STAGES
from pipeline.settings.tree import Settings
from pipeline.store.journal import Journal
from pipeline.store.sql_recorder import SqlStore, open_store

ORPHAN_REPORT_S = 20.0
"""How long the report of a call may take whose learner is gone."""

WRITTEN_WITHIN_S = 5.0
"""How long the end of the process waits for records that are not written yet."""


class CallsRunning(RuntimeError):
    """Engines cannot be unloaded while calls need them; the text says how many."""


class UnknownLesson(ValueError):
    """The lesson does not exist; the text says which do."""


class SessionManager:
    """Admits and keeps sessions.

    ``engines`` replaces the engines that the settings name, by stage ("stt", "llm", "tts"), for benchmarks and tests.
    """

    def __init__(self, settings: Settings, *, engines: Mapping[str, Engine] | None = None) -> None:
        self.settings = settings
        made = {**make_engines(settings, skip=frozenset(engines or ())), **(engines or {})}
        self.engines: dict[str, Engine] = {stage: made[stage] for stage in STAGES}
        self.models = SharedModels()
        limits = settings.limits
        self.headroom = Headroom(limits.max_loop_lag_ms / 1000, limits.max_packet_late_ms / 1000)
        self.lag = LoopLagMonitor(self.headroom)
        self.analyst = Analyst()
        self.loader = EngineLoader(self.engines, not_counted=lambda: {pid for pid in [self.analyst.pid] if pid is not None})
        self.recordings = Archive(settings.data_dir, settings.recording)
        self.lessons: dict[str, Lesson | FreeTalk] = {}
        self._store: SqlStore | None = None
        self._journal: Journal | None = None
        self._services: Services | None = None
        self._sessions: dict[str, Session] = {}
        self._tokens: dict[str, Session] = {}
        self._started = False
        self._closing = False

    @property
    def ready(self) -> bool:
        """Whether calls can begin."""
        return self._started and not self._closing and self.loader.ready

    @property
    def store(self) -> SqlStore:
        """The record of all calls.

        Raises:
            RuntimeError: before ``start`` has opened it.
        """
        if self._store is None:
            raise RuntimeError("the store is not open yet")
        return self._store

    @property
    def journal(self) -> Journal:
        """What is on its way to the store.

        Raises:
            RuntimeError: before ``start`` has opened it.
        """
        if self._journal is None:
            raise RuntimeError("the store is not open yet")
        return self._journal

    @property
    def active(self) -> int:
        """Sessions with a client attached."""
        return sum(s.state == "attached" for s in self._sessions.values())

    @property
    def detached(self) -> int:
        """Sessions that wait for their client."""
        return sum(s.state in ("new", "detached") for s in self._sessions.values())

    async def start(self) -> None:
        """Open the store, close what an earlier process left open, and load models and engines, one after the other.

        Raises:
            pipeline.loading.LoadFailed: engines that failed; all else is ready, and ``loader`` may load them later.
        """
        self.lag.start()
        self.lessons = await asyncio.to_thread(call_lessons, self.settings)
        self._store = await open_store(self.settings.data_dir)
        await self.analyst.start()
        orphans = await self._store.close_orphans(self._late_report(asyncio.get_running_loop()))
        if orphans:
            logger.info("closed {} calls that an earlier process left open", len(orphans))
        self._journal = Journal(self._store)
        self._services = Services(
            self.settings,
            self.engines,
            self.models,
            self._journal,
            self.lessons,
            self.analyst,
            self.recordings,
            headroom=self.headroom,
        )
        self.recordings.start()
        await self.models.load()
        self._started = True
        try:
            if self.settings.models.preload:
                await self.loader.load()
        finally:
            # How late the loop was while it loaded is no sign of how it will serve calls.
            self.headroom.forget()

    def missing(self) -> str | None:
        """Which engines are unloaded or have failed, and what to do; ``None`` where there are none, or before the start."""
        return self.loader.missing() if self._started and not self._closing else None

    async def unload(self, stages: Iterable[str] | None = None) -> None:
        """Release the engines of ``stages``, or all of them; calls are refused until they are loaded again.

        Raises:
            CallsRunning: a session has not ended, be it without its client for the moment.
        """
        await self.loader.unload(stages, check=self._check_idle)

    def _check_idle(self) -> None:
        if live := len(self._sessions):
            calls = "1 session has" if live == 1 else f"{live} sessions have"
            raise CallsRunning(f"{calls} not ended; end them first (DELETE /session/{{id}}), or wait")

    async def close(self) -> None:
        """End every session with its report, then release engines, models and store. Safe to call twice."""
        self._closing = True
        sessions = list(self._sessions.values())
        await asyncio.gather(*(s.end("the server is stopping") for s in sessions), return_exceptions=True)
        await asyncio.gather(*(s.settle() for s in sessions), return_exceptions=True)
        await self.loader.close()
        await self.analyst.close()
        await self.models.close()
        await self.recordings.close()
        if self._journal is not None:
            await self._journal.close(WRITTEN_WITHIN_S)
        store, self._store = self._store, None
        if store is not None:
            await store.close()
        await self.lag.close()

    def _late_report(self, loop: asyncio.AbstractEventLoop) -> Callable[[CallRecord], dict[str, Any]]:
        """Makes the report of a call that an earlier process left open. Called in a thread; nobody waits for it."""

        def report(record: CallRecord) -> dict[str, Any]:
            return asyncio.run_coroutine_threadsafe(self.analyst.report(record, within_s=ORPHAN_REPORT_S), loop).result()

        return report

    def admit(self) -> None:
        """Raise ``AtCapacity`` where one more call would not be served well; ``NotLoaded`` where an engine is unloaded."""
        if not self._started or self._closing:
            raise AtCapacity("the server is not ready for calls", retry_after_s=2.0)
        self.loader.admit()
        live = len(self._sessions)
        if live >= self.settings.limits.max_calls:
            prometheus.REFUSED.labels("calls").inc()
            raise AtCapacity(f"all {self.settings.limits.max_calls} places are taken", retry_after_s=30.0)
        verdict = self.headroom.verdict
        if not verdict.admits:
            prometheus.REFUSED.labels("headroom").inc()
            # A learner reads this; what is late, and by how much, stands in the log and in /status.
            raise AtCapacity("the server is too busy for another call just now", retry_after_s=WINDOW_S)
        for engine in self.engines.values():
            try:
                engine.admit()
            except AtCapacity:
                prometheus.REFUSED.labels(engine.stage).inc()
                raise

    async def create(
        self,
        *,
        door: str,
        level: Level | None = None,
        lesson: str | None = None,
        record: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> Session:
        """A new session, which waits ``resume_for_s`` for its first connection. Without ``record`` it is never recorded.

        ``options`` are those of ``pipeline.options`` by name; what is not there is the settings' default.

        Raises:
            AtCapacity: no place, or an engine is at its limit.
            BadOption: one of ``options`` is outside its range.
            UnknownLesson: ``lesson`` does not exist.
        """
        self.admit()
        ranges = self.settings.options
        chosen = CallOptions.of(ranges).changed(options or {}, ranges)
        lesson = lesson or self.settings.tutor.lesson
        if lesson not in self.lessons:
            raise UnknownLesson(f"unknown lesson {lesson!r}; there are: {', '.join(sorted(self.lessons))}")
        assert self._services is not None
        session = Session(
            self._services,
            door=door,
            level=level or self.settings.tutor.level,
            lesson=lesson,
            on_ended=self._forget,
            record=record,
            options=chosen,
        )
        self._sessions[session.id] = session
        self._tokens[session.resume_token] = session
        session.await_client()
        return session

    def get(self, session_id: str) -> Session | None:
        """A session that has not ended, by its id."""
        return self._sessions.get(session_id)

    def by_token(self, resume_token: str) -> Session | None:
        """A session that has not ended, by its resume token."""
        return self._tokens.get(resume_token)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self._tokens.pop(session.resume_token, None)
