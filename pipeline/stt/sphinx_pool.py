"""Worker processes for many utterances at once: carries out what ``sphinx_schedule`` decides, on an event loop."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from loguru import logger

from pipeline.engine import AtCapacity
from pipeline.stt.recognition import RecogniserBusy, RecogniserFailed, Recognition, UtteranceCancelled
from pipeline.stt.sphinx_link import WorkerLink, forkserver_context
from pipeline.stt.sphinx_schedule import Action, Assign, Fail, Finish, Release, Replace, Schedule
from pipeline.stt.sphinx_wire import Kind

BYTES_PER_S = 32_000
START_TIMEOUT_S = 60.0
_ALIVE_AFTER_S = 2.0  # audio sent without a sign of life after which the worker owes one
_RETRY_AFTER_S = 5.0

OnPartial = Callable[[str], None]


def default_workers() -> int:
    """One core is left to the calls themselves; more than 4 workers only by choice."""
    return max(1, min(4, (os.cpu_count() or 1) - 1))


class Utterance:
    """One stretch of speech of one call. Made by ``SphinxPool.open``; ends with ``finish`` or ``cancel``."""

    def __init__(
        self,
        pool: SphinxPool,
        key: int,
        expected: Sequence[str],
        careful: Sequence[str],
        on_partial: OnPartial | None,
        max_bytes: int,
    ) -> None:
        self._pool = pool
        self._key = key
        self._max_bytes = max_bytes
        self.expected, self.careful = list(expected), list(careful)
        self.on_partial = on_partial
        self.audio = bytearray()
        self.final: asyncio.Future[Recognition] | None = None
        self.cancelled = False

    @property
    def full(self) -> bool:
        """Whether it holds as much audio as an utterance may."""
        return len(self.audio) >= self._max_bytes

    def feed(self, pcm16: bytes) -> int:
        """Add mono pcm16 at 16 kHz. Never blocks.

        Returns:
            How many bytes were taken: less than given when the utterance is ``full``; the rest belongs into the next one.

        Raises:
            RuntimeError: after ``finish`` or ``cancel``.
        """
        if self.final is not None or self.cancelled:
            raise RuntimeError("the utterance is over")
        taken = pcm16[: max(0, self._max_bytes - len(self.audio))]
        self.audio += taken
        self._pool._fed(self._key, bytes(taken))
        return len(taken)

    def finish(self) -> asyncio.Future[Recognition]:
        """Ask for the final; decoding goes on at once, awaited or not. A second call gives the same future.

        The future raises ``RecogniserBusy``, ``RecogniserFailed`` or ``UtteranceCancelled``.
        """
        if self.final is None:
            self.final = asyncio.get_running_loop().create_future()
            # Whoever cancels a call may never look at its finals.
            self.final.add_done_callback(lambda f: f.cancelled() or f.exception())
            if self.cancelled:
                self.final.set_exception(UtteranceCancelled("the utterance was cancelled"))
            else:
                self._pool._finish(self._key)
        return self.final

    def cancel(self) -> None:
        """Give it up; a final that is awaited raises ``UtteranceCancelled``. Safe to call at any time."""
        if not self.cancelled and (self.final is None or not self.final.done()):
            self.cancelled = True
            self._pool._cancel(self._key)


class SphinxPool:
    """A fixed number of workers that are replaced when they die. ``load`` starts them, ``close`` ends them."""

    def __init__(
        self,
        workers: int = 0,
        *,
        partials: bool = True,
        queue_deadline_s: float = 3.0,
        utterance_timeout_s: float = 15.0,
        max_utterance_s: float = 30.0,
    ) -> None:
        self._options = (workers or default_workers(), queue_deadline_s, utterance_timeout_s, partials)
        self._schedule = Schedule(*self._options)
        self._max_bytes = int(max_utterance_s * BYTES_PER_S) & ~1
        self._links: dict[int, WorkerLink] = {}
        self._unacknowledged: dict[int, int] = {}  # bytes sent to a worker since its last sign of life
        self._utterances: dict[int, Utterance] = {}
        self._next = 0
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._executor: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._preloaded = False
        self._not_started = ""  # why a worker's start failed last
        self._finals_ms: list[float] = []
        self._closing = False

    async def __aenter__(self) -> SphinxPool:
        await self.load()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    # Life

    async def load(self) -> None:
        """Start the workers; returns when all of them are ready.

        Raises:
            RuntimeError: they were not within ``START_TIMEOUT_S``; the pool is closed.
        """
        if self._executor is not None:
            return
        self._closing, self._not_started = False, ""
        # Starting and joining a process blocks: one thread does it, one process after another.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sphinx-pool")
        for worker in range(self._schedule.workers):
            self._spawn(self._start(worker, 0.0))
        try:
            await asyncio.wait_for(self._ready.wait(), START_TIMEOUT_S)
        except BaseException as e:
            await self.close()
            if isinstance(e, TimeoutError):
                why = f": {self._not_started}" if self._not_started else ""
                raise RuntimeError(f"the recogniser's workers were not ready within {START_TIMEOUT_S:g} s{why}") from None
            raise

    async def close(self) -> None:
        """End all workers and fail what is under way. Safe to call twice."""
        if self._executor is None or self._closing:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._utterances):
            self._fail(key, UtteranceCancelled("the recogniser was closed"))
        links, self._links = list(self._links.values()), {}
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.end() for link in links))
        self._executor.shutdown(wait=True)
        self._executor = None
        self._schedule = Schedule(*self._options)
        self._ready.clear()

    # Calls

    def join(self) -> None:
        """A call that will speak has begun."""
        self._calls += 1

    def leave(self) -> None:
        """It has ended."""
        self._calls -= 1

    def admit(self) -> None:
        """Raise ``AtCapacity`` where one more call would not be served well; see ``Schedule.refusal`` for the rule."""
        if reason := self._schedule.refusal(self._calls):
            raise AtCapacity(reason, _RETRY_AFTER_S)

    def status(self) -> dict[str, Any]:
        """Numbers for ``/status``."""
        s, c = self._schedule, self._schedule.counters
        recent = sorted(self._finals_ms)
        return {
            "workers": s.workers,
            "ready": s.ready_workers,
            "busy": s.busy_workers,
            "pids": [link.pid for link in self._links.values()],
            "preloaded": self._preloaded,
            "calls": self._calls,
            "capacity_calls": s.capacity(),
            "open_utterances": s.open_utterances,
            "queue_depth": s.queue_depth,
            "finals": c.finals,
            "partials_dropped": c.partials_dropped,
            "refused_busy": c.busy,
            "failed": c.failed,
            "restarts": c.restarts,
            "real_time_factor": round(s.real_time_factor, 3),
            "final_p50_ms": recent[len(recent) // 2] if recent else None,
        }

    @property
    def is_ready(self) -> bool:
        """Whether all workers have been ready once and the pool is not closed."""
        return self._ready.is_set() and not self._closing

    # Utterances

    def open(
        self, expected: Sequence[str] = (), on_partial: OnPartial | None = None, *, careful: Sequence[str] = ()
    ) -> Utterance:
        """A learner begins to speak and may give one of the ``expected`` replies, or of those to be ``careful`` with.

        ``on_partial`` is called on the event loop with the words so far.

        Raises:
            RecogniserFailed: the pool is not loaded, or closed.
        """
        if self._executor is None or self._closing:
            raise RecogniserFailed("the recogniser is not running")
        self._next = self._next % 0xFFFFFFFF + 1
        utterance = Utterance(self, self._next, expected, careful, on_partial, self._max_bytes)
        self._utterances[self._next] = utterance
        self._do(self._schedule.open(self._next, time.monotonic()))
        return utterance

    def _fed(self, key: int, pcm16: bytes) -> None:
        worker = self._schedule.worker_of(key)
        if worker is not None and pcm16:
            self._send_audio(worker, key, pcm16)

    def _finish(self, key: int) -> None:
        if key in self._utterances:
            self._do(self._schedule.finish(key, time.monotonic()))

    def _cancel(self, key: int) -> None:
        self._fail(key, UtteranceCancelled("the utterance was cancelled"))
        self._do(self._schedule.cancel(key, time.monotonic()))

    def _fail(self, key: int, error: Exception) -> None:
        utterance = self._utterances.pop(key, None)
        if utterance is None:
            return
        if utterance.final is None:
            # It failed before its final was asked for: whoever asks learns it then.
            utterance.final = asyncio.get_running_loop().create_future()
            utterance.final.add_done_callback(lambda f: f.cancelled() or f.exception())
        if not utterance.final.done():
            utterance.final.set_exception(error)

    # What the schedule wants

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Assign(worker, key):
                    self._assign(worker, key)
                case Release(worker, key):
                    self._links[worker].send(Kind.CANCEL, key)
                case Finish(worker, key):
                    self._links[worker].send(Kind.FINISH, key)
                case Fail(key, reason, busy):
                    logger.warning("utterance {} was not recognised: {}", key, reason)
                    self._fail(key, RecogniserBusy(reason) if busy else RecogniserFailed(reason))
                case Replace(worker, delay_s):
                    self._replace(worker, delay_s)
        self._set_timer()

    def _assign(self, worker: int, key: int) -> None:
        utterance = self._utterances[key]
        link = self._links[worker]
        wants_partials = utterance.on_partial is not None and not self._schedule.is_due(key)
        options = {"expected": utterance.expected, "careful": utterance.careful, "partials": wants_partials}
        link.send(Kind.OPEN, key, options)
        self._unacknowledged[worker] = 0
        if utterance.audio:
            self._send_audio(worker, key, bytes(utterance.audio))
        if self._schedule.is_due(key):
            link.send(Kind.FINISH, key)

    def _send_audio(self, worker: int, key: int, pcm16: bytes) -> None:
        self._links[worker].send(Kind.AUDIO, key, pcm16)
        self._unacknowledged[worker] += len(pcm16)
        if self._unacknowledged[worker] >= _ALIVE_AFTER_S * BYTES_PER_S:
            self._schedule.fed(key, time.monotonic())
            self._set_timer()

    def _replace(self, worker: int, delay_s: float) -> None:
        link = self._links.pop(worker, None)
        if self._closing:
            return
        logger.warning("recogniser worker {} (pid {}) is replaced", worker, link.pid if link else None)
        self._spawn(self._start(worker, delay_s, link))

    async def _start(self, worker: int, delay_s: float, old: WorkerLink | None = None) -> None:
        assert self._executor is not None
        if old is not None:
            old.kill()
            await old.end()
        await asyncio.sleep(delay_s)
        link = WorkerLink(worker, self._executor, self._on_message, self._on_gone)
        try:
            await link.start(forkserver_context())
        except asyncio.CancelledError:
            await link.end()
            raise
        except Exception as e:
            logger.error("recogniser worker {} did not start: {}", worker, e)
            self._not_started = str(e)
            await link.end()
            self._do(self._schedule.worker_lost(worker, time.monotonic(), "its worker did not start"))
            return
        self._links[worker] = link
        try:
            await asyncio.wait_for(link.ready.wait(), START_TIMEOUT_S)
        except TimeoutError:
            link.kill()  # which ``_on_gone`` notices

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="sphinx-start")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._schedule.next_tick()
        if at is not None and not self._closing:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self._schedule.tick(time.monotonic()))

    # What workers say

    def _on_message(self, link: WorkerLink, kind: Kind, key: int, body: bytes) -> None:
        worker, now = link.worker, time.monotonic()
        if self._links.get(worker) is not link:
            return
        if kind is Kind.PROGRESS:
            self._unacknowledged[worker] = 0
            self._schedule.progress(worker, key, now)
            return
        data = json.loads(body)
        if kind is Kind.READY:
            link.ready.set()
            self._preloaded = data["preloaded"]
            self._do(self._schedule.worker_ready(worker, now))
            if self._schedule.ready_workers == self._schedule.workers:
                self._ready.set()
        elif kind is Kind.PARTIAL:
            utterance = self._utterances.get(key)
            if utterance is not None and utterance.on_partial is not None and utterance.final is None:
                utterance.on_partial(data["text"])
        elif kind is Kind.FINAL:
            result = Recognition.from_dict(data)
            actions = self._schedule.finished(worker, key, now, audio_s=result.audio_s, decode_s=result.decode_ms / 1e3)
            if actions is None:
                return
            self._finals_ms = [*self._finals_ms[-99:], result.final_ms]
            utterance = self._utterances.pop(key, None)
            if utterance is not None and utterance.final is not None and not utterance.final.done():
                utterance.final.set_result(result)
            self._do(actions)
        elif kind is Kind.FAILED:
            self._do(self._schedule.refused(worker, key, now, data["reason"]))

    def _on_gone(self, link: WorkerLink) -> None:
        if self._links.get(link.worker) is link and not self._closing:
            self._do(self._schedule.worker_lost(link.worker, time.monotonic()))
