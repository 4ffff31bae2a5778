"""What each stage owes the call, and since when. Pure: events and times (monotonic seconds) go in, ``tick`` says what is due.

A turn passes three debts on, one to the next::

    voice stopped ── words owed (STT) ── context given ── text owed (LLM) ── clause given ── audio owed (TTS) ── heard

A stage that lets its debt stand for longer than its limit has *stalled*; one that reported an error has *failed*; one that
finished without anything to show gave an *empty* result. When nobody owes anything and nobody speaks, time counts as silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["stt", "llm", "tts"]
Kind = Literal["failed", "stalled", "empty"]

REPEATS_S = 1.0
"""A failure of the stage that was just reported is the same one, told again."""
LATE_TICK = 3
"""A tick that comes later than this many periods tells of a loop that stood still, and not of a stage that did."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Longest debts in seconds; ``silence_s`` 0 switches the watch for silence off. ``period_s`` is the time between ticks."""

    stt_s: float = 4.0
    llm_first_s: float = 6.0
    llm_gap_s: float = 4.0
    tts_s: float = 3.0
    silence_s: float = 20.0
    period_s: float = 0.1


@dataclass(frozen=True, slots=True)
class Fault:
    """A stage did not do its part."""

    stage: Stage
    kind: Kind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody has said anything for ``silence_s``; ``number`` counts from 1 since the learner was last heard."""

    number: int


@dataclass(slots=True)
class _Failure:
    stage: Stage
    detail: str
    at: float


class Watch:
    """Watches one call."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.silence_s = limits.silence_s
        """As ``Limits.silence_s``; may be changed while the call runs."""
        self._last_tick: float | None = None
        self._ready = False
        self._listening = False
        self._words_since: float | None = None
        self._text_since: float | None = None
        self._text_seen = False
        self._unspoken = False
        self._speakable = False
        self._clause_since: float | None = None
        self._text_ended = False
        self._voice_open = False
        self._voice_at = 0.0
        self._audio_seen = False
        self._plays_until = 0.0
        self._speaking = False
        self._idle_since = 0.0
        self._silences = 0
        self._failure: _Failure | None = None
        self._reported: dict[Stage, float] = {}

    @property
    def answering(self) -> bool:
        """Whether the tutor's answer is being made or spoken."""
        return self._text_since is not None or self._audio_owed or self._speaking

    @property
    def deaf(self) -> bool:
        """Whether the recogniser failed and the learner has yet to be told."""
        return self._failure is not None and self._failure.stage == "stt"

    @property
    def _audio_owed(self) -> bool:
        return self._clause_since is not None or (self._text_ended and self._voice_open)

    # The learner

    def ready(self, now: float) -> None:
        """The client can hear: from now on silence counts."""
        self._ready, self._idle_since = True, now

    def voice_started(self, now: float) -> None:
        """The learner's voice began."""
        self._listening = True
        self._words_since = None

    def voice_stopped(self, now: float, *, words_owed: bool) -> None:
        """The learner's voice paused; ``words_owed`` if it was long enough to hold a word."""
        self._listening = False
        self._idle_since = now
        if words_owed:
            self._words_since = now

    def words(self, now: float) -> None:
        """Final words came, or the recogniser's word that there were none."""
        self._words_since = None

    def words_coming(self, now: float) -> None:
        """Some words came, and more may."""
        if self._words_since is not None:
            self._words_since = now

    def heard_learner(self, now: float) -> None:
        """The learner said or typed something that was understood as a turn."""
        self._silences = 0

    # The tutor

    def asked(self, now: float) -> None:
        """The tutor was given the conversation and owes an answer; what of the learner's speech failed no longer matters."""
        self._forget_answer()
        if self.deaf:
            self._failure = None
        self._text_since = now
        self._words_since = None

    def text(self, now: float, text: str, *, clause: bool) -> None:
        """Text of the answer; ``clause`` if the voice could speak what there is now."""
        if self._text_since is None:
            self._forget_answer()
        self._text_since, self._text_seen, self._unspoken = now, True, True
        self._speakable = self._speakable or any(c.isalnum() for c in text)
        if clause and self._clause_since is None:
            self._clause_since = now

    def acted(self) -> None:
        """The tutor asked for a function to be run: that is an answer, even where no word goes with it."""
        if not self._text_seen:
            self._forget_answer()

    def shown(self) -> None:
        """The answer is only to be read: no sound of it is owed."""
        self._forget_answer()

    def text_ended(self, now: float) -> None:
        """The answer's text is complete."""
        if self._text_since is None and not self._text_seen:
            return
        self._text_since = None
        self._text_ended = True
        self._voice_at = now
        if not self._text_seen:
            self._failure = _Failure("llm", "", now)
        elif self._unspoken and self._speakable and self._clause_since is None:
            self._clause_since = now

    def voice_began(self, now: float) -> None:
        """The voice opened the answer's audio."""
        self._voice_open, self._voice_at = True, now

    @property
    def voice_heard(self) -> bool:
        """Whether any of the answer's audio so far was more than silence."""
        return self._audio_seen

    def audio(self, now: float, seconds: float, *, silent: bool = False) -> None:
        """``seconds`` of the answer's audio were made; ``silent`` if its samples are all zero."""
        self._audio_seen = self._audio_seen or not silent
        self._unspoken = False
        self._clause_since = None
        self._voice_at = now
        self._plays_until = max(self._plays_until, now) + seconds

    def voice_ended(self, now: float) -> None:
        """The voice closed the answer's audio."""
        self._voice_open = False
        if self._text_ended and self._speakable and not self._audio_seen:
            self._clause_since = None
            self._failure = _Failure("tts", "", now)

    def speaking(self, now: float, active: bool) -> None:
        """The tutor's voice began or ended at the wire."""
        self._speaking, self._idle_since = active, now

    def interrupted(self, now: float) -> None:
        """The tutor's answer was cut: nothing of it is owed any more."""
        self._forget_answer()
        self._speaking = False
        self._plays_until = min(self._plays_until, now)
        self._idle_since = now

    def failed(self, stage: Stage, detail: str, now: float) -> None:
        """A stage reported an error."""
        if now - self._reported.get(stage, -REPEATS_S) >= REPEATS_S and self._failure is None:
            self._failure = _Failure(stage, detail, now)

    def _forget_answer(self) -> None:
        self._text_since = self._clause_since = None
        self._text_seen = self._text_ended = self._unspoken = self._speakable = False
        self._voice_open = self._audio_seen = False

    # Time

    def tick(self, now: float) -> Fault | Silence | None:
        """What is due now, at most one thing. Call it every ``period_s``."""
        self._excuse_late_tick(now)
        due = self._fault(now)
        if due is not None:
            self._reported[due.stage] = now
            self._idle_since = now
            return due
        return self._silence(now)

    def _excuse_late_tick(self, now: float) -> None:
        """A loop that stood still has delivered nothing: the lost time is nobody's debt."""
        last, self._last_tick = self._last_tick, now
        period = self._limits.period_s
        if last is None or now - last <= LATE_TICK * period:
            return
        lost = now - last - period
        self._words_since = _later(self._words_since, lost, now)
        self._text_since = _later(self._text_since, lost, now)
        self._clause_since = _later(self._clause_since, lost, now)
        self._voice_at = min(now, self._voice_at + lost)
        self._idle_since = min(now, self._idle_since + lost)

    def _fault(self, now: float) -> Fault | None:
        limits = self._limits
        failure = self._failure
        if failure is not None and not self._can_wait(failure, now):
            self._failure = None
            self._settle(failure.stage)
            return Fault(failure.stage, "failed" if failure.detail else "empty", failure.detail)
        if self._words_since is not None and now - self._words_since >= limits.stt_s:
            self._settle("stt")
            return Fault("stt", "stalled")
        if self._text_since is not None:
            limit = limits.llm_gap_s if self._text_seen else limits.llm_first_s
            # While the voice still speaks, a pause of the text is not heard.
            if now - max(self._text_since, self._plays_until if self._text_seen else 0.0) >= limit:
                self._settle("llm")
                return Fault("llm", "stalled")
        if self._audio_owed:
            since = max(self._clause_since or 0.0, self._voice_at if self._clause_since is None else 0.0, self._plays_until)
            if now - since >= limits.tts_s:
                self._settle("tts")
                return Fault("tts", "stalled")
        return None

    def _can_wait(self, failure: _Failure, now: float) -> bool:
        """The tutor does not fall into the learner's word, or its own, to say that it cannot hear."""
        if failure.stage != "stt":
            return False
        # Where audio no longer passes the recogniser, the end of the voice is never seen.
        return self.answering or (self._listening and now - failure.at < self._limits.stt_s)

    def _settle(self, stage: Stage) -> None:
        self._words_since = None
        if stage != "stt":
            self._forget_answer()

    def _silence(self, now: float) -> Silence | None:
        busy = self._listening or self._words_since is not None or self.answering or now < self._plays_until
        if busy or not self._ready or not self.silence_s:
            self._idle_since = now
            return None
        if now - self._idle_since < self.silence_s:
            return None
        self._idle_since = now
        self._silences += 1
        return Silence(self._silences)


def _later(since: float | None, by_s: float, now: float) -> float | None:
    return None if since is None else min(now, since + by_s)
