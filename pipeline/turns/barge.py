"""Whether who speaks over the tutor wants the turn. Pure: timestamped observations in, decisions out; no clock, no event loop.

At the onset of a voice over the tutor's, the tutor is held at once (``Ducked``). Within ``Parameters.verdict_s`` it is either
stopped (``Interrupted``) or goes on at the very sample where it was (``Resumed``). What is known by then:

- *how long the voice goes on.* A cough is over within 0.35 s, an "mm-hm" within 0.6 s; who wants the turn goes on. The tutor's
  echo is over soon after the tutor is held, so that a voice which goes on cannot be its echo.
- *the words so far*, where the recogniser is quick enough: one that is no backchannel means the turn is wanted.
- *the tutor's own sound*: what is no louder than its echo, as it was found to be (``pipeline.turns.echo``), is nobody's voice.

A verdict may be found out to be wrong: words that were not there in time and that want the turn interrupt after all. The words
of a voice that did not take the turn belong to no turn; those that come after the turn before was ended belong to that one, and
interrupt nothing. They are told apart by the stretches of voice that final words are owed for, in their order.

Times are seconds on one monotonic clock; ``next_check_s`` says when time alone would decide something, so that an adapter can
set a timer and then observe a ``Tick``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.turns.echo import FLOOR_DB, EchoPath

Why = Literal["noise", "backchannel", "echo"]
Owner = Literal["turn", "before", "nobody"]

_BACKCHANNELS = (
    "ah|aha|ah ha|all right|alright|aw|cool|exactly|fine|good|got it|great|hm|hmm|huh|i know|i see|i understand|indeed|"
    "interesting|m|mhm|mhmm|mm|mm hm|mm hmm|mm mm|mmhm|mmm|nice|of course|oh|oh i see|ok|okay|really|right|sure|true|"
    "uh|uh huh|uhhuh|uhuh|um|wow|ya|yeah|yep|yes|yup|that's right|that's true|that is right|that is true"
)
BACKCHANNELS = frozenset(tuple(phrase.split()) for phrase in _BACKCHANNELS.split("|"))
"""What people say to show that they listen (continuers, acknowledgements), and what a recogniser makes of a cough."""
MAX_BACKCHANNELS = 4
"""More of them in a row are a turn."""


# Observations


@dataclass(frozen=True, slots=True)
class Voice:
    """One window of the learner's audio that ends at ``time_s``: the probability of speech in it and its level in dBFS."""

    time_s: float
    probability: float
    level_db: float
    length_s: float = 0.032


@dataclass(frozen=True, slots=True)
class VoiceEdge:
    """The voice detector's own verdict at ``time_s``: speech since ``at_s``, or none since ``at_s``."""

    time_s: float
    speaking: bool
    at_s: float


@dataclass(frozen=True, slots=True)
class Words:
    """The words of the stretch of voice that is recognised now, lower case; ``final`` once it is over.

    ``confidence`` is the recogniser's mean for them, 0 to 1, ``None`` where it gives none.
    """

    time_s: float
    words: tuple[str, ...]
    final: bool = False
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Tutor:
    """The tutor began or ended to be heard."""

    time_s: float
    speaking: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""

    time_s: float


Observation = Voice | VoiceEdge | Words | Tutor | Tick


@dataclass(frozen=True, slots=True)
class Speech:
    """What the tutor says: the words of the last few seconds, and for how long it will still speak, ``None`` if unknown."""

    words: tuple[str, ...] = ()
    left_s: float | None = None


# Decisions


@dataclass(frozen=True, slots=True)
class Started:
    """The learner takes the turn; nobody else had it."""

    time_s: float
    onset_s: float


@dataclass(frozen=True, slots=True)
class Ducked:
    """Hold the tutor: there may be somebody who wants the turn, since ``onset_s``."""

    time_s: float
    onset_s: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """Go on where the tutor was held."""

    time_s: float
    why: Why


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Stop the tutor: the learner has the turn. ``late``: the tutor had gone on already."""

    time_s: float
    onset_s: float
    late: bool = False


@dataclass(frozen=True, slots=True)
class Backchannel:
    """The learner said ``words`` and wants no turn for it."""

    time_s: float
    words: tuple[str, ...]


Decision = Started | Ducked | Resumed | Interrupted | Backchannel


@dataclass(frozen=True, slots=True)
class Parameters:
    """What counts as what. Durations are in seconds, probabilities and the confidence are 0 to 1.

    ``verdict_s`` is the longest hold. ``start_s`` of windows of at least ``start_probability`` hold the tutor; in a hold,
    windows of at least ``voiced`` count as voice, unless they are ``fall_db`` below its loudest: the detector goes on for up to
    0.1 s after a voice. That exception does not hold for who speaks again within ``again_s`` of a verdict: who insists is to be
    believed sooner, and with ``insist_s`` of voice also where the voice detector, which wants clearer ones, reports none.
    ``quiet_s`` of silence end a voice before the verdict is due, ``over_s`` when it is. A voice of less than ``noise_s``
    without words is noise.

    Words count only in a voice of ``word_voice_s``: final ones from ``confidence`` up, also for ``overturn_s`` after the
    verdict; ones that may still change if there are ``partial_words``, since a recogniser finds one or two in any noise. Where
    the tutor has at most ``answer_s`` left to say, a voice of ``noise_s`` is an answer to it and no backchannel. An echo is
    heard for up to ``echo_tail_s`` after the tutor.
    """

    verdict_s: float = 0.6
    start_probability: float = 0.4
    start_s: float = 0.09
    voiced: float = 0.3
    fall_db: float = 18.0
    again_s: float = 1.5
    insist_s: float = 0.3
    quiet_s: float = 0.2
    over_s: float = 0.06
    noise_s: float = 0.25
    word_voice_s: float = 0.2
    partial_words: int = 3
    confidence: float = 0.7
    overturn_s: float = 3.0
    answer_s: float = 0.8
    echo_tail_s: float = 0.3


@dataclass(slots=True)
class _Event:
    """A voice over the tutor, until it is known whose it is and what it wants."""

    onset_s: float
    ducked_s: float
    voiced_s: float
    last_voiced_s: float
    peak_db: float
    """Level of its loudest window so far, in dBFS."""
    words: tuple[str, ...] = ()
    final: bool = False
    detected: bool = False
    """Whether the voice detector reports it too: only then is it recognised."""
    again: bool = False
    """Whether the verdict on another one was just before it."""
    echo_s: float = 0.0
    resumed_s: float | None = None


@dataclass(slots=True)
class _Stretch:
    """A stretch of voice that the recogniser owes final words for."""

    owner: Owner
    ended_s: float | None = None


WORDS_BY_S = 6.0
"""Words of a stretch of voice that are not there this long after it are not coming."""

BEGUN_S = 1.5
"""A turn begins with the words of a voice that was held to be a false alarm, where that is no longer ago."""


def is_backchannel(words: Sequence[str], *, unfinished: bool = False) -> bool:
    """Whether ``words`` are nothing but a few backchannels. ``unfinished``: more may follow, so the begin of one counts."""
    flat = [part for word in words for part in word.lower().replace("-", " ").split()]
    at = count = 0
    while at < len(flat):
        rest = tuple(flat[at:])
        length = next((n for n in (3, 2, 1) if rest[:n] in BACKCHANNELS and len(rest) >= n), 0)
        if not length:
            return unfinished and any(phrase[: len(rest)] == rest for phrase in BACKCHANNELS)
        at, count = at + length, count + 1
    return 0 < count <= MAX_BACKCHANNELS


def repeats(words: Sequence[str], said: Sequence[str]) -> bool:
    """Whether ``words`` (two or more) occur one after the other in ``said``."""
    length = len(words)
    return length >= 2 and any(tuple(said[i : i + length]) == tuple(words) for i in range(len(said) - length + 1))


class BargeIn:
    """The verdicts of one call. ``speech`` may be set at any time to what the tutor says now."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self._p = parameters or Parameters()
        self.echo = EchoPath()
        """Told by the adapter of what is played; of what is heard it is told here."""
        self.speech = Speech()
        self._tutor = False
        self._tutor_ended_s = float("-inf")
        self._in_turn = False
        self._run_s = 0.0
        self._run_began_s = 0.0
        self._run_peak_db = FLOOR_DB
        self._swallowed = False  # the voice detector reports a voice that has not got the turn
        self._event: _Event | None = None
        self._stretches: list[_Stretch] = []

    @property
    def held(self) -> bool:
        """Whether the tutor is to be held now."""
        return self._event is not None and self._event.resumed_s is None

    @property
    def in_turn(self) -> bool:
        """Whether the learner has the turn."""
        return self._in_turn

    @property
    def next_check_s(self) -> float | None:
        """When the passing of time would decide something; ``None`` where only an observation can."""
        if self._event is None or self._event.resumed_s is not None:
            return None
        return min(self._event.ducked_s + self._p.verdict_s, self._event.last_voiced_s + self._p.quiet_s)

    def turn_began(self, now_s: float) -> None:
        """The learner has the turn, by somebody else's decision."""
        if not self._in_turn:
            self._take_turn(now_s)

    def turn_over(self) -> None:
        """The learner's turn was ended. Words of it that are still to come are its own."""
        self._in_turn = False
        self._swallowed = False
        self._run_s = 0.0

    def owner(self, *, now_s: float) -> Owner:
        """Whose the next words are: this turn's, the one before's, or nobody's."""
        self._expire(now_s)
        if self._stretches:
            kind = self._stretches[0].owner
            return "before" if kind == "turn" and not self._in_turn else kind
        return "turn" if self._in_turn else "before"

    def observe(self, what: Observation) -> list[Decision]:
        """Take ``what`` in and tell what follows."""
        decisions: list[Decision] = []
        match what:
            case Voice():
                self._heard(what, decisions)
            case VoiceEdge():
                self._edge(what, decisions)
            case Words():
                self._worded(what, decisions)
            case Tutor():
                self._tutor_spoke(what, decisions)
            case Tick():
                pass
        self._judge(what.time_s, decisions)
        return decisions

    # What is observed

    def _heard(self, window: Voice, decisions: list[Decision]) -> None:
        self.echo.heard(window.time_s, window.level_db)
        loud = window.probability >= self._p.voiced
        if self._tutor and loud:
            self.echo.look(window.time_s)
        echo = loud and self.echo.explains(window.time_s, window.level_db)
        if self._in_turn:
            return
        event = self._event
        if event is not None and event.resumed_s is None:
            if echo:
                event.echo_s += window.length_s
            elif loud and (event.again or window.level_db >= event.peak_db - self._p.fall_db):
                event.peak_db = max(event.peak_db, window.level_db)
                event.voiced_s += window.length_s
                event.last_voiced_s = window.time_s
            return
        if echo or window.probability < self._p.start_probability:
            self._run_s = 0.0
            return
        if self._run_s == 0.0:
            self._run_began_s, self._run_peak_db = window.time_s - window.length_s, window.level_db
        self._run_peak_db = max(self._run_peak_db, window.level_db)
        self._run_s += window.length_s
        if self._run_s + 1e-9 < self._p.start_s:
            return
        if self._tutor:
            self._duck(window.time_s, self._run_began_s, decisions)
        elif self._swallowed and window.time_s - self._tutor_ended_s >= self._p.echo_tail_s:
            self._start(window.time_s, self._run_began_s, decisions)

    def _edge(self, edge: VoiceEdge, decisions: list[Decision]) -> None:
        if not edge.speaking:
            self._swallowed = False
            if self._stretches and self._stretches[-1].ended_s is None:
                self._stretches[-1].ended_s = edge.time_s
            return
        if self._in_turn:
            self._stretches.append(_Stretch("turn"))
        elif self._tutor or self.held:
            self._stretches.append(_Stretch("nobody"))
            self._swallowed = True
            if self._event is not None:
                self._event.detected = True
            if not self.held and self._run_s > 0.0:
                self._duck(edge.time_s, edge.at_s, decisions)
        elif edge.time_s - self._tutor_ended_s < self._p.echo_tail_s and self.echo.delay_s is not None and self._run_s == 0.0:
            self._stretches.append(_Stretch("nobody"))  # what the detector hears is the end of the echo
            self._swallowed = True
        else:
            self._stretches.append(_Stretch("turn"))
            self._start(edge.time_s, edge.at_s, decisions)

    def _tutor_spoke(self, tutor: Tutor, decisions: list[Decision]) -> None:
        if self._tutor and not tutor.speaking:
            self._tutor_ended_s = tutor.time_s
        self._tutor = tutor.speaking
        if not tutor.speaking and self.held:
            # Nothing is left to hold: whoever speaks has the turn to take.
            assert self._event is not None
            onset_s, silent_s = self._event.onset_s, tutor.time_s - self._event.last_voiced_s
            if silent_s >= self._p.over_s:
                self._resume(tutor.time_s, self._event, decisions)
            else:
                self._start(tutor.time_s, onset_s, decisions)

    def _worded(self, heard: Words, decisions: list[Decision]) -> None:
        owner = self.owner(now_s=heard.time_s) if heard.final or not self._stretches else self._stretches[-1].owner
        if heard.final and self._stretches and self._stretches[0].ended_s is not None:
            self._stretches.pop(0)
        event = self._event
        if self._in_turn or owner != "nobody" or not heard.words:
            return
        backchannel = is_backchannel(heard.words, unfinished=not heard.final)
        echo = repeats(heard.words, self.speech.words)
        if event is None:
            if backchannel and heard.final:
                decisions.append(Backchannel(heard.time_s, heard.words))
            return
        event.words, event.final = heard.words, heard.final
        if not backchannel and not echo and self._counts(heard, event):
            self._interrupt(heard.time_s, event, decisions)
        elif backchannel and heard.final and not self.held:
            decisions.append(Backchannel(heard.time_s, heard.words))

    def _counts(self, heard: Words, event: _Event) -> bool:
        """Whether words that are no backchannel were likely said."""
        if event.voiced_s < self._p.word_voice_s:
            return False
        if not heard.final:
            return event.resumed_s is None and len(heard.words) >= self._p.partial_words
        if event.resumed_s is not None and len(heard.words) == 1 and heard.words[0] in self.speech.words:
            return False  # of an echo that ended when the tutor was held, one word may be all that is whole
        if event.resumed_s is not None and heard.time_s - event.resumed_s > self._p.overturn_s:
            return False
        return heard.confidence is None or heard.confidence >= self._p.confidence

    # What follows

    def _judge(self, now_s: float, decisions: list[Decision]) -> None:
        event = self._event
        if event is None:
            return
        if event.resumed_s is not None:
            if now_s - event.resumed_s > self._p.overturn_s:
                self._event = None
            return
        silent_s = now_s - event.last_voiced_s
        due = now_s - event.ducked_s + 1e-9 >= self._p.verdict_s
        if silent_s + 1e-9 >= (self._p.over_s if due else self._p.quiet_s):
            left_s = self.speech.left_s
            answers = left_s is not None and left_s <= self._p.answer_s and event.voiced_s >= self._p.noise_s
            if answers and event.echo_s < event.voiced_s:
                self._interrupt(now_s, event, decisions)
            else:
                self._resume(now_s, event, decisions)
        elif due and (event.detected or (event.again and event.voiced_s >= self._p.insist_s)):
            self._interrupt(now_s, event, decisions)
        elif due:
            self._resume(now_s, event, decisions)

    def _duck(self, now_s: float, onset_s: float, decisions: list[Decision]) -> None:
        before = self._event.resumed_s if self._event is not None else None
        self._event = _Event(
            onset_s,
            now_s,
            voiced_s=max(self._run_s, now_s - onset_s),
            last_voiced_s=now_s,
            peak_db=self._run_peak_db,
            detected=self._swallowed,
            again=before is not None and now_s - before <= self._p.again_s,
        )
        self._run_s = 0.0
        decisions.append(Ducked(now_s, onset_s))

    def _resume(self, now_s: float, event: _Event, decisions: list[Decision]) -> None:
        event.resumed_s = now_s
        self._run_s = 0.0
        why = self._why(event)
        decisions.append(Resumed(now_s, why))
        if why == "backchannel" and event.final:
            decisions.append(Backchannel(now_s, event.words))

    def _why(self, event: _Event) -> Why:
        if event.echo_s >= event.voiced_s or repeats(event.words, self.speech.words):
            return "echo"
        if event.words:
            return "backchannel" if is_backchannel(event.words, unfinished=True) else "noise"
        return "noise" if event.voiced_s < self._p.noise_s else "backchannel"

    def _interrupt(self, now_s: float, event: _Event, decisions: list[Decision]) -> None:
        decisions.append(Interrupted(now_s, event.onset_s, late=event.resumed_s is not None))
        self._take_turn(now_s)

    def _start(self, now_s: float, onset_s: float, decisions: list[Decision]) -> None:
        decisions.append(Started(now_s, onset_s))
        self._take_turn(now_s)

    def _take_turn(self, now_s: float) -> None:
        self._in_turn, self._event, self._swallowed, self._run_s = True, None, False, 0.0
        for stretch in self._stretches:
            if stretch.ended_s is None or now_s - stretch.ended_s <= BEGUN_S:
                stretch.owner = "turn"

    def _expire(self, now_s: float) -> None:
        while self._stretches:
            ended_s = self._stretches[0].ended_s
            if ended_s is None or now_s - ended_s <= WORDS_BY_S:
                return
            self._stretches.pop(0)
