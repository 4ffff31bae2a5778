"""What a batched speech-to-text engine does in each tick of 80 ms. Pure: tick numbers and measured costs are arguments.

In this order: who waits in line gets a free slot; every slot with a whole frame waiting steps; slots that have fallen behind
step again while the budget lasts; what then is left of it goes to flushes, the one asked for first before the others. Live
steps never depend on flushes, and one that is withdrawn has changed nothing. Frames that become whole while a tick flushes wait
for its end, so its share of flushes may be bounded; a flush that is not complete goes on in the next tick.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from engines.kyutai.schedule.backlog import Backlog
from engines.kyutai.schedule.buckets import Batch, Buckets, Cost
from engines.kyutai.schedule.flush import Flush
from engines.kyutai.schedule.slots import NoFreeChannels, Session, Slots
from engines.kyutai.schedule.watchdog import Watchdog
from engines.kyutai.schedule.words import WordTimes


@dataclass(frozen=True)
class LiveStep:
    """One step with audio. All tuples are in the order of ``batch.slots``.

    ``frames``: which frame of its session each slot is fed. ``heard``: the frame of which it writes; words of this step were
    said then. ``new``: whether its words are to be told.
    """

    batch: Batch
    frames: tuple[int, ...]
    heard: tuple[int, ...]
    new: tuple[bool, ...]


@dataclass(frozen=True)
class FlushStep:
    """One step ahead of the audio. All tuples are in the order of ``batch.slots``.

    ``indices``: which step of its flush each slot makes, from 0. ``rests``: samples of the unfinished frame that go in before
    the zeros. ``heard``: as in ``LiveStep``.
    """

    batch: Batch
    indices: tuple[int, ...]
    rests: tuple[int, ...]
    heard: tuple[int, ...]


@dataclass(frozen=True)
class SttPlan:
    """One tick, to be carried out in the order of the fields.

    ``admitted``: sessions and the slots they have now. ``resets``: slots whose state is made new. ``live``: steps with audio.
    ``saved``: slots whose state is kept aside. ``loaded``: those of them whose begun flush takes its place. ``flush``: steps
    ahead of the audio. ``kept``: slots whose flush goes on in a later tick, so that its state is kept; then all of ``saved``
    are put back. ``flushed``: sessions whose flush is complete. ``overtaken``: those whose flush ended because live steps
    have written all that it would. ``restarted``: sessions whose slot was deaf; what flush they had is over.
    """

    tick: int
    admitted: tuple[tuple[Session, int], ...]
    resets: tuple[int, ...]
    live: tuple[LiveStep, ...]
    saved: tuple[int, ...]
    loaded: tuple[int, ...]
    flush: tuple[FlushStep, ...]
    kept: tuple[int, ...]
    flushed: tuple[Session, ...]
    overtaken: tuple[Session, ...]
    restarted: tuple[Session, ...]


@dataclass
class _Heard:
    """A session and what is known of it."""

    audio: Backlog
    words: WordTimes
    dog: Watchdog
    slot: int | None = None
    flush: Flush | None = None
    deaf: bool = field(default=False)


class SttScheduler:
    """``buckets``: sizes of batches; the largest is the number of slots. ``delay``: frames by which the model writes later
    than it hears. ``budget_s``: seconds of a tick that steps may take; ``flush_s``: of these, what flushes may take, but for
    a first step that takes longer. ``waiting``: sessions that may wait for a slot.
    ``backlog``: whole frames of a session that may wait. ``silent_s``: see ``Watchdog``.

    Methods that name a session raise ``KeyError`` where there is none, but ``left`` and ``stepped``, which may come late.
    """

    def __init__(
        self,
        buckets: Buckets,
        *,
        delay: int,
        budget_s: float,
        flush_s: float = math.inf,
        waiting: int = 0,
        backlog: int = 125,
        silent_s: float = 10.0,
    ) -> None:
        if delay < 1 or backlog < 1:
            raise ValueError("stt: a delay and a backlog of at least one frame are wanted")
        self._buckets = buckets
        self._delay = delay
        self._budget_s = budget_s
        self._flush_s = flush_s
        self._waiting = waiting
        self._backlog = backlog
        self._silent_s = silent_s
        self._slots = Slots(buckets.slots)
        self._sessions: dict[Session, _Heard] = {}
        self._line: deque[Session] = deque()
        self._asked = 0
        self._tick = -1

    @property
    def free(self) -> int:
        """Slots that are neither taken nor promised to the line."""
        return max(0, self._slots.free - len(self._line))

    def joined(self, session: Session) -> None:
        """A session came. It gets a slot in the next tick where one is free, and waits in line otherwise.

        :raises NoFreeChannels: where the line is full too
        :raises ValueError: where it is there already
        """
        if session in self._sessions:
            raise ValueError(f"stt: {session} is there already")
        if len(self._line) >= self._slots.free + self._waiting:
            raise NoFreeChannels
        self._sessions[session] = _Heard(Backlog(self._backlog), WordTimes(self._delay), Watchdog(self._silent_s))
        self._line.append(session)

    def left(self, session: Session) -> None:
        """A session went. Its slot is free at once, whatever it was at."""
        one = self._sessions.pop(session, None)
        if one is None:
            return
        if one.slot is None:
            self._line.remove(session)
        else:
            self._slots.give_back(one.slot)

    def audio(self, session: Session, samples: int) -> range:
        """So many samples came, 24 kHz mono. Returns the frames that are dropped for it: the oldest that wait."""
        return self._sessions[session].audio.add(samples)

    def flush(self, session: Session) -> None:
        """The words of what was received so far are wanted now. Takes the place of a flush that the session has."""
        one = self._sessions[session]
        self._asked += 1
        one.flush = Flush(asked=one.audio.received, number=self._asked)

    def withdraw(self, session: Session) -> None:
        """The flush, if there is one, was for nothing: what it wrote is void."""
        self._sessions[session].flush = None

    def commit(self, session: Session) -> range:
        """What a complete flush wrote holds. Returns which of its steps have words that no live step told; live steps will
        not tell them again.

        :raises ValueError: where the session has no complete flush
        """
        one = self._sessions[session]
        if one.flush is None or one.flush.begun is None or not one.flush.done:
            raise ValueError(f"stt: {session} has no complete flush")
        told = one.words.committed(one.flush.begun, one.flush.length)
        one.flush = None
        return told

    def stepped(self, session: Session, *, loud: bool, wrote: bool) -> None:
        """What a live step heard and whether it wrote a word; for the watchdog, whose verdict the next tick carries out."""
        one = self._sessions.get(session)
        if one is not None and one.dog.stepped(loud=loud, wrote=wrote):
            one.deaf = True

    def tick(self, number: int, cost: Cost, *, swap_s: float = 0.0) -> SttPlan:
        """What is done in tick ``number``, where a step costs ``cost`` and keeping states aside and putting them back
        ``swap_s`` seconds.

        :raises ValueError: where the number is not above the last one
        """
        if number <= self._tick:
            raise ValueError(f"stt: tick {number} after tick {self._tick}")
        self._tick = number
        admitted, resets = self._admit()
        restarted = self._restart(resets)
        live, left_s = self._live(cost)
        overtaken = self._overtaken()
        begun = {one.slot for one in self._sessions.values() if one.flush is not None and one.flush.ran}
        flush = self._flush(cost, left_s - swap_s)
        slots = sorted({slot for step in flush for slot in step.batch.slots})
        done = {slot for slot in slots if self._flush_at(slot).done}
        return SttPlan(
            tick=number,
            admitted=admitted,
            resets=tuple(resets),
            live=live,
            saved=tuple(slots),
            loaded=tuple(slot for slot in slots if slot in begun),
            flush=flush,
            kept=tuple(slot for slot in slots if slot not in done),
            flushed=tuple(self._holder(slot) for slot in slots if slot in done),
            overtaken=overtaken,
            restarted=restarted,
        )

    def _admit(self) -> tuple[tuple[tuple[Session, int], ...], list[int]]:
        admitted, resets = [], []
        while self._line and self._slots.free:
            session = self._line.popleft()
            slot, dirty = self._slots.take(session)
            self._sessions[session].slot = slot
            admitted.append((session, slot))
            if dirty:
                resets.append(slot)
        return tuple(admitted), resets

    def _restart(self, resets: list[int]) -> tuple[Session, ...]:
        deaf = [(session, one) for session, one in self._sessions.items() if one.deaf and one.slot is not None]
        for _, one in deaf:
            assert one.slot is not None
            one.deaf = False
            one.flush = None
            one.words.renewed()
            resets.append(one.slot)
        return tuple(session for session, _ in deaf)

    def _live(self, cost: Cost) -> tuple[tuple[LiveStep, ...], float]:
        """The steps with audio, and the seconds of the budget that they leave."""
        left_s = self._budget_s
        steps: list[LiveStep] = []
        ready = sorted(one.slot for one in self._sessions.values() if one.slot is not None and one.audio.whole)
        while ready:
            batch = self._buckets.batch(ready)
            left_s -= cost(batch.bucket)
            ones = [self._at(slot) for slot in ready]
            frames = [one.audio.take() for one in ones]
            wrote = [one.words.stepped(frame) for one, frame in zip(ones, frames, strict=True)]
            steps.append(LiveStep(batch, tuple(frames), tuple(heard for heard, _ in wrote), tuple(new for _, new in wrote)))
            behind = sorted((slot for slot in ready if self._at(slot).audio.whole), key=lambda s: (-self._at(s).audio.whole, s))
            ready = sorted(behind[: self._buckets.most(len(behind), left_s, cost)])
        return tuple(steps), left_s

    def _overtaken(self) -> tuple[Session, ...]:
        """Ends the flushes that have become needless."""
        over = []
        for session, one in self._sessions.items():
            flush = one.flush
            if flush is not None and flush.overtaken(one.words.steps, one.audio.next, self._delay) and not flush.done:
                one.flush = None
                over.append(session)
        return tuple(over)

    def _flush(self, cost: Cost, left_s: float) -> tuple[FlushStep, ...]:
        # Time for a step is left only where nobody is behind: so whatever a flush asked for has been stepped when it begins.
        steps: list[FlushStep] = []
        asked = [one for one in self._sessions.values() if one.slot is not None and one.flush is not None]
        owing = [(one.flush, one) for one in asked if one.flush is not None and not one.flush.done]
        owing.sort(key=lambda pair: pair[0].number)
        share_s = min(left_s, self._flush_s)
        while owing:
            count = self._buckets.most(len(owing), share_s, cost)
            if not count and not steps:
                count = self._buckets.most(1, left_s, cost)
            if not count:
                break
            now = owing[:count]
            batch = self._buckets.batch([one.slot for _, one in now if one.slot is not None])
            share_s -= cost(batch.bucket)
            for flush, one in now:
                if flush.begun is None:
                    flush.begin(one.words.steps, one.audio.next, one.words.fed, self._delay)
            made = [flush.step(self._delay) for flush, _ in now]
            indices, rests, heard = zip(*made, strict=True)
            steps.append(FlushStep(batch, indices, rests, heard))
            owing = [(flush, one) for flush, one in owing if not flush.done]
        return tuple(steps)

    def _holder(self, slot: int) -> Session:
        holder = self._slots.holder(slot)
        assert holder is not None
        return holder

    def _at(self, slot: int) -> _Heard:
        return self._sessions[self._holder(slot)]

    def _flush_at(self, slot: int) -> Flush:
        flush = self._at(slot).flush
        assert flush is not None
        return flush
