"""Sentences as hidden Markov models, and the best way of each through an utterance (Viterbi). Pure.

All sentences go through the audio at once and none is dropped on the way, so each has a score and the scores of one utterance
can be compared. Beside them goes any sequence of phones whatever (the *loop*): what the best sentence gains over it tells
whether a sentence was said or something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log

import numpy as np
from numpy.typing import NDArray

from pipeline.stt.acoustic_model import NOISES, SILENCE, STATES, AcousticModel, Ints, Position
from pipeline.stt.cepstra import Floats

Pronunciation = Sequence[str]
"""A word's phones."""
Sentence = Sequence[Sequence[Pronunciation]]
"""For each word its pronunciations, the commonest first."""

PAUSE = log(0.2)
"""A pause between two words; 0.5 before the first and after the last."""
NOISE = -5.0
"""A cough or a filler before the first word or after the last. On 72 clips of learners anything from 0.05 to 0.5 for pauses and
-5 to -15 for noise chose the same sentences; noise between words as well chose worse."""
_EITHER = log(0.5)
_NEVER = -1e30

Arc = tuple[int, float]
"""A state that is left and the log probability of leaving it."""


@dataclass(slots=True)
class _States:
    senones: list[int] = field(default_factory=list)
    stay: list[float] = field(default_factory=list)
    move: list[float] = field(default_factory=list)  # from the state before; _NEVER where a phone has another way in
    entries: dict[int, list[Arc]] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    words: list[int] = field(default_factory=list)

    def add_phone(
        self, model: tuple[Sequence[int], NDArray[np.float64]], entries: Sequence[Arc] | None, start: float | None, word: int
    ) -> list[Arc]:
        """``entries`` of ``None``: from the phone added before it. Gives the ways out."""
        senones, transitions = model
        first = len(self.senones)
        for k, senone in enumerate(senones):
            self.senones.append(senone)
            self.stay.append(float(transitions[k, k]))
            self.move.append(float(transitions[k - 1, k]) if k else _NEVER)
            self.words.append(word)
        if entries is None:
            self.move[first] = float(self._out)
        elif entries:
            self.entries[first] = list(entries)
        if start is not None:
            self.starts[first] = start
        self._out = float(transitions[STATES - 1, STATES])
        return [(first + STATES - 1, self._out)]

    _out: float = _NEVER


@dataclass(frozen=True, slots=True)
class Scores:
    """Log likelihoods of a whole utterance: of each sentence, and of the best sequence of phones whatever.

    ``speech_frames`` are those in which some phone is likelier than silence and noise, at least 1.
    """

    sentences: NDArray[np.float64]
    loop: float
    speech_frames: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """Where a word lies: frames ``start`` to before ``end``; its log likelihood there, and that of each frame's likeliest
    phone.

    ``best`` is 0 in a graph without the loop.
    """

    word: int
    start: int
    end: int
    score: float
    best: float


class SentenceGraph:
    """``sentences`` for one acoustic model, with the loop unless it is left out.

    Raises:
        KeyError: a phone that the model does not have.
        ValueError: a sentence without words, or a word without phones.
    """

    def __init__(self, model: AcousticModel, sentences: Sequence[Sentence], *, loop: bool = True) -> None:
        states = _States()
        self._loop_exits: list[Arc] = []
        speech: list[bool] = []
        if loop:
            for name, phone in zip(model.names, model.phones(), strict=True):
                # One virtual state stands for the end of any phone; its number is that of all states, put in below.
                self._loop_exits += states.add_phone(phone, [(-1, 0.0)], 0.0, -1)
                speech += [name in model.phone_set] * STATES
        self._exits = [_add_sentence(states, model, sentence) for sentence in sentences]
        self._senones, self._column = np.unique(np.asarray(states.senones, np.int64), return_inverse=True)
        loop_columns = self._column[: len(speech)]
        self._speech, self._noise = loop_columns[np.asarray(speech, bool)], loop_columns[~np.asarray(speech, bool)]
        self._words = np.asarray(states.words)
        self._stay = np.asarray(states.stay, np.float32)
        self._move = np.asarray(states.move, np.float32)
        count = len(states.senones)
        self._start = np.full(count, _NEVER, np.float32)
        for state, value in states.starts.items():
            self._start[state] = value
        widest = max((len(arcs) for arcs in states.entries.values()), default=1)
        self._entered = np.fromiter(states.entries, np.int64, len(states.entries))
        self._from = np.full((widest, len(self._entered)), count, np.int64)
        self._gain = np.full((widest, len(self._entered)), _NEVER, np.float32)
        for column, arcs in enumerate(states.entries.values()):
            for row, (state, value) in enumerate(arcs):
                self._from[row, column] = count if state < 0 else state
                self._gain[row, column] = value
        self._out_states = np.asarray([state for state, _ in self._loop_exits], np.int64)
        self._out_gains = np.asarray([value for _, value in self._loop_exits], np.float32)

    @property
    def senones(self) -> Ints:
        """The senones whose scores are needed, ascending."""
        return self._senones

    def score(self, likelihoods: Floats) -> Scores:
        """Score all sentences. ``likelihoods`` of shape ``(frames, senones)``, one column for each of ``senones``."""
        reached = self._run(likelihoods)
        sentences = [max((reached[state] + value for state, value in exits), default=_NEVER) for exits in self._exits]
        loop = max((reached[state] + value for state, value in self._loop_exits), default=_NEVER)
        frames = len(likelihoods)
        if len(self._speech) and frames:
            speech, noise = self._likeliest(likelihoods)
            frames = int((speech > noise).sum())
        return Scores(np.asarray(sentences, np.float64), float(loop), max(1, frames))

    def align(self, likelihoods: Floats) -> list[Spoken]:
        """Where the words of the best sentence lie; nothing where the audio is too short for any."""
        back: list[NDArray[np.int64]] = []
        reached = self._run(likelihoods, back)
        score, state = max((float(reached[s] + v), s) for exits in self._exits for s, v in exits)
        if score <= _NEVER / 2:
            return []
        path = [state]
        for step in reversed(back):
            path.append(int(step[path[-1]]))
        path.reverse()
        of_frames = likelihoods[np.arange(len(path)), self._column[path]]
        best = np.maximum(*self._likeliest(likelihoods)) if len(self._speech) else np.zeros_like(of_frames)
        numbers = self._words[path]
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(path)]
        return [
            Spoken(int(numbers[a]), a, b, float(of_frames[a:b].sum()), float(best[a:b].sum()))
            for a, b in pairwise(edges)
            if numbers[a] >= 0
        ]

    def _likeliest(self, likelihoods: Floats) -> tuple[Floats, Floats]:
        """In each frame the log likelihood of the likeliest phone, and of silence or noise."""
        return likelihoods[:, self._speech].max(axis=1), likelihoods[:, self._noise].max(axis=1)

    def _run(self, likelihoods: Floats, back: list[NDArray[np.int64]] | None = None) -> Floats:
        """The best log likelihood of a path that is in each state at the end. ``back`` is given each frame's predecessors."""
        count = len(self._stay)
        reached = np.full(count + 1, _NEVER, np.float32)  # the last one is the virtual state
        moved = np.empty(count, np.float32)
        numbers = np.arange(count)
        for at, frame in enumerate(likelihoods):
            if at == 0:
                reached[:count] = self._start
            else:
                moved[1:] = reached[: count - 1] + self._move[1:]
                moved[0] = _NEVER
                ways = reached[self._from] + self._gain
                entered = ways.max(axis=0)
                if back is not None:
                    source = numbers - 1
                    source[self._entered] = self._from[ways.argmax(axis=0), np.arange(len(self._entered))]
                moved[self._entered] = np.maximum(moved[self._entered], entered)
                stayed = reached[:count] + self._stay
                if back is not None:
                    back.append(np.where(stayed >= moved, numbers, source))
                np.maximum(stayed, moved, out=reached[:count])
            reached[:count] += frame[self._column]
            if len(self._out_states):
                reached[count] = (reached[self._out_states] + self._out_gains).max()
        return reached


def _add_sentence(states: _States, model: AcousticModel, sentence: Sentence) -> list[Arc]:
    """Silence or noise or neither, each word in one of its pronunciations, a pause or not. Gives the ways out at the end."""
    if not sentence or not all(ways and all(ways) for ways in sentence):
        raise ValueError("a sentence needs words, and each word needs phones")
    entries = _add_gap(states, model, [], 0.0, _EITHER, noise=True)
    start: float | None = _EITHER
    for number, ways in enumerate(sentence):
        left = sentence[number - 1][0][-1] if number else SILENCE
        right = sentence[number + 1][0][0] if number + 1 < len(sentence) else SILENCE
        exits: list[Arc] = []
        for phones in ways:
            context = [left, *phones, right]
            for k, phone in enumerate(phones):
                hmm = model.phone(phone, context[k], context[k + 2], _position(k, len(phones)))
                out = states.add_phone(hmm, None if k else entries, None if k else start, number)
            exits += out
        start = None
        last = number + 1 == len(sentence)
        entries = exits + _add_gap(states, model, exits, None, _EITHER if last else PAUSE, noise=last)
    return entries


def _add_gap(
    states: _States, model: AcousticModel, before: Sequence[Arc], start: float | None, share: float, *, noise: bool
) -> list[Arc]:
    """Silence after ``before``, and perhaps noise after either. Gives the ways out of what was added."""

    def add(name: str, entries: Sequence[Arc], gain: float) -> list[Arc]:
        phone = model.phone(name, SILENCE, SILENCE, "only")
        return states.add_phone(phone, [(s, v + gain) for s, v in entries], None if start is None else start + gain, -1)

    exits = add(SILENCE, before, share)
    if noise:
        silence = list(exits)
        for name in NOISES:
            both = [(s, v + share) for s, v in before] + silence
            exits += add(name, both, NOISE)
    return exits


def _position(at: int, length: int) -> Position:
    if length == 1:
        return "only"
    return "first" if at == 0 else "last" if at == length - 1 else "inside"
