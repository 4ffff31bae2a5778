"""Keeps both voices of one session while it runs. The event loop only puts pieces into a queue; a thread writes them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame

from pipeline.messages import INPUT_RATE_HZ
from pipeline.metrics import prometheus
from pipeline.recording.files import RATES_HZ, About, Format, Voice, hold, track
from pipeline.recording.timeline import Timeline
from pipeline.transports.base import CallTransport

QUEUE_PIECES = 1_000
"""Some 10 s of both voices. A disk that stands still for longer costs sound in the recording, and nothing else."""
CLOSE_TIMEOUT_S = 3.0
POLL_S = 1.0


class SessionRecorder:
    """The recording of one session, over all its connections. No file is made before the first sound.

    ``folder`` is where its files go. ``on_failed`` is called once, in the event loop, with a reason fit to show, when nothing
    more can be written; the call goes on.
    """

    def __init__(
        self,
        folder: Path,
        form: Format,
        on_failed: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.failed: str | None = None
        self.dropped = 0
        """Pieces that the queue had no place for."""
        self._format = form
        self._on_failed = on_failed
        self._clock, self._wall = clock, wall
        self._loop = asyncio.get_running_loop()
        self._queue: queue.Queue[tuple[Voice, int, bytes] | None] = queue.Queue(QUEUE_PIECES)
        self._lines: dict[Voice, Timeline] = {}
        self._about: About | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether there has been any sound."""
        return self._thread is not None

    def listen(self, transport: CallTransport) -> None:
        """Take in what passes one connection of the session: what the learner's side captured, and what was sent to it."""

        def heard(_processor: Any, frame: Frame) -> None:
            if not isinstance(frame, InputAudioRawFrame):
                return
            end_s = frame.metadata.get("capture_end_s")
            at = transport.capture.time_of(end_s) if end_s is not None else None
            ends_at = at if at is not None else self._clock()
            self.add("learner", frame.audio, ends_at - len(frame.audio) / 2 / INPUT_RATE_HZ)

        transport.input().add_event_handler("on_before_push_frame", heard)
        transport.playout.on_audio = lambda pcm16, at: self.add("tutor", pcm16, at)

    def add(self, voice: Voice, pcm16: bytes, starts_at: float) -> None:
        """A piece of a voice (mono, at the voice's rate) that begins at the monotonic time ``starts_at``. Never blocks."""
        if self._closed or self.failed is not None:
            return
        if self._thread is None:
            # The first piece begins in the past: on the recording's clock nothing may lie before 0.
            origin = min(starts_at, self._clock())
            self._lines = {name: Timeline(rate_hz, origin) for name, rate_hz in RATES_HZ.items()}
            self._about = About(self._wall() - (self._clock() - origin), self._format)
            self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
            self._thread.start()
        place = self._lines[voice].place(len(pcm16) // 2, starts_at)
        if place is None:
            return
        try:
            self._queue.put_nowait((voice, place.start, pcm16[place.skip * 2 :]))
        except queue.Full:
            if self.dropped == 0:
                logger.warning("{}: the disk does not follow; sound is missing in the recording", self.folder)
            self.dropped += 1
            prometheus.ERRORS.labels("recording").inc()

    async def close(self) -> None:
        """Write what is left and let the files go. Safe to call twice.

        A disk that stands still is not waited for: the thread goes on, and what it holds is finished at the next start.
        """
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        await asyncio.to_thread(thread.join, CLOSE_TIMEOUT_S)
        if thread.is_alive():
            prometheus.ERRORS.labels("recording").inc()
            logger.error("{}: the disk does not take the end of the recording", self.folder)

    def _next(self) -> tuple[Voice, int, bytes] | None:
        while True:
            try:
                return self._queue.get(timeout=POLL_S)
            except queue.Empty:
                if self._closed:  # and there was no place for the word that says so
                    return None

    def _write(self) -> None:
        files: dict[Voice, IO[bytes]] = {}
        try:
            assert self._about is not None
            # What people said is theirs: for the owner's eyes only.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._about.write(self.folder)
            for voice in RATES_HZ:
                files[voice] = track(self.folder, voice).open("wb", buffering=0)
                hold(files[voice])
            ends = dict.fromkeys(RATES_HZ, 0)
            while (item := self._next()) is not None:
                voice, start, pcm16 = item
                ends[voice] = start * 2 + len(pcm16)
                if pcm16.count(0) == len(pcm16):
                    continue  # a hole in the file is silence, too
                files[voice].seek(start * 2)
                view = memoryview(pcm16)
                while view:
                    view = view[files[voice].write(view) :]
            for voice, end in ends.items():
                files[voice].truncate(end)
        except Exception as e:
            self._stop(e)
            while self._next() is not None:
                pass
        finally:
            for f in files.values():
                f.close()

    def _stop(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        self.failed = reason
        prometheus.ERRORS.labels("recording").inc()
        logger.error("{}: the recording stopped: {}", self.folder, error)
        try:
            self._loop.call_soon_threadsafe(self._on_failed, reason)
        except RuntimeError:
            pass  # the loop has ended, and with it everybody who could be told
