"""Which utterance is decoded by which worker, and what happens when there are not enough of them. Pure: time is passed in.

An utterance is *open* while it is spoken and *due* from the moment its final is asked for. A worker has at most one utterance,
and keeps it. With too much to do, these give way, in this order:

1. Partials. An open utterance needs no worker: its audio is kept. It streams on one only while no due utterance wants it; the
   open utterance that began last loses its worker first, because the least work is lost with it.
2. Finals wait, first come first served, each at most ``queue_deadline_s``.
3. New calls are refused (``refusal``).

A worker that dies, or makes no progress for ``utterance_timeout_s``, is replaced. Its utterance is decoded again from the kept
audio; one that has cost ``MAX_STRIKES`` workers fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_STRIKES = 2
SPEAKING_SHARE = 0.5
"""Share of a call in which its learner is taken to speak: a conversation of two."""
TARGET_LOAD = 0.7
"""Load of the workers above which queues grow quickly."""
INITIAL_REAL_TIME_FACTOR = 0.25
_FACTOR_WEIGHT = 0.1
_MIN_FACTOR = 0.02
_RESTART_BACKOFF_S = (0.0, 0.2, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Assign:
    """Give the utterance to the worker: its expected replies, all audio so far and, if it is due, the wish for its final."""

    worker: int
    utterance: int


@dataclass(frozen=True, slots=True)
class Release:
    """Tell the worker to forget the utterance."""

    worker: int
    utterance: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Ask the worker, which has all the audio, for the utterance's final."""

    worker: int
    utterance: int


@dataclass(frozen=True, slots=True)
class Fail:
    """The utterance gets no final. ``busy``: it waited too long; otherwise its workers died or hung."""

    utterance: int
    reason: str
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """End the worker if it still runs, and start another one in its place after ``delay_s``."""

    worker: int
    delay_s: float = 0.0


Action = Assign | Release | Finish | Fail | Replace


@dataclass(slots=True)
class _Utterance:
    id: int
    opened_at: float
    worker: int | None = None
    due_at: float | None = None
    deadline: float | None = None
    strikes: int = 0


@dataclass(slots=True)
class _Worker:
    id: int
    ready: bool = False
    utterance: int | None = None
    owed_since: float | None = None  # since when it has owed a sign of life
    failed_starts: int = 0


@dataclass(slots=True)
class Counters:
    """What has happened so far."""

    finals: int = 0
    partials_dropped: int = 0
    busy: int = 0
    failed: int = 0
    restarts: int = 0


@dataclass(slots=True)
class Schedule:
    """The state of the pool. Every method that changes it returns what is to be done, in order."""

    workers: int
    queue_deadline_s: float
    utterance_timeout_s: float
    partials: bool = True
    real_time_factor: float = INITIAL_REAL_TIME_FACTOR
    counters: Counters = field(default_factory=Counters)
    _workers: dict[int, _Worker] = field(init=False)
    _utterances: dict[int, _Utterance] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._workers = {k: _Worker(k) for k in range(self.workers)}

    # What is

    @property
    def queue_depth(self) -> int:
        """Due utterances that wait for a worker."""
        return sum(u.due_at is not None and u.worker is None for u in self._utterances.values())

    @property
    def open_utterances(self) -> int:
        """Utterances that are neither finished nor cancelled."""
        return len(self._utterances)

    @property
    def ready_workers(self) -> int:
        """Workers that have loaded their models."""
        return sum(w.ready for w in self._workers.values())

    @property
    def busy_workers(self) -> int:
        """Workers that have an utterance."""
        return sum(w.utterance is not None for w in self._workers.values())

    def worker_of(self, utterance: int) -> int | None:
        """The worker that has the utterance."""
        known = self._utterances.get(utterance)
        return known.worker if known else None

    def is_due(self, utterance: int) -> bool:
        """Whether the utterance's final was asked for."""
        known = self._utterances.get(utterance)
        return known is not None and known.due_at is not None

    def capacity(self) -> int:
        """Calls that the workers can serve, each ``SPEAKING_SHARE`` of the time, at the measured real-time factor."""
        return max(1, int(TARGET_LOAD * self.workers / (SPEAKING_SHARE * max(self.real_time_factor, _MIN_FACTOR))))

    def refusal(self, calls: int) -> str | None:
        """Why one call more than ``calls`` would not be served well, or ``None``: all seats taken, or finals queue already."""
        if self.queue_depth >= self.workers:
            return f"{self.queue_depth} utterances wait for {self.workers} recogniser workers"
        if calls >= self.capacity():
            return (
                f"{calls} calls are as many as {self.workers} recogniser workers can follow "
                f"at a real-time factor of {self.real_time_factor:.2f}"
            )
        return None

    # What happens to utterances

    def open(self, utterance: int, now: float) -> list[Action]:
        """The learner began to speak."""
        self._utterances[utterance] = _Utterance(utterance, now)
        actions = list(self._dispatch(now))
        if self.partials and self.worker_of(utterance) is None:
            self.counters.partials_dropped += 1
        return actions

    def finish(self, utterance: int, now: float) -> list[Action]:
        """The learner paused: the final is wanted."""
        known = self._utterances.get(utterance)
        if known is None or known.due_at is not None:
            return []
        known.due_at = now
        if known.worker is not None:
            self._workers[known.worker].owed_since = now
            return [Finish(known.worker, utterance)]
        known.deadline = now + self.queue_deadline_s
        return list(self._dispatch(now))

    def cancel(self, utterance: int, now: float) -> list[Action]:
        """The utterance is wanted no longer."""
        known = self._utterances.pop(utterance, None)
        if known is None:
            return []
        return [*self._free(known), *self._dispatch(now)]

    def fed(self, utterance: int, now: float) -> None:
        """A worker was sent so much audio that it owes a sign of life."""
        worker = self.worker_of(utterance)
        if worker is not None and self._workers[worker].owed_since is None:
            self._workers[worker].owed_since = now

    # What happens at workers

    def worker_ready(self, worker: int, now: float) -> list[Action]:
        """A worker has loaded its models."""
        w = self._workers[worker]
        w.ready, w.failed_starts, w.owed_since = True, 0, None
        return list(self._dispatch(now))

    def progress(self, worker: int, utterance: int, now: float) -> None:
        """A worker decoded a chunk."""
        w = self._workers[worker]
        known = self._utterances.get(utterance)
        if w.utterance == utterance and known is not None and known.due_at is None:
            w.owed_since = None

    def finished(self, worker: int, utterance: int, now: float, *, audio_s: float, decode_s: float) -> list[Action] | None:
        """A worker gave a final; ``None`` where nobody waits for it any more."""
        known = self._utterances.get(utterance)
        if known is None or known.worker != worker:
            return None
        if audio_s > 0:
            self.real_time_factor += _FACTOR_WEIGHT * (decode_s / audio_s - self.real_time_factor)
        del self._utterances[utterance]
        self.counters.finals += 1
        self._workers[worker].utterance = self._workers[worker].owed_since = None
        return list(self._dispatch(now))

    def refused(self, worker: int, utterance: int, now: float, reason: str) -> list[Action]:
        """A worker could not decode an utterance and lives on."""
        known = self._utterances.get(utterance)
        if known is None or known.worker != worker:
            return []
        del self._utterances[utterance]
        self._workers[worker].utterance = self._workers[worker].owed_since = None
        return [self._failure(known, reason), *self._dispatch(now)]

    def worker_lost(self, worker: int, now: float, reason: str = "its worker died") -> list[Action]:
        """A worker is gone, or must go."""
        w = self._workers[worker]
        delay_s = 0.0
        if not w.ready:
            delay_s = _RESTART_BACKOFF_S[min(w.failed_starts + 1, len(_RESTART_BACKOFF_S) - 1)]
        failed_starts = 0 if w.ready else w.failed_starts + 1
        self._workers[worker] = _Worker(worker, failed_starts=failed_starts)
        self.counters.restarts += 1
        actions: list[Action] = [Replace(worker, delay_s)]
        known = self._utterances.get(w.utterance) if w.utterance is not None else None
        if known is not None:
            known.worker = None
            known.strikes += 1
            if known.strikes >= MAX_STRIKES:
                del self._utterances[known.id]
                actions.append(self._failure(known, f"{reason}, as did the one before"))
            elif known.due_at is not None:
                known.deadline = now + self.queue_deadline_s
        return [*actions, *self._dispatch(now)]

    def tick(self, now: float) -> list[Action]:
        """Time has passed: deadlines and silent workers."""
        actions: list[Action] = []
        for u in [u for u in self._utterances.values() if u.worker is None and u.deadline is not None and u.deadline <= now]:
            del self._utterances[u.id]
            self.counters.busy += 1
            waited_s = now - u.due_at if u.due_at is not None else self.queue_deadline_s
            actions.append(Fail(u.id, f"no recogniser worker came free within {waited_s:.1f} s", busy=True))
        for w in [w for w in self._workers.values() if w.owed_since is not None]:
            if w.owed_since is not None and w.owed_since + self.utterance_timeout_s <= now:
                actions += self.worker_lost(w.id, now, f"its worker hung for {self.utterance_timeout_s:g} s")
        return actions

    def next_tick(self) -> float | None:
        """When ``tick`` will have something to do at the earliest."""
        times = [u.deadline for u in self._utterances.values() if u.worker is None and u.deadline is not None]
        times += [w.owed_since + self.utterance_timeout_s for w in self._workers.values() if w.owed_since is not None]
        return min(times, default=None)

    # How work is shared out

    def _dispatch(self, now: float) -> Iterator[Action]:
        for known in sorted((u for u in self._utterances.values() if u.due_at is not None and u.worker is None), key=_by_due):
            worker = self._idle() or self._streaming_last()
            if worker is None:
                return
            if worker.utterance is not None:
                robbed = self._utterances[worker.utterance]
                self.counters.partials_dropped += 1
                yield from self._free(robbed)
            yield self._give(worker, known, now)
        if not self.partials:
            return
        for known in sorted((u for u in self._utterances.values() if u.due_at is None and u.worker is None), key=_by_opening):
            worker = self._idle()
            if worker is None:
                return
            yield self._give(worker, known, now)

    def _idle(self) -> _Worker | None:
        return next((w for w in self._workers.values() if w.ready and w.utterance is None), None)

    def _streaming_last(self) -> _Worker | None:
        """The worker of the open utterance that began last."""
        streaming = [u for u in self._utterances.values() if u.worker is not None and u.due_at is None]
        last = max(streaming, key=_by_opening, default=None)
        return self._workers[last.worker] if last is not None and last.worker is not None else None

    def _give(self, worker: _Worker, known: _Utterance, now: float) -> Assign:
        worker.utterance, known.worker, known.deadline = known.id, worker.id, None
        worker.owed_since = now if known.due_at is not None else None
        return Assign(worker.id, known.id)

    def _free(self, known: _Utterance) -> Iterator[Release]:
        if known.worker is not None:
            worker, known.worker = self._workers[known.worker], None
            worker.utterance = worker.owed_since = None
            yield Release(worker.id, known.id)

    def _failure(self, known: _Utterance, reason: str) -> Fail:
        self.counters.failed += 1
        return Fail(known.id, reason)


def _by_due(u: _Utterance) -> tuple[float, int]:
    return (u.due_at or 0.0, u.id)


def _by_opening(u: _Utterance) -> tuple[float, int]:
    return (u.opened_at, u.id)
