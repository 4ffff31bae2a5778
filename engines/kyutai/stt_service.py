"""Speech to text for many sessions: what the front-ends say goes in, what their clients are to hear comes out.

The scheduler (``engines/kyutai/schedule/stt.py``) decides, the model hears; this carries out the one's plans on the other. It
knows neither sockets nor rings, and blocks for as long as the steps of one tick take. Times come from the clock that it is
given, in seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from engines.kyutai.link.channel import ERROR, OPEN
from engines.kyutai.link.host import Send
from engines.kyutai.model.interface import SttModel, SttOutput
from engines.kyutai.schedule.backlog import FRAME, FRAME_S
from engines.kyutai.schedule.buckets import Batch, StepCosts
from engines.kyutai.schedule.slots import NoFreeChannels, Session
from engines.kyutai.schedule.stt import FlushStep, LiveStep, SttPlan, SttScheduler
from engines.kyutai.stt_metrics import SttMetrics
from engines.kyutai.stt_records import (
    COMMIT,
    FLUSH,
    INIT,
    MARKER,
    PCM16,
    PCM32,
    STEP,
    TAKEN,
    TOLD,
    WITHDRAW,
    Samples,
    Stepped,
    read_number,
    samples,
    stepped,
    taken,
)
from engines.kyutai.stt_session import Branch, Hearing
from engines.kyutai.text import PADDING
from engines.kyutai.transcript import Decode, Transcript
from engines.wire.kyutai import Committed, Flushed, Ready, SttOut, pack

log = logging.getLogger(__name__)

_FLUSH_S = FRAME_S / 4
"""Of a tick for flushes: so much longer, at the most, does a frame wait that becomes whole in the meantime."""
_WARM_STEPS = 6  # by which each size is measured; one before them is not counted


class SttService:
    """``send``: says something to a session's front-end. ``clock``: monotonic seconds. ``gather_s``: a tick begins no sooner
    after the one before, so that sessions step together; a flush does not wait. ``loud``: the root mean square from which on
    a frame counts as a voice, for the watchdog; ``silent_s``: see ``Watchdog``. ``waiting``, ``backlog``: see
    ``SttScheduler``."""

    def __init__(
        self,
        model: SttModel,
        decode: Decode,
        send: Send,
        *,
        clock: Callable[[], float],
        metrics: SttMetrics,
        gather_s: float = 0.02,
        waiting: int = 0,
        backlog: int = 125,
        silent_s: float = 10.0,
        loud: float = 0.01,
    ) -> None:
        self._model = model
        self._decode = decode
        self._send = send
        self._clock = clock
        self._metrics = metrics
        self._gather_s = gather_s
        self._loud = loud
        self._costs = StepCosts()
        self._swap_s = 0.0
        self._scheduler = SttScheduler(
            model.buckets,
            delay=model.delay,
            budget_s=FRAME_S,
            flush_s=_FLUSH_S,
            waiting=waiting,
            backlog=backlog,
            silent_s=silent_s,
        )
        self._sessions: dict[Session, Hearing] = {}
        self._extensions: dict[Session, list[str] | None] = {}
        self._line: set[Session] = set()
        self._slots: dict[Session, int] = {}
        self._holders: dict[int, Session] = {}
        self._tick = -1
        self._last_s = float("-inf")
        self._pcm = {size: np.zeros((size, FRAME), np.float32) for size in model.buckets.sizes}

    def warm(self) -> None:
        """Steps every size of batch before any session is there: what a step and what keeping states aside costs is measured,
        and what the model makes at first use is made."""
        for size in self._model.buckets.sizes:
            slots = tuple(range(size))
            batch = Batch(slots, slots)
            for step in range(_WARM_STEPS + 1):
                took_s = self._timed(partial(self._model.step, batch, self._pcm[size]))
                if step:
                    self._costs.measured(size, took_s)
            for step in range(2):
                swap_s = self._timed(partial(self._swap, slots))
                self._swap_s = max(self._swap_s, swap_s) if step else self._swap_s
            self._model.reset(slots)
        self._show()

    def heard(self, session: Session, kind: int, payload: bytes) -> None:
        """A record of a session came."""
        if kind == OPEN:
            self._opened(session, json.loads(payload).get("extensions"))
            return
        one = self._sessions.get(session)
        if one is None:
            return
        match kind:
            case _ if kind in (PCM32, PCM16):
                audio = samples(kind, payload)
                dropped = self._scheduler.audio(session, len(audio))
                one.add(audio, dropped)
                self._metrics.dropped(len(dropped))
            case _ if kind == INIT:
                self._begun_anew(session, one)
            case _ if kind == MARKER:
                try:
                    one.marked(read_number(payload), self._model.delay)
                except ValueError as e:
                    self._send(session, ERROR, str(e).encode())
                    self.left(session)
            case _ if kind == FLUSH:
                self._scheduler.flush(session)
                one.branch = Branch(read_number(payload), self._clock())
            case _ if kind == WITHDRAW:
                if one.branch is not None and one.branch.id == read_number(payload):
                    self._scheduler.withdraw(session)
                    one.branch = None
            case _ if kind == COMMIT:
                self._committed(session, one, read_number(payload))
            case _:
                log.error("stt: no record of the kind %d", kind)

    def left(self, session: Session) -> None:
        """The session's client went. Unknown sessions are no error."""
        self._sessions.pop(session, None)
        self._extensions.pop(session, None)
        self._release(session)

    def answer(self, question: str) -> bytes:
        """``metrics`` as Prometheus reads them, or ``status``; anything else is not known."""
        if question == "metrics":
            self._show()
            return self._metrics.text()
        return json.dumps(self.status()).encode() if question == "status" else b""

    def status(self) -> dict[str, int]:
        """Slots that there are, that somebody has, and sessions that wait for one."""
        return {"slots": self._model.slots, "slots_used": len(self._holders), "queue": len(self._line)}

    def tick(self) -> float | None:
        """Does what is to be done now, if it is time. Returns in how many seconds there is more to do; ``None``: not before
        something is heard."""
        wait_s = self._wait_s()
        if wait_s is None or wait_s > 0.0:
            return wait_s
        self._last_s = self._clock()
        self._tick += 1
        self._carry_out(self._scheduler.tick(self._tick, self._cost, swap_s=self._swap_s))
        self._show()
        return self._wait_s()

    def _wait_s(self) -> float | None:
        if self._line and len(self._holders) < self._model.slots:
            return 0.0
        asked = (self._sessions[session].branch for session in self._slots)
        if any(branch is not None and not branch.done for branch in asked):
            return 0.0
        if self._waits():
            return max(0.0, self._last_s + self._gather_s - self._clock())
        return None

    def _waits(self) -> bool:
        """Whether somebody's audio can be stepped."""
        return any(self._sessions[session].whole for session in self._slots)

    def _cost(self, bucket: int) -> float:
        # One slow step of a machine that is shared must not keep flushes off for as long as it is remembered: where nobody's
        # audio waits, a step of the smallest size always finds its place.
        measured_s = self._costs(bucket)
        if bucket == self._model.buckets.sizes[0] and not self._waits():
            return min(measured_s, max(0.0, FRAME_S - self._swap_s))
        return measured_s

    def _carry_out(self, plan: SttPlan) -> None:
        for session, slot in plan.admitted:
            self._line.discard(session)
            self._slots[session] = slot
            self._holders[slot] = session
        if plan.resets:
            self._model.reset(plan.resets)
        for session in plan.restarted:
            self._restarted(session)
        for session, _ in plan.admitted:
            self._tell(session, Ready(self._extensions[session]))
        for live in plan.live:
            self._live(live)
        for session in plan.overtaken:
            self._overtaken(session)
        if plan.flush:
            self._model.save(plan.saved)
            if plan.loaded:
                self._model.load(plan.loaded)
            for step in plan.flush:
                self._flush(step)
            if plan.kept:
                self._model.keep(plan.kept)
            self._model.restore(plan.saved)
        for session in plan.flushed:
            self._flushed(session)

    def _live(self, step: LiveStep) -> None:
        holders = [self._holders[slot] for slot in step.batch.slots]
        ones = [self._sessions[session] for session in holders]
        audio = [one.take(frame) for one, frame in zip(ones, step.frames, strict=True)]
        out = self._step(step.batch, audio, flush=False)
        pcm = self._pcm[step.batch.bucket]
        power = np.einsum("ij,ij->i", pcm, pcm)[np.searchsorted(step.batch.rows, step.batch.slots)] / FRAME
        loud = power >= self._loud**2
        tokens, pauses = out.tokens.tolist(), out.pauses.tolist()
        for i, (session, one) in enumerate(zip(holders, ones, strict=True)):
            told = one.stepped(tokens[i], step.heard[i], new=step.new[i], delay=self._model.delay)
            self._scheduler.stepped(session, loud=bool(loud[i]), wrote=tokens[i] > PADDING)
            self._send(session, STEP, stepped(Stepped(one.taken, one.steps, one.buffered, tuple(pauses[i]))))
            for message in told:
                self._tell(session, message)

    def _flush(self, step: FlushStep) -> None:
        ones = [self._sessions[self._holders[slot]] for slot in step.batch.slots]
        out = self._step(step.batch, [one.rest(rest) for one, rest in zip(ones, step.rests, strict=True)], flush=True)
        for one, index, heard, token in zip(ones, step.indices, step.heard, out.tokens.tolist(), strict=True):
            branch = one.branch
            assert branch is not None
            if index == 0:
                branch.begun = one.steps
                branch.transcript = one.transcript.branch()
            branch.stepped(index, token, heard)

    def _step(self, batch: Batch, audio: Sequence[Samples], *, flush: bool) -> SttOutput:
        """``audio``: in the order of ``batch.slots``, each of at most a frame; zeros follow what is shorter."""
        pcm = self._pcm[batch.bucket]
        rows = {slot: row for row, slot in enumerate(batch.rows)}
        for slot, content in zip(batch.slots, audio, strict=True):
            row = pcm[rows[slot]]
            row[: len(content)] = content
            row[len(content) :] = 0.0
        begun_s = self._clock()
        out = self._model.step(batch, pcm)
        took_s = self._clock() - begun_s
        self._costs.measured(batch.bucket, took_s)
        self._metrics.stepped(batch.bucket, len(batch.slots), took_s, flush=flush)
        return out

    def _opened(self, session: Session, extensions: list[str] | None) -> None:
        try:
            self._scheduler.joined(session)
        except NoFreeChannels as e:
            self._metrics.refused()
            self._send(session, ERROR, str(e).encode())
            return
        self._line.add(session)
        self._extensions[session] = extensions
        self._sessions[session] = Hearing(Transcript(self._decode, self._model.delay))

    def _begun_anew(self, session: Session, one: Hearing) -> None:
        if session in self._line:
            # It has no slot yet; its ``Ready`` is still to come.
            return
        self._release(session)
        self._scheduler.joined(session)
        self._line.add(session)
        self._sessions[session] = Hearing(Transcript(self._decode, self._model.delay), taken=one.received)
        self._send(session, TAKEN, taken(one.received))

    def _release(self, session: Session) -> None:
        self._scheduler.left(session)
        self._line.discard(session)
        slot = self._slots.pop(session, None)
        if slot is not None:
            del self._holders[slot]

    def _flushed(self, session: Session) -> None:
        one = self._sessions[session]
        branch = one.branch
        assert branch is not None
        branch.ended()
        self._metrics.flushed(self._clock() - branch.asked_s)
        self._tell(session, Flushed(branch.id, branch.words(max(one.steps, one.told) - branch.begun)))
        if branch.commit:
            self._committed(session, one, branch.id)

    def _overtaken(self, session: Session) -> None:
        one = self._sessions[session]
        branch, one.branch = one.branch, None
        if branch is None or branch.done:
            return
        self._metrics.flushed(self._clock() - branch.asked_s)
        self._tell(session, Flushed(branch.id, [], overtaken=True))
        if branch.commit:
            self._tell(session, Committed(branch.id, []))

    def _restarted(self, session: Session) -> None:
        log.warning("session %s: its slot heard a voice and wrote nothing; it begins anew", session)
        self._metrics.deaf()
        self._overtaken(session)
        self._sessions[session].renewed()

    def _committed(self, session: Session, one: Hearing, number: int) -> None:
        branch = one.branch
        if branch is None or branch.id != number:
            # Withdrawn, overtaken, or another took its place: live steps tell its words, or have told them.
            self._tell(session, Committed(number, []))
        elif not branch.done:
            branch.commit = True
        else:
            self._tell(session, Committed(number, one.committed(self._scheduler.commit(session))))

    def _tell(self, session: Session, message: SttOut) -> None:
        self._send(session, TOLD, pack(message))

    def _swap(self, slots: Sequence[int]) -> None:
        self._model.save(slots)
        self._model.keep(slots)
        self._model.load(slots)
        self._model.restore(slots)

    def _timed(self, work: Callable[[], object]) -> float:
        begun_s = self._clock()
        work()
        return self._clock() - begun_s

    def _show(self) -> None:
        used = len(self._holders)
        headroom = 1.0 if used == 0 else 1.0 - self._costs(self._model.buckets.holds(used)) / FRAME_S
        self._metrics.shows(used=used, total=self._model.slots, queue=len(self._line), headroom=headroom)
