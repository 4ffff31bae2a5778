"""Times of the words in a synthesised piece, from the engine's word events and the audio itself. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from agent.record import Word
from pipeline.tts.spoken_text import Token

# Of 32,768. espeak-ng's pauses are digital silence, and its quietest consonants are louder than this.
VOICED_LEVEL = 64


class WordTimer:
    """Gives each token of a piece its start and end.

    An engine reports where words begin, but one event may stand for several words ("I've got") and several events for one
    ("25"). A word that has no event of its own shares the time of the one before it, in proportion to its length. A word
    ends with its last voiced sample before the next one.

    Args:
        tokens: The piece's words, in order, at least one.
        rate_hz: Sample rate of the audio.
        offset: Samples of the utterance before this piece; all times count from the utterance's start.
    """

    def __init__(self, tokens: Sequence[Token], rate_hz: int, offset: int = 0) -> None:
        self._tokens = tokens
        self._starts = [t.start for t in tokens]
        self._rate_hz = rate_hz
        self._offset = offset
        self._pcm = bytearray()
        self._open = 0  # first token without times
        self._latest = -1  # token of the latest event
        self._start = 0  # sample at which the open token began

    def audio(self, pcm16: bytes) -> None:
        """Add audio; it must reach up to a word's start before ``start`` is called for that word."""
        self._pcm += pcm16

    def start(self, position: int, sample: int) -> list[Word]:
        """A word starts at character ``position`` and ``sample`` of the piece. Returns the words that this completes."""
        token = max(0, bisect_right(self._starts, position) - 1)
        if self._latest < 0:
            self._latest, self._start = token, sample
            return []
        if token <= self._latest or sample < self._start:
            return []
        words = self._spread(self._open, token, sample)
        self._open = self._latest = token
        self._start = sample
        return words

    def finish(self) -> list[Word]:
        """The piece has ended with the audio added so far. Returns its remaining words."""
        words = self._spread(self._open, len(self._tokens), len(self._pcm) // 2)
        self._open = len(self._tokens)
        return words

    def _spread(self, first: int, stop: int, end: int) -> list[Word]:
        tokens = self._tokens[first:stop]
        end = max(self._start, self._last_voiced(self._start, end))
        weights = [len(t.text) for t in tokens]
        total = sum(weights)
        words: list[Word] = []
        done = 0
        for token, weight in zip(tokens, weights, strict=True):
            at = self._start + (end - self._start) * done // total
            done += weight
            until = self._start + (end - self._start) * done // total
            words.append(Word(token.text, (self._offset + at) / self._rate_hz, (self._offset + until) / self._rate_hz))
        return words

    def _last_voiced(self, start: int, end: int) -> int:
        """The sample behind the last voiced one in ``[start, end)``; ``end`` where all is silent."""
        span = np.frombuffer(bytes(self._pcm[2 * start : 2 * end]), dtype=np.int16).astype(np.int32)
        voiced = np.flatnonzero(np.abs(span) > VOICED_LEVEL)
        return start + int(voiced[-1]) + 1 if voiced.size else end
