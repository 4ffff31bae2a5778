"""All recordings of a data folder: begun, finished, found, deleted, and given up when they are too old or too many."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from pipeline.metrics import prometheus
from pipeline.recording import files
from pipeline.recording.recorder import SessionRecorder
from pipeline.settings.tree import RecordingSettings
from pipeline.wall_clock import PatientClock

FOLDER = "recordings"
DAY_S = 86_400.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished recording. ``started_at``: seconds since the epoch of its first sample."""

    path: Path
    media_type: str
    started_at: float


class Archive:
    """The recordings below ``data_dir``, one folder a session. Made without touching the disk."""

    def __init__(self, data_dir: Path, settings: RecordingSettings) -> None:
        self.folder = Path(data_dir) / FOLDER
        self.settings = settings
        self._clock = PatientClock()
        self._live: set[str] = set()
        self._finishing: dict[str, asyncio.Task[Path | None]] = {}
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Finish what an earlier process left, and apply the limits now and once a day, in the background."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="recordings")

    async def close(self) -> None:
        """Wait for the work that has begun. Safe to call twice."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        if self._finishing:
            await asyncio.wait(list(self._finishing.values()))

    # Of one session

    def begin(
        self, session_id: str, on_failed: Callable[[str], None], *, wall: Callable[[], float] = time.time
    ) -> SessionRecorder:
        """Record a session; ``finish`` or ``drop`` ends that. ``wall``: the clock of its record."""
        self._live.add(session_id)
        return SessionRecorder(self._of(session_id), self.settings.format, on_failed, wall=wall)

    async def finish(self, session_id: str) -> Path | None:
        """Make the recording of an ended session one file; never raises. ``None`` where there is nothing to make it of."""
        self._live.discard(session_id)
        task = self._finishing.get(session_id)
        if task is None:
            task = asyncio.create_task(self._finish(session_id), name="finish a recording")
            self._finishing[session_id] = task
            task.add_done_callback(lambda _: self._finishing.pop(session_id, None))
        return await asyncio.shield(task)

    async def drop(self, session_id: str) -> None:
        """Delete a session's recording, whatever state it is in. Raises ``OSError`` where something of it is left."""
        task = self._finishing.get(session_id)
        if task is not None:
            await asyncio.wait({task})
        self._live.discard(session_id)
        await asyncio.to_thread(files.remove, self._of(session_id))

    async def find(self, session_id: str) -> Recorded | None:
        """The recording of an ended session; one that a crash left is finished first."""
        if session_id in self._live or _ID.fullmatch(session_id) is None:
            return None
        path = await self.finish(session_id)
        if path is None:
            return None
        folder = self._of(session_id)
        about = await asyncio.to_thread(files.About.read, folder)
        started_at = about.started_at if about is not None else (await asyncio.to_thread(folder.stat)).st_mtime
        return Recorded(path, files.MEDIA_TYPES[path.suffix], started_at)

    def has(self, session_id: str) -> bool:
        """Whether a session has a recording, finished or not; one look at the disk."""
        folder = self._of(session_id)
        return files.finished(folder) is not None or files.has_tracks(folder)

    def _of(self, session_id: str) -> Path:
        if _ID.fullmatch(session_id) is None:
            raise ValueError(f"not the id of a session: {session_id[:64]!r}")
        return self.folder / session_id

    async def _finish(self, session_id: str) -> Path | None:
        folder = self._of(session_id)
        try:
            return await asyncio.to_thread(files.finish, folder)
        except files.InUse:
            return None
        except Exception as e:
            prometheus.ERRORS.labels("recording").inc()
            logger.error("{}: the recording could not be finished: {}", folder, e)
            return None

    # Of all

    async def _keep(self) -> None:
        while True:
            try:
                for session_id in await asyncio.to_thread(self._unfinished):
                    if session_id not in self._live:
                        await self.finish(session_id)
                await asyncio.to_thread(self.apply_limits, self._clock.now())
            except Exception as e:
                prometheus.ERRORS.labels("recording").inc()
                logger.error("{}: the limits of recordings could not be applied: {}", self.folder, e)
            await asyncio.sleep(DAY_S)

    def apply_limits(self, now: float) -> list[str]:
        """Delete recordings that are too old, then the oldest of those that are too many; returns their ids. Blocks."""
        kept: list[tuple[float, str, int]] = []
        gone: list[str] = []
        for folder in self._folders():
            if folder.name in self._live or folder.name in self._finishing:
                continue
            about = files.About.read(folder)
            at = about.started_at if about is not None else folder.stat().st_mtime
            if self.settings.keep_days is not None and at < now - self.settings.keep_days * DAY_S:
                gone.append(folder.name)
            else:
                kept.append((at, folder.name, files.size(folder)))
        if self.settings.max_bytes is not None:
            total = sum(size for _, _, size in kept)
            for _, name, size in sorted(kept):
                if total <= self.settings.max_bytes:
                    break
                gone.append(name)
                total -= size
        for name in gone:
            files.remove(self.folder / name)
        if gone:
            logger.info("{} recordings were deleted: too old or too many", len(gone))
        return gone

    def _unfinished(self) -> list[str]:
        return [folder.name for folder in self._folders() if files.has_tracks(folder)]

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir() and _ID.fullmatch(path.name)]
