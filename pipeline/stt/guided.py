"""Which of the expected replies was said, if any: scores of whole sentences, and a measured confidence.

Each reply goes through the whole utterance with full likelihoods (``pipeline.stt.sentence_graph``), so the likeliest one is
known whatever an accent does to it. Whether it was said at all is told by four comparisons of that reply (``Evidence``),
weighed by a logistic regression. The weights and thresholds below were fitted by ``python -m bench guided``, which also says
how well they do on speakers that they were not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agent.record import Word
from pipeline.stt.acoustic_model import AcousticModel, Ints
from pipeline.stt.cepstra import Floats
from pipeline.stt.sentence_graph import Pronunciation, SentenceGraph, Spoken

FRAME_S = 0.01

RIVALS = (
    "good morning everybody",
    "the weather was cold and windy yesterday",
    "please put the green cups on the kitchen table",
    "my brother plays football every sunday",
    "how much does this jacket cost",
    "we usually take the bus to school",
    "there is a small garden behind the house",
    "could you open the window a little",
    "i think so",
    "she bought fresh bread and three oranges",
    "that film was far too long for me",
    "he should have called his doctor first",
    "when does the next train leave for the airport",
    "thank you very much",
    "nobody knew why the young teacher laughed",
    "our family has a black dog and two cats",
    "it rained all day so they stayed inside",
    "what are you doing tonight",
    "i would rather choose something cheaper",
    "most people enjoy music and dancing",
    "not really",
    "the engine made a strange noise",
    "you can find the answer on page thirty",
    "her father works with computers at a bank",
    "maybe",
    "over there",
    "blue shoes",
    "could be",
    "many people",
    "under it",
    "next week",
    "seven",
    "coming soon",
    "a big one",
)
"""Sentences of all lengths and sounds. A reply that was said is far likelier than the best of them; any reply whatever is now
and then a little likelier. They stand in for the other replies, of which there may be none, or only such as differ by a word.
Those that resemble a reply are left out for the while."""

MAX_RESEMBLANCE = 0.4
"""Agreement of a rival's words with a reply's, over which it is left out."""

MAX_LEAD = 300.0
"""A lead over the rivals beyond which more says no more, nats over the utterance."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a reply.

    ``loop`` and ``free``: its log likelihood less that of the best sequence of phones whatever, and less that of the words of
    free speech, nats per frame of speech. ``agreement``: the share of words that it has in common with free speech, 0..1.
    ``lead``: its log likelihood less that of the best of ``RIVALS``, nats, within ``MAX_LEAD``.
    """

    loop: float
    free: float
    agreement: float
    lead: float

    def features(self) -> tuple[float, float, float, float]:
        """The evidence as ``WEIGHTS`` take it."""
        return self.loop, self.free, self.agreement, self.lead / MAX_LEAD


WEIGHTS = (0.535, 0.422, 3.025, 2.6)
BIAS = 1.758
"""Fitted on 1,440 trials of 72 clips of learners (ten draws of eight sentences with the true one, ten without), both kinds
weighing the same; ``python -m bench guided`` repeats the fit on twenty draws and writes it to its ``fit``."""


def confidence(evidence: Evidence) -> float:
    """0..1: a logistic of the evidence; the probability that the reply was said, where as many replies are right as wrong."""
    return _logistic(BIAS + sum(w * x for w, x in zip(WEIGHTS, evidence.features(), strict=True)))


TAKE = 0.6
TAKE_CAREFUL = 0.9
"""Confidence from which a reply is taken, and one that must not be taken by mistake: what lets through 1 % and 0.3 % of whole
sentences that were not expected. Of single words and pairs, cut out of the sentences, it lets through up to a tenth."""
MIN_FRAMES_PER_PHONE = 5
"""Frames of speech that each phone of a reply needs on average, where 72 clips of learners had 7.8 at least and 12 mostly:
nobody says "I am a student" in the time of a "yes", however well it fits."""
CLOSE = 50.0
"""A careful reply must be this much likelier, in nats over the utterance, than the best of the others.

From 508 sentences that differ from what 72 clips of learners say by one ending, article, preposition or verb form: where the
clip's own sentence is the right one, the wrong one leads by more than this in 3 % (by anything in 13 %); where it is the
mistake, it leads the other by more than this in 51 %. A mistake missed costs less than one that was not made.
"""
FREE_MIN = 0.4
"""Confidence from which free speech is passed on where replies were expected. Of 72 clips of learners 69 % reach it, with a
word error rate of 65 %; that of the others is 100 %."""
_IMPOSSIBLE = -1e29
_WORD_WEIGHT, _WORD_BIAS = 0.50, 1.43


@dataclass(frozen=True, slots=True)
class Candidate:
    """One expected reply: its place in the list, its log likelihood, and whether it must not be taken by mistake."""

    number: int
    score: float
    careful: bool = False


def likeliest(candidates: Sequence[Candidate]) -> Candidate:
    """The likeliest, but a careful one only where it leads all others by ``CLOSE``: a mistake is not found by guessing.

    Raises:
        ValueError: there is none.
    """
    best = max(candidates, key=lambda c: c.score)
    others = [c for c in candidates if not c.careful]
    if best.careful and others:
        other = max(others, key=lambda c: c.score)
        if best.score - other.score < CLOSE:
            return other
    return best


def is_taken(candidate: Candidate, sure: float) -> bool:
    """Whether a reply of that confidence is taken."""
    return sure >= (TAKE_CAREFUL if candidate.careful else TAKE)


def agreement(words: Sequence[str], others: Sequence[str]) -> float:
    """1 less the edit distance (Levenshtein 1965) in words, by the longer of the two; 0 of nothing."""
    longer = max(len(words), len(others))
    row = list(range(len(others) + 1))
    for i, word in enumerate(words, 1):
        before, row = row, [i]
        for j, other in enumerate(others, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
    return 1.0 - row[-1] / longer if longer else 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest reply, by its place in the list, with what speaks for it; where it is taken, its words and their times.

    A word's confidence is a logistic of its log likelihood per frame less that of the likeliest phones (the "goodness of
    pronunciation" of Witt and Young 2000), with the reply's own as the odds beforehand. Fitted on the words of 72 clips of
    learners, against those of a wrong sentence laid over the same clip. It orders words and is no probability.
    """

    number: int
    evidence: Evidence
    confidence: float
    taken: bool
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class _Likelihoods:
    """Log likelihoods of some senones, ascending, in every frame."""

    senones: Ints
    values: Floats

    def of(self, graph: SentenceGraph) -> Floats:
        """Those that ``graph`` needs."""
        if len(graph.senones) == len(self.senones):
            return self.values
        return self.values[:, np.searchsorted(self.senones, graph.senones)]


class Guide:
    """The expected replies of one utterance after another.

    ``pronunciations`` gives a word's, the commonest first, and nothing for a word that cannot be said.
    """

    def __init__(self, model: AcousticModel, pronunciations: Callable[[str], Sequence[Pronunciation]]) -> None:
        self._model = model
        self._pronunciations = pronunciations
        self._replies: tuple[tuple[str, ...], ...] = ()
        self._careful: frozenset[int] = frozenset()
        self._phones: list[int] = []  # of each reply
        self._graph: SentenceGraph | None = None

    def expect(self, replies: Sequence[tuple[str, ...]], careful: frozenset[int] = frozenset()) -> None:
        """What may be said: replies as words that have pronunciations, ``careful`` by their places. Some 30 ms for 60 new ones.

        Raises:
            ValueError: a word without pronunciation.
        """
        wanted = tuple(replies)
        self._careful = careful
        if wanted == self._replies:
            return
        self._replies, self._graph = wanted, None
        if wanted:
            others = [tuple(rival.split()) for rival in RIVALS]
            rivals = [other for other in others if all(agreement(other, words) <= MAX_RESEMBLANCE for words in wanted)]
            # All replies together can hardly resemble all of them; then even a resembling one is better than none.
            sentences = [*wanted, *(rivals or others)]
            sounds = [self._sounds(words) for words in sentences]
            self._graph = SentenceGraph(self._model, sounds)
            self._phones = [sum(min(map(len, ways)) for ways in sentence) for sentence in sounds[: len(wanted)]]

    def choose(self, cepstra: Floats, free: Sequence[str]) -> Choice | None:
        """The likeliest reply to have been said in all of ``cepstra``, where free speech was recognised as the words ``free``.

        ``None`` where nothing is expected or the audio is too short for any.
        """
        if self._graph is None or not len(cepstra):
            return None
        free_graph = SentenceGraph(self._model, [self._sounds(free)], loop=False) if free else None
        senones = self._graph.senones if free_graph is None else np.union1d(self._graph.senones, free_graph.senones)
        likelihoods = _Likelihoods(senones, self._model.scores(cepstra, senones))
        scores = self._graph.score(likelihoods.of(self._graph))
        replies = scores.sentences[: len(self._replies)]
        candidates = [
            Candidate(k, float(score), k in self._careful)
            for k, score in enumerate(replies)
            if score > _IMPOSSIBLE and scores.speech_frames >= MIN_FRAMES_PER_PHONE * self._phones[k]
        ]
        if not candidates:
            return None
        chosen = likeliest(candidates)
        free_score = _IMPOSSIBLE if free_graph is None else float(free_graph.score(likelihoods.of(free_graph)).sentences[0])
        rival = float(scores.sentences[len(self._replies) :].max())
        evidence = Evidence(
            loop=(chosen.score - scores.loop) / scores.speech_frames,
            free=(chosen.score - (free_score if free_score > _IMPOSSIBLE else scores.loop)) / scores.speech_frames,
            agreement=agreement(self._replies[chosen.number], free),
            lead=float(np.clip(chosen.score - rival, -MAX_LEAD, MAX_LEAD)),
        )
        sure = confidence(evidence)
        taken = is_taken(chosen, sure)
        return Choice(chosen.number, evidence, sure, taken, self._words(chosen.number, likelihoods, sure) if taken else ())

    def _words(self, number: int, likelihoods: _Likelihoods, sure: float) -> tuple[Word, ...]:
        words = self._replies[number]
        graph = SentenceGraph(self._model, [self._sounds(words)])
        spoken = graph.align(likelihoods.of(graph))
        return tuple(
            Word(words[s.word], round(s.start * FRAME_S, 2), round(s.end * FRAME_S, 2), round(_word_confidence(s, sure), 3))
            for s in spoken
        )

    def _sounds(self, words: Sequence[str]) -> list[Sequence[Pronunciation]]:
        return [self._pronunciations(word) for word in words]


def _word_confidence(spoken: Spoken, sure: float) -> float:
    per_frame = (spoken.score - spoken.best) / (spoken.end - spoken.start)
    before = math.log(max(sure, 1e-3) / max(1.0 - sure, 1e-3))
    return _logistic(_WORD_WEIGHT * per_frame + _WORD_BIAS + before)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, x))))
