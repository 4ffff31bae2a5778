"""When the learner begins and ends a turn. Pure: timestamped observations in, decisions out; no clock, no event loop.

Times are seconds on one monotonic clock; they may not go back. After each observation the decisions that follow from it are
returned in order. ``next_check_s`` says when time alone would decide something, so that an adapter can set a timer and then
observe a ``Tick``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipeline.turns.endpoint import DEFAULT_CURVE, MAX_WAIT_S, Cues, Curve, Pace, Weights, end_probability

SentenceEnd = Callable[[tuple[str, ...]], tuple[float, float]]
"""From the words so far to log10 P(end | last two) and log10 P(end | last)."""


# Observations


@dataclass(frozen=True, slots=True)
class Voice:
    """One window of audio that ends at ``time_s``, and the probability that it holds speech.

    ``quiet``: it is so much quieter than the voice before that it is hardly part of it, whatever the probability says, which
    falls up to 0.1 s late.
    """

    time_s: float
    probability: float
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class VoiceEdge:
    """A voice detector's own verdict at ``time_s``, in place of windows: speech since ``at_s``, or none since ``at_s``."""

    time_s: float
    speaking: bool
    at_s: float


@dataclass(frozen=True, slots=True)
class SmartTurn:
    """The answer to ``AskVoice``: the probability of an end, judged on audio up to ``asked_s``."""

    time_s: float
    asked_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Words:
    """The words of the turn so far, lower case. ``final``: no more will come for the speech before ``time_s``.

    ``complete``: they are all the words of the speech so far, as an answer to ``AskWords``, though they may still change.
    """

    time_s: float
    words: tuple[str, ...]
    final: bool = False
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The recogniser's own expectation, from what it has heard until ``time_s``: the probability that the voice pauses for
    2 s. Few recognisers tell it; where none does, nothing changes."""

    time_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""

    time_s: float


Observation = Voice | VoiceEdge | SmartTurn | Words | Pause | Tick


# Decisions


@dataclass(frozen=True, slots=True)
class Started:
    """The learner began to speak at ``onset_s``."""

    time_s: float
    onset_s: float


@dataclass(frozen=True, slots=True)
class AskWords:
    """Ask the recogniser for the words of the speech up to now that it has not given yet. Undone by nothing: it is cheap."""

    time_s: float


@dataclass(frozen=True, slots=True)
class AskVoice:
    """Ask smart-turn about the audio up to now."""

    time_s: float


@dataclass(frozen=True, slots=True)
class MaybeEnded:
    """The turn may be over: worth beginning an answer to ``words`` for. ``revision`` counts a turn's guesses from 1."""

    time_s: float
    revision: int
    probability: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The guess ``revision`` was wrong: the learner goes on, or said other words."""

    time_s: float
    revision: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over: the last voice was at ``end_s``. ``revision`` is the guess that is confirmed, 0 without one."""

    time_s: float
    end_s: float
    revision: int
    probability: float


Decision = Started | AskWords | AskVoice | MaybeEnded | Withdrawn | Ended


@dataclass(frozen=True, slots=True)
class Parameters:
    """How patient the detector is.

    ``start_s`` of windows at ``start_probability`` and more begin a turn; ``voiced`` is the least probability of a window that
    counts as speech within one. ``words_after_s`` is the silence at which the recogniser is asked for its words: short, since
    words are what an answer can be begun with. ``ask_after_s`` are the silences at which
    smart-turn is asked. ``words_by_s`` is the silence until which words are waited for before a turn may end; ``guess_at`` the
    probability from which an answer is begun, at most ``max_guesses`` a turn. ``patience`` stretches the waiting curve (a
    level, a setting).
    """

    start_probability: float = 0.6
    start_s: float = 0.096
    voiced: float = 0.35
    words_after_s: float = 0.03
    ask_after_s: tuple[float, ...] = (0.1,)
    words_by_s: float = 0.6
    guess_at: float = 0.45
    max_guesses: int = 3
    patience: float = 1.0
    curve: Curve = DEFAULT_CURVE
    weights: Weights = field(default_factory=Weights)


@dataclass(slots=True)
class _Silence:
    """What is known since the voice stopped."""

    asked_words: bool = False
    asked: int = 0
    cues: Cues = field(default_factory=Cues)
    words_known: bool = False


class TurnDetector:
    """The turns of one learner."""

    def __init__(
        self,
        parameters: Parameters | None = None,
        *,
        sentence_end: SentenceEnd | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._p = parameters or Parameters()
        self._sentence_end = sentence_end
        self._pace = pace or Pace()
        self._expected: tuple[tuple[str, ...], ...] = ()
        self._now_s = 0.0
        self._last_window_s = 0.0
        self._onset_s: float | None = None  # of voice that may become a turn
        self._in_turn = False
        self._last_voice_s = 0.0
        self._guesses = 0
        self._open_guess = 0
        self._guessed: tuple[str, ...] = ()
        self._fading = False  # the voice has grown quiet, and words were asked for
        self._early: Words | None = None  # that came before the silence was sure
        self._silence: _Silence | None = None

    @property
    def in_turn(self) -> bool:
        """Whether the learner has the turn."""
        return self._in_turn

    @property
    def next_check_s(self) -> float | None:
        """When the passing of time would decide something; ``None`` where only an observation can."""
        if not self._in_turn or self._silence is None:
            return None
        times = [self._last_voice_s + s for s in self._p.ask_after_s[self._silence.asked :][:1]]
        if not self._silence.asked_words:
            times.append(self._last_voice_s + self._p.words_after_s)
        times.append(self._last_voice_s + self._wait_s(self._probability()))
        return max(self._now_s, min(times))

    def expect(self, replies: tuple[tuple[str, ...], ...]) -> None:
        """Whole replies that the learner is expected to give, in words."""
        self._expected = replies

    def observe(self, what: Observation) -> list[Decision]:
        """Take ``what`` in and tell what follows."""
        self._now_s = max(self._now_s, what.time_s)
        decisions: list[Decision] = []
        match what:
            case Voice():
                self._heard(what, decisions)
            case VoiceEdge():
                self._edge(what, decisions)
            case SmartTurn():
                # An answer about audio before the learner went on says nothing of this silence.
                if self._silence is not None and what.asked_s >= self._last_voice_s:
                    self._silence.cues = replace(self._silence.cues, voice=what.probability)
            case Words():
                self._worded(what, decisions)
            case Pause():
                if self._silence is not None:
                    self._silence.cues = replace(self._silence.cues, pause=what.probability)
            case Tick():
                pass
        self._decide(decisions)
        return decisions

    def _heard(self, window: Voice, decisions: list[Decision]) -> None:
        length_s = max(0.0, window.time_s - self._last_window_s) if self._last_window_s else 0.0
        self._last_window_s = window.time_s
        threshold = self._p.voiced if self._in_turn else self._p.start_probability
        if window.probability < threshold:
            self._onset_s = None
            if self._in_turn and self._silence is None:
                self._fall_silent(decisions)
            return
        if not self._in_turn:
            begin_s = window.time_s - min(length_s, 0.1)
            self._onset_s = begin_s if self._onset_s is None else self._onset_s
            if window.time_s - self._onset_s + 1e-9 >= self._p.start_s:
                self._begin(window.time_s, self._onset_s, decisions)
        if self._in_turn:
            self._goes_on(window.time_s, window.time_s, decisions)
            self._last_voice_s = window.time_s
            if not window.quiet:
                self._fading, self._early = False, None
            elif not self._fading:
                self._fading = True
                decisions.append(AskWords(window.time_s))

    def _fall_silent(self, decisions: list[Decision]) -> None:
        self._silence = _Silence(cues=Cues(expected=self._expected))
        early, self._early, self._fading = self._early, None, False
        if early is not None:
            self._worded(early, decisions)

    def _edge(self, edge: VoiceEdge, decisions: list[Decision]) -> None:
        if edge.speaking:
            if not self._in_turn:
                self._begin(edge.time_s, edge.at_s, decisions)
            self._goes_on(edge.time_s, edge.at_s, decisions)
            self._last_voice_s = max(self._last_voice_s, edge.at_s)
        elif self._in_turn and self._silence is None:
            self._last_voice_s = edge.at_s
            self._fall_silent(decisions)

    def _begin(self, now_s: float, onset_s: float, decisions: list[Decision]) -> None:
        self._in_turn, self._guesses, self._open_guess = True, 0, 0
        self._fading, self._early = False, None
        decisions.append(Started(now_s, onset_s))

    def _goes_on(self, now_s: float, since_s: float, decisions: list[Decision]) -> None:
        if self._silence is not None:
            self._pace.paused(since_s - self._last_voice_s)
            self._withdraw(now_s, decisions)
        self._silence = None

    def _withdraw(self, now_s: float, decisions: list[Decision]) -> None:
        if self._open_guess:
            decisions.append(Withdrawn(now_s, self._open_guess))
            self._open_guess = 0

    def abandon(self) -> None:
        """The turn was ended by somebody else: forget it, without a decision."""
        self._in_turn, self._silence, self._onset_s, self._open_guess = False, None, None, 0

    def guess_no_more(self) -> None:
        """No answer can be begun to this turn before it is over; one that was begun is forgotten, without a decision."""
        self._guesses, self._open_guess = self._p.max_guesses, 0

    def _worded(self, heard: Words, decisions: list[Decision]) -> None:
        if self._silence is None:
            if self._fading and (heard.complete or heard.final):
                self._early = heard
            return
        if heard.words != self._guessed:
            self._withdraw(heard.time_s, decisions)
        cues = replace(self._silence.cues, words=heard.words, expected=self._expected)
        if self._sentence_end is not None and heard.words:
            sentence, last_word = self._sentence_end(heard.words)
            cues = replace(cues, sentence=sentence, last_word=last_word)
        self._silence.cues = cues
        self._silence.words_known = self._silence.words_known or heard.final or heard.complete

    def _probability(self) -> float:
        assert self._silence is not None
        return end_probability(self._silence.cues, self._p.weights)

    def _wait_s(self, probability: float) -> float:
        assert self._silence is not None
        wait = self._p.curve.wait_s(probability, self._p.patience * self._pace.factor)
        cues = self._silence.cues
        if not self._silence.words_known:
            wait = max(wait, self._p.words_by_s)
        if cues.voice is None and cues.sentence is None:
            wait = max(wait, 0.5 * (self._p.words_by_s + MAX_WAIT_S))
        return min(wait, MAX_WAIT_S)

    def _decide(self, decisions: list[Decision]) -> None:
        if not self._in_turn or self._silence is None:
            return
        silent_s = self._now_s - self._last_voice_s
        ask = self._p.ask_after_s
        if not self._silence.asked_words and silent_s + 1e-9 >= self._p.words_after_s:
            self._silence.asked_words = True
            decisions.append(AskWords(self._now_s))
        if self._silence.asked < len(ask) and silent_s + 1e-9 >= ask[self._silence.asked]:
            self._silence.asked += 1
            decisions.append(AskVoice(self._now_s))
        probability = self._probability()
        words = self._silence.cues.words
        can_guess = self._silence.words_known and bool(words) and not self._open_guess
        if silent_s + 1e-9 >= self._wait_s(probability):
            decisions.append(Ended(self._now_s, self._last_voice_s, self._open_guess, probability))
            self.abandon()
        elif can_guess and probability >= self._p.guess_at and self._guesses < self._p.max_guesses:
            self._guesses += 1
            self._open_guess, self._guessed = self._guesses, words
            decisions.append(MaybeEnded(self._now_s, self._open_guess, probability, words))
