"""The engines that the server started: starts them one after the other, starts a died one again, stops them at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx
from loguru import logger

from pipeline.engine_manager.keeper import NOT_STARTED
from pipeline.engine_manager.launch import Launch, check_port
from pipeline.engine_manager.policy import Backoff
from pipeline.engine_manager.process import EngineProcess
from pipeline.engine_manager.progress import Progress, Tail, level_of
from pipeline.settings.load import SettingsError

ServerState = Literal["stopped", "starting", "ready", "restarting", "failed"]
POLL_S = 0.25
PROBE_TIMEOUT_S = 5.0


class StartFailed(RuntimeError):
    """One or more engines could not be started; the text names each with its reason."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of an engine's process."""

    name: str
    url: str
    state: ServerState
    pid: int | None
    restarts: int
    """How often it ended unasked and was started again."""
    progress: str
    """What its start is at, in its own words."""
    error: str | None
    """Why it ended last, or could not start."""


class EngineServer:
    """The life of one engine's process."""

    def __init__(self, launch: Launch, backoff: Backoff | None = None) -> None:
        self._launch = launch
        self._first_backoff = backoff
        self._state: ServerState = "stopped"
        self._process: EngineProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """It is ready, or was given up."""
        self._restarts = 0
        self._error: str | None = None
        self._progress = Progress(0.0)
        self._tail = Tail()

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self._launch.name

    def status(self) -> ServerStatus:
        """What is known of it now."""
        pid = self._process.pid if self._process is not None else None
        text = self._progress.text if self._state == "starting" else ""
        return ServerStatus(self.name, self._launch.url, self._state, pid, self._restarts, text, self._error)

    async def start(self) -> None:
        """Start it if it does not run, and wait until it is ready.

        Raises:
            StartFailed: it was given up; the text says why.
        """
        if self._task is None or self._task.done():
            self._settled.clear()
            self._error = None
            self._state = "starting"
            self._task = asyncio.create_task(self._live(), name=f"engine {self.name}")
        await self._settled.wait()
        if self._state == "failed":
            raise StartFailed(f"{self.name}: {self._error}")

    async def stop(self) -> None:
        """End it. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._state = "stopped"
        self._settled.set()

    async def _live(self) -> None:
        backoff = self._first_backoff or Backoff()
        while True:
            try:
                worked_s = await self._run_once()
            except SettingsError as e:  # Trying again changes nothing.
                self._give_up(str(e))
                return
            wait_s = backoff.ended(worked_s)
            if wait_s is None:
                self._give_up(self._error or "it ended")
                return
            self._state = "restarting"
            logger.warning("engine {}: {}; it is started again in {:g} s", self.name, self._error, wait_s)
            await asyncio.sleep(wait_s)
            self._restarts += 1

    def _give_up(self, reason: str) -> None:
        self._state, self._error = "failed", reason
        logger.error("engine {}: {}; POST /models/load tries again", self.name, reason)
        self._settled.set()

    async def _run_once(self) -> float | None:
        """Start it and wait for its end; for how long it was ready, ``None`` if it never was."""
        launch = self._launch
        await asyncio.to_thread(check_port, self.name, *launch.address)
        self._state = "starting"
        self._tail, self._progress = Tail(), Progress(time.monotonic())
        logger.info("engine {}: starting at {}", self.name, launch.url)
        try:
            process = await EngineProcess.start(launch.command, launch.env, self._heard, grace_s=launch.stop_timeout_s)
        except OSError as e:
            raise SettingsError(f"{launch.command[0]}: {e.strerror or e}") from None
        self._process = process
        ended = asyncio.create_task(process.wait(), name=f"engine end {self.name}")
        try:
            began = time.monotonic()
            if not await self._until_ready(ended):
                if not ended.done():
                    self._error = f"it was not ready within {launch.start_timeout_s:g} s"
                    await process.stop()
                else:
                    self._note_end(ended.result())
                return None
            ready_at = time.monotonic()
            self._state, self._error = "ready", None
            logger.info("engine {}: ready after {:.1f} s", self.name, ready_at - began)
            self._settled.set()
            self._note_end(await asyncio.shield(ended))
            return time.monotonic() - ready_at
        finally:
            await process.stop()
            ended.cancel()
            self._process = None

    def _note_end(self, code: int) -> None:
        # One that was killed from outside said nothing of it.
        reason = self._tail.reason(errors_only=code > 128)
        if code == NOT_STARTED and reason:
            raise SettingsError(f"it could not be started: {reason}")
        how = f"it was killed (signal {code - 128})" if code > 128 else f"it ended with exit code {code}"
        self._error = f"{how}: {reason}" if reason else how

    async def _until_ready(self, ended: asyncio.Task[int]) -> bool:
        deadline = time.monotonic() + self._launch.start_timeout_s
        # An engine of this machine is not behind a proxy.
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, verify=False) as client:
            while not ended.done() and time.monotonic() < deadline:
                try:
                    answer = await client.get(self._launch.ready_url)
                    if answer.status_code == 200 and not ended.done():
                        return True
                except httpx.HTTPError:
                    pass
                if told := self._progress.due(time.monotonic()):
                    logger.info("engine {}: {}", self.name, told)
                await asyncio.wait([ended], timeout=POLL_S)
        return False

    def _heard(self, line: str, moving: bool) -> None:
        self._progress.feed(line)
        if moving:
            return
        self._tail.add(line)
        level = level_of(line)
        # What a working engine says of each request is of interest only to those who look for something.
        logger.log("DEBUG" if level == "INFO" and self._state == "ready" else level, "{} | {}", self.name, line)


class EngineManager:
    """All engines that the server starts."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._servers = {launch.name: EngineServer(launch) for launch in launches}
        self._lock = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every one of them is."""
        return all(server.status().state == "ready" for server in self._servers.values())

    def statuses(self) -> list[ServerStatus]:
        """What is known of each."""
        return [server.status() for server in self._servers.values()]

    def missing(self) -> str | None:
        """Those that are not ready, in words; ``None`` where there are none."""
        left = [s for s in self.statuses() if s.state != "ready"]
        words = [
            f"engine {s.name} is {s.state}" + (f" ({s.error or s.progress})" if s.error or s.progress else "") for s in left
        ]
        return "; ".join(words) or None

    def failures(self) -> str | None:
        """Those that were given up, with their reasons; ``None`` where there are none."""
        return "; ".join(f"engine {s.name}: {s.error}" for s in self.statuses() if s.state == "failed") or None

    async def start(self, names: Iterable[str] | None = None) -> None:
        """Start those of ``names`` (all by default) that do not run, one after the other, each once the last one is ready.

        One after the other, since an engine looks at the free memory of the card when it starts. One that fails does not
        keep the next from being started.

        Raises:
            StartFailed: naming those that failed.
        """
        failed = []
        async with self._lock:
            for server in self._chosen(names):
                try:
                    await server.start()
                except StartFailed as e:
                    failed.append(str(e))
        if failed:
            raise StartFailed("; ".join(failed))

    async def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop those of ``names`` (all by default), at the same time."""
        async with self._lock:
            await self._stop(names)

    async def close(self) -> None:
        """Stop them all, at the end of the server. A start under way must have been cancelled."""
        await self._stop(None)

    async def _stop(self, names: Iterable[str] | None) -> None:
        await asyncio.gather(*(server.stop() for server in self._chosen(names)), return_exceptions=True)

    def _chosen(self, names: Iterable[str] | None) -> list[EngineServer]:
        wanted = set(self._servers if names is None else names)
        return [server for name, server in self._servers.items() if name in wanted]
