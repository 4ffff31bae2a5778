"""The record of a call, as plain types: words, turns, corrections and one row of metrics a turn.

Nothing here knows a database, a socket or a clock: times are passed in. Two time bases occur. ``*_at`` is wall-clock
seconds since the epoch (for people). ``*_s`` is seconds from the start of the utterance, ``*_ms`` is milliseconds on the
one monotonic clock of the process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Role = Literal["learner", "tutor"]
Source = Literal["live", "upload"]
Level = Literal["beginner", "intermediate", "advanced"]
LEVELS: tuple[Level, ...] = ("beginner", "intermediate", "advanced")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an utterance.

    ``start_s`` and ``end_s`` count from the first sample of the utterance. ``confidence`` is 0..1, or ``None`` where the
    engine gives none (a synthesised word is certain, so it has none either).
    """

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """One mistake: the learner's own words, what they should be, and why."""

    original: str
    correction: str
    explanation: str


@dataclass(slots=True)
class Turn:
    """One finished turn of a call.

    ``text`` is what was said: for the tutor, only what was heard before an interruption. ``index`` counts from 0 over both
    speakers. ``typed`` marks a learner's turn that was typed instead of spoken, ``source`` one whose sound came as a file.
    ``backchannels`` of a tutor's turn are what the learner said meanwhile and took no turn for ("mm-hm"), with the times in the
    tutor's utterance at which it was understood.
    """

    index: int
    role: Role
    text: str
    started_at: float
    ended_at: float
    words: list[Word] = field(default_factory=list)
    interrupted: bool = False
    typed: bool = False
    corrections: list[Correction] = field(default_factory=list)
    source: Source = "live"
    backchannels: list[Word] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The turn as JSON-ready plain types."""
        return asdict(self)


@dataclass(slots=True)
class TurnMetrics:
    """One row per turn: when each stage was reached, in ms on one monotonic clock.

    ``user_stop`` is the last voiced sample of the learner, dated back by its capture clock. ``sent`` is when the first voiced
    packet of the answer left; ``heard`` is the client's own report of its playout and a series of its own. A stage that a turn
    did not pass is ``None``. A barge-in fills ``onset`` (the learner's first voiced sample over the tutor), ``ducked`` and
    ``stopped`` (last packet of the tutor's speech).
    """

    turn: int
    user_stop: float | None = None
    eot: float | None = None
    stt_final: float | None = None
    llm_first_token: float | None = None
    llm_first_sentence: float | None = None
    tts_first_audio: float | None = None
    sent: float | None = None
    heard: float | None = None
    onset: float | None = None
    ducked: float | None = None
    stopped: float | None = None
    verdict: Literal["real", "backchannel", "noise"] | None = None

    @property
    def v2v_ms(self) -> float | None:
        """Voice-to-voice at the wire: ``sent - user_stop``, or ``None`` where one of them is missing."""
        if self.sent is None or self.user_stop is None:
            return None
        return self.sent - self.user_stop

    @property
    def barge_in_ms(self) -> float | None:
        """``stopped - onset``, or ``None`` where the turn was not a barge-in."""
        if self.stopped is None or self.onset is None:
            return None
        return self.stopped - self.onset

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON-ready plain types, with ``v2v_ms`` and ``barge_in_ms`` added."""
        return {**asdict(self), "v2v_ms": self.v2v_ms, "barge_in_ms": self.barge_in_ms}


@dataclass(slots=True)
class CallRecord:
    """Everything that is kept of one call."""

    session_id: str
    started_at: float
    door: str
    level: Level
    lesson: str
    turns: list[Turn] = field(default_factory=list)
    metrics: list[TurnMetrics] = field(default_factory=list)
    ended_at: float | None = None
    end_reason: str | None = None
