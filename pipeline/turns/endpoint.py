"""How likely the learner's turn is over, and how long to wait for certainty. Pure: cues in, a probability and seconds out.

The words know more than the voice. On pauses put into sentences of learners (``bench/turns.py``), smart-turn alone finds 38 %
of the true ends at 5 % false cut-offs, the end-of-sentence probability of a trigram model 41 %, both together 70 %, each
speaker judged by weights that were fitted on the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_WAIT_S = 2.0
"""After this much silence a turn is over, whatever the cues say."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the logistic: its bias, and what a unit of each cue adds, as ``bench turns`` fits them to all speakers.

    ``pause`` is not fitted, for want of a model that tells it: it counts as much as smart-turn, which judges the same.
    """

    bias: float = 4.4
    voice: float = 0.25
    sentence: float = 2.07
    last_word: float = 1.96
    pause: float = 0.25


UNKNOWN_VOICE = 0.5
"""smart-turn's probability where it was not asked."""
UNKNOWN_PAUSE = 0.6
"""Of a recogniser that expects a pause with this probability nothing is learnt: it is where Kyutai's own Unmute ends turns."""
UNKNOWN_WORDS = -1.2
"""log10 probability of an end where no words are known: what pauses and ends have on average."""

FILLERS = frozenset(("um", "uh", "er", "erm", "hmm", "mm", "eh", "ah"))
OPENERS = frozenset(
    (
        "the",
        "a",
        "an",
        "my",
        "your",
        "our",
        "their",
        "to",
        "of",
        "with",
        "from",
        "at",
        "into",
        "and",
        "or",
        "but",
        "because",
        "if",
    )
)
OPENER_COST = 2.0
"""Taken off after a word that hardly ever is the last one."""
NUMBERS = frozenset(
    (
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "double",
        "twenty",
        "thirty",
        "forty",
    )
)
FILLER_COST = 3.0
"""Taken off the logit after a filler: who says "um" wants to go on."""
NUMBER_COST = 1.0
"""Taken off where numbers are being dictated: at least two in a row, and nothing says that it was the last."""
EXPECTED_GAIN = 3.0
"""Added where the words are a whole expected reply ..."""
PREFIX_COST = 1.5
"""... and taken off where they are only the beginning of one."""


@dataclass(frozen=True, slots=True)
class Cues:
    """What is known in a silence of the learner.

    ``voice`` is smart-turn's probability of an end, ``sentence`` and ``last_word`` are log10 P(end | last two words)
    and given the last one alone, ``pause`` is the recogniser's probability of a pause of 2 s; ``None`` where there is none yet.
    ``words`` are those of the turn so far, lower case. ``expected`` are whole replies in words.
    """

    voice: float | None = None
    sentence: float | None = None
    last_word: float | None = None
    words: tuple[str, ...] = ()
    expected: tuple[tuple[str, ...], ...] = ()
    pause: float | None = None


def end_probability(cues: Cues, weights: Weights) -> float:
    """0 to 1 that the turn is over: a logistic of smart-turn's logit and the two log probabilities."""
    voice, sentence, last_word = measured(cues)
    logit = weights.bias + weights.voice * voice + weights.sentence * sentence + weights.last_word * last_word
    logit += weights.pause * (_logit(UNKNOWN_PAUSE if cues.pause is None else cues.pause) - _logit(UNKNOWN_PAUSE))
    logit += _of_words(cues.words, cues.expected)
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))


def measured(cues: Cues) -> tuple[float, float, float]:
    """What the weights multiply, in the order of ``Weights``."""
    voice = UNKNOWN_VOICE if cues.voice is None else cues.voice
    sentence = UNKNOWN_WORDS if cues.sentence is None else cues.sentence
    last_word = UNKNOWN_WORDS if cues.last_word is None else cues.last_word
    return _logit(voice), sentence, last_word


def _of_words(words: Sequence[str], expected: Sequence[Sequence[str]]) -> float:
    gain = 0.0
    if not words:
        return gain
    said = tuple(words)
    if any(said == tuple(reply) for reply in expected):
        gain += EXPECTED_GAIN
    elif any(len(reply) > len(said) and tuple(reply[: len(said)]) == said for reply in expected):
        gain -= PREFIX_COST
    if said[-1] in FILLERS:
        gain -= FILLER_COST
    if said[-1] in OPENERS:
        gain -= OPENER_COST
    if len(said) > 1 and said[-1] in NUMBERS and said[-2] in NUMBERS:
        gain -= NUMBER_COST
    return gain


@dataclass(frozen=True, slots=True)
class Curve:
    """Waiting time by probability: points of falling probability and growing wait, linear between them.

    Raises:
        ValueError: points that are not in order, outside 0..1, or longer than ``MAX_WAIT_S``.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        probabilities = [p for p, _ in self.points]
        waits = [w for _, w in self.points]
        if not self.points or probabilities != sorted(probabilities, reverse=True) or waits != sorted(waits):
            raise ValueError("a waiting curve needs points (probability, seconds) of falling probability and growing wait")
        if not all(0 <= p <= 1 for p in probabilities) or not all(0 <= w <= MAX_WAIT_S for w in waits):
            raise ValueError(f"a waiting curve lies between probabilities of 0 and 1 and waits of 0 and {MAX_WAIT_S:g} s")

    def wait_s(self, probability: float, factor: float = 1.0) -> float:
        """Seconds of silence to wait at ``probability``; ``factor`` stretches what is more than the shortest wait."""
        wait = self.points[-1][1]
        if probability >= self.points[0][0]:
            wait = self.points[0][1]
        else:
            for (p1, w1), (p2, w2) in zip(self.points, self.points[1:], strict=False):
                if p2 <= probability < p1:
                    wait = w1 + (w2 - w1) * (p1 - probability) / (p1 - p2)
                    break
        shortest = self.points[0][1]
        return min(MAX_WAIT_S, shortest + (wait - shortest) * factor)


DEFAULT_CURVE = Curve(((0.82, 0.2), (0.819, 0.42), (0.767, 0.81), (0.526, 1.22), (0.096, 1.7), (0.0, 2.0)))
"""As ``bench turns`` fits it to all speakers: 4, 8 and 16 % of their pauses of 0.4, 0.8 and 1.2 s would be cut."""


class Pace:
    """This learner's pauses within turns: who pauses for long is waited for longer.

    An exponentially weighted mean of the logarithms of pauses that turned out not to be ends, over about the last eight.
    """

    _USUAL_S = 0.6
    _WEIGHT = 1 / 8
    _LEAST, _MOST = 0.8, 1.5

    def __init__(self) -> None:
        self._mean = math.log(self._USUAL_S)

    def paused(self, pause_s: float) -> None:
        """The learner paused for ``pause_s`` and went on. Pauses under 0.2 s are part of speaking."""
        if pause_s >= 0.2:
            self._mean += self._WEIGHT * (math.log(min(pause_s, 4.0)) - self._mean)

    @property
    def factor(self) -> float:
        """What waits are stretched by: 1 for usual pauses of 0.6 s."""
        return max(self._LEAST, min(self._MOST, math.exp(self._mean) / self._USUAL_S))


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))
