"""Text to speech for many sessions: what the front-ends say goes in, what their listeners are to hear comes out.

The scheduler (``engines/kyutai/schedule/tts.py``) decides, the model makes the audio; this carries out the one's plans on the
other. It knows neither sockets nor rings, and blocks for as long as one step takes. Times come from the clock that it is
given, in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.kyutai.model.interface import TtsModel
from engines.kyutai.schedule.backlog import FRAME_S
from engines.kyutai.schedule.buckets import Batch, StepCosts
from engines.kyutai.schedule.slots import Session
from engines.kyutai.schedule.tts import TtsPlan, TtsScheduler
from engines.kyutai.text import PADDING
from engines.kyutai.tts_metrics import TtsMetrics
from engines.kyutai.tts_records import Done, Event, Failed, Frame, WordBegun

MOST_WORDS = 4096
"""Words of one session that may wait for the model: about 25 minutes of speech."""
MOST_TOKENS = 200
"""Text tokens of one word."""
VOICES_NAMED = 5
"""Voices that an error names as examples."""
SLACK_POLL_S = 0.01
"""Who waits for a slot that is free, but not for the taking, is thought of this often."""
DOUBT_AFTER_S = 0.25
"""Where he waits longer than this, the slowest of the steps that keep him out are thought to be exceptions."""
_WARM_STEPS = 8  # steps with audio by which each size is measured
_ADMISSIONS = 16  # of which the longest counts

Voice = str | npt.NDArray[np.float32] | None
"""A voice's name, its embedding (as in the file of a voice), or the default."""


class Refused(Exception):
    """A session cannot go on; the text is for its client. It is over, and holds nothing."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What came of a tick. ``events``: in the order in which they happened. ``wait_s``: nothing is to be done for so long,
    unless somebody says something; ``None``: until somebody does. 0.0 where there is more to do."""

    events: list[tuple[Session, Event]]
    wait_s: float | None


@dataclass
class _Speech:
    """``waiting``: words that the model cannot be given before the session has a slot. ``came``, ``begun``: words in all.
    ``unripe``: the last of them that cannot begin yet, by whether each is spoken (a pause is not). ``hungry``: the model has
    begun all that it could, and cannot go on; ``fed_s``: when that last ended."""

    voice: Voice
    seed: int
    slot: int | None = None
    waiting: deque[list[int]] = field(default_factory=deque)
    unripe: deque[bool] = field(default_factory=deque)
    came: int = 0
    begun: int = 0
    ended: bool = False
    first_word_s: float | None = None
    hungry: bool = False
    fed_s: float = -math.inf
    frames: int = 0

    @property
    def in_line(self) -> bool:
        """Whether it could begin, and has no slot."""
        return self.slot is None and len(self.unripe) < self.came


class TtsService:
    """``voices``: the names that are known; with none of them, every voice is the model's own affair. ``ahead``: words that the
    model must know behind one before it can begin it. ``queue``: sessions beyond the slots that may be open. ``clock``:
    monotonic seconds."""

    def __init__(
        self,
        model: TtsModel,
        *,
        clock: Callable[[], float],
        metrics: TtsMetrics,
        voices: Collection[str] = (),
        ahead: int = 0,
        queue: int = 0,
        ahead_s: float = 1.0,
        headroom: float = 0.9,
    ) -> None:
        self._model = model
        self._clock = clock
        self._metrics = metrics
        self._voices = voices
        self._ahead = ahead
        self._costs = StepCosts()
        self._admissions: deque[float] = deque(maxlen=_ADMISSIONS)
        self._scheduler = TtsScheduler(model.buckets, queue=queue, ahead_s=ahead_s, headroom=headroom)
        self._refused_s: float | None = None  # since when nobody of those who wait was let in
        self._sessions: dict[Session, _Speech] = {}
        self._holders: dict[int, Session] = {}

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    @property
    def used(self) -> int:
        """Slots that somebody has."""
        return len(self._holders)

    def status(self) -> dict[str, int]:
        """How it stands: ``slots`` and ``slots_used``, and ``sessions`` that are open, those without a slot included."""
        return {"slots": self._model.buckets.slots, "slots_used": self.used, "sessions": self.sessions}

    def cost_s(self, size: int) -> float:
        """Seconds that a step of this size of batch takes, as measured."""
        return self._costs(size)

    def warm(self, tokens: Sequence[int]) -> None:
        """Says something in every size of batch, before any session is there: what a step and an admission cost is measured,
        and what the model makes at first use is made. ``tokens``: a word to say."""
        for size in self._model.buckets.sizes:
            slots = range(size)
            for slot in slots:
                begun_s = self._clock()
                self._model.admit(slot, None, slot)
                self._admissions.append(self._clock() - begun_s)
                self._model.give(slot, [list(tokens)] * 4)
                self._model.end(slot)
            self._warm_steps(Batch(tuple(slots), tuple(slots)))
            for slot in slots:
                self._model.free(slot)
        # The first admission loads and compiles; it says nothing about the later ones.
        if len(self._admissions) > 1:
            self._admissions.popleft()
        self._show()

    def _warm_steps(self, batch: Batch) -> None:
        """Steps until enough of them had audio. The first with audio is not counted: it may capture a graph."""
        seen = 0
        over: set[int] = set()
        while seen <= _WARM_STEPS and len(over) < len(batch.slots):
            begun_s = self._clock()
            out = self._model.step(batch)
            took_s = self._clock() - begun_s
            over.update(slot for slot, done in zip(batch.slots, out.done, strict=True) if done)
            if out.has_audio.any():
                seen += 1
                if seen > 1:
                    self._costs.measured(batch.bucket, took_s)
        if seen <= 1:
            # Too short a speech for more: a first step is better than none.
            self._costs.measured(batch.bucket, took_s)

    def opened(self, session: Session, voice: str | None, seed: int) -> None:
        """A session came, with the voice of that name (``None``: the default).

        :raises NoFreeChannels: where too many are open
        :raises Refused: where no voice has this name
        """
        if voice is not None and self._voices and voice not in self._voices:
            names = sorted(self._voices)
            more = ", …" if len(names) > VOICES_NAMED else ""
            raise Refused(f"unknown voice {voice[:100]!r}; there are: {', '.join(names[:VOICES_NAMED])}{more}")
        self._scheduler.opened(session)
        self._sessions[session] = _Speech(voice, seed)

    def voiced(self, session: Session, embedding: npt.NDArray[np.float32]) -> None:
        """The session brings a voice of its own, as the file of a voice has it.

        :raises Refused: where words came before it
        """
        one = self._sessions.get(session)
        if one is None:
            return
        if one.first_word_s is not None:
            self._refuse(session, "Voice: it is wanted before any text")
        one.voice = embedding

    def words(self, session: Session, words: Iterable[list[int]]) -> None:
        """Further words came, each the list of its tokens.

        :raises Refused: where they are too many or too long, or come after the end
        """
        one = self._sessions.get(session)
        if one is None:
            return
        new = [list(word) for word in words]
        if one.ended:
            self._refuse(session, "Text: it came after Eos")
        if one.came - one.begun + len(new) > MOST_WORDS:
            self._refuse(session, f"Text: more than {MOST_WORDS} words wait to be said")
        if any(len(word) > MOST_TOKENS for word in new):
            self._refuse(session, f"Text: a word of more than {MOST_TOKENS} tokens")
        if not new:
            return
        if one.first_word_s is None:
            one.first_word_s = self._clock()
        one.came += len(new)
        one.unripe.extend(any(token != PADDING for token in word) for word in new)
        if one.slot is None:
            one.waiting.extend(new)
        else:
            try:
                self._model.give(one.slot, new)
            except ValueError as e:
                self._refuse(session, f"Text: {e}")
        self._ripen(session, one)

    def ended(self, session: Session) -> None:
        """No more words come."""
        one = self._sessions.get(session)
        if one is None or one.ended:
            return
        one.ended = True
        if one.slot is not None:
            self._model.end(one.slot)
        self._ripen(session, one)
        self._scheduler.end(session)

    def cancelled(self, session: Session) -> None:
        """Nobody listens any more: the slot is free at once. Unknown sessions are no error, since this may come late."""
        self._drop(session, "cancelled")

    def tick(self) -> Ticked:
        """Does what is to be done now: admits, steps once at most."""
        events: list[tuple[Session, Event]] = []
        plan = self._scheduler.plan(self._clock(), self._costs, admission_s=max(self._admissions, default=0.0))
        for session in plan.finished:
            if self._sessions.pop(session, None) is not None:
                self._metrics.ended("done")
                events.append((session, Done(0)))
        step = self._admit(plan, events)
        self._reconsider(admitted=bool(plan.admitted))
        if step is not None:
            self._step(step, events)
        self._show()
        return Ticked(events, self._wait_s(plan, worked=step is not None or bool(events)))

    def _admit(self, plan: TtsPlan, events: list[tuple[Session, Event]]) -> Batch | None:
        """Admits whom the plan names. Returns its step, without those who could not be."""
        lost: set[int] = set()
        for session, slot in plan.admitted:
            one = self._sessions[session]
            begun_s = self._clock()
            try:
                # A new state is part of it; the plan's resets need nothing of their own.
                self._model.admit(slot, one.voice, one.seed)
                self._model.give(slot, list(one.waiting))
            except (KeyError, ValueError) as e:
                lost.add(slot)
                del self._sessions[session]
                self._scheduler.cancelled(session)
                self._model.free(slot)
                self._metrics.ended("failed")
                events.append((session, Failed(str(e.args[0] if e.args else e))))
                continue
            if one.ended:
                self._model.end(slot)
            one.waiting.clear()
            self._admissions.append(self._clock() - begun_s)
            one.slot = slot
            self._holders[slot] = session
        if plan.step is None or not lost.intersection(plan.step.slots):
            return plan.step
        left = [slot for slot in plan.step.slots if slot not in lost]
        return self._model.buckets.batch(left) if left else None

    def _reconsider(self, *, admitted: bool) -> None:
        """Doubts what steps cost where that has kept somebody out for long."""
        free = self.used < self._model.buckets.slots
        if admitted or not free or not any(one.in_line for one in self._sessions.values()):
            self._refused_s = None
        elif self._refused_s is None:
            self._refused_s = self._clock()
        elif self._clock() - self._refused_s > DOUBT_AFTER_S:
            self._refused_s = None
            self._costs.doubt(self._model.buckets.holds(self.used + 1))

    def _ripen(self, session: Session, one: _Speech) -> None:
        """Tells the scheduler of the words that can begin now."""
        behind = sum(one.unripe)
        ripe = 0
        while one.unripe and (one.ended or not one.unripe[0] or behind > self._ahead):
            behind -= one.unripe.popleft()
            ripe += 1
        if not ripe and not one.ended:
            return
        if one.hungry:
            one.hungry = False
            one.fed_s = self._clock()
        self._scheduler.text(session, ripe)

    def _step(self, batch: Batch, events: list[tuple[Session, Event]]) -> None:
        begun_s = self._clock()
        out = self._model.step(batch)
        now_s = self._clock()
        full = bool(out.has_audio.any())
        if full:
            # Steps of text alone are cheaper, and who plans with them would be late with the others.
            self._costs.measured(batch.bucket, now_s - begun_s)
        self._metrics.stepped(batch.bucket, len(batch.slots), now_s - begun_s, full=full)
        for i, slot in enumerate(batch.slots):
            session = self._holders[slot]
            one = self._sessions[session]
            audio, words, done = bool(out.has_audio[i]), int(out.words[i]), bool(out.done[i])
            one.begun += words
            events.extend((session, WordBegun(int(out.step_index[i]))) for _ in range(words))
            if audio:
                one.frames += 1
                events.append((session, Frame(out.pcm[i])))
                if one.frames == 1 and one.first_word_s is not None:
                    self._metrics.first_audio(now_s - one.first_word_s)
            gap_s = self._scheduler.stepped(session, now_s, audio=audio, words=words, done=done)
            if gap_s > 0.0:
                self._metrics.gap(gap_s, for_text=one.fed_s > now_s - gap_s)
            one.hungry = not one.ended and one.begun + len(one.unripe) == one.came
            if done:
                self._metrics.ended("done")
                del self._sessions[session]
                self._release(one)
                events.append((session, Done(one.frames)))

    def _wait_s(self, plan: TtsPlan, *, worked: bool) -> float | None:
        if worked:
            return 0.0
        waits = [] if plan.wake_s is None else [max(0.0, plan.wake_s - self._clock())]
        if any(one.in_line for one in self._sessions.values()):
            waits.append(SLACK_POLL_S)
        return min(waits, default=None)

    def _refuse(self, session: Session, message: str) -> None:
        self._drop(session, "refused")
        raise Refused(message)

    def _drop(self, session: Session, how: str) -> None:
        one = self._sessions.pop(session, None)
        if one is None:
            return
        self._scheduler.cancelled(session)
        self._release(one)
        self._metrics.ended(how)

    def _release(self, one: _Speech) -> None:
        if one.slot is not None:
            del self._holders[one.slot]
            self._model.free(one.slot)

    def _show(self) -> None:
        used = self.used
        waiting = sum(one.in_line for one in self._sessions.values())
        headroom = 1.0 if used == 0 else 1.0 - self._costs(self._model.buckets.holds(used)) / FRAME_S
        self._metrics.shows(used=used, total=self._model.buckets.slots, queue=waiting, headroom=headroom)
