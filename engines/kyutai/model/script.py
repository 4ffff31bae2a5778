"""What a slot is to say: words of one session on their way to the device. Pure: no torch.

A text-to-speech model with a second text stream is shown, when a word begins, the tokens of the word ``ahead`` words later. So
a word is ripe, and goes to the device, when that later word is known, or the end is. That makes what is said independent of
when the words came. Who would rather begin sooner lets a word go when ``wait`` words behind it are known: where the device has
none left, and without what would be shown, if that does not come before the word begins.

The device holds the ripe words of a slot in two rings: a row of ``ROW`` numbers for each word, and the tokens of all words one
after the other. What does not fit waits here.

A pause is a word of padding tokens only, as on moshi-server's way: one for each frame of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

ROW = 5
"""Numbers of a word's row: its first token and the one behind its last, as positions in the session's tokens (equal for a
pause); steps of padding that follow its tokens; the same two positions of the word that is shown ahead."""


@dataclass
class _Word:
    start: int
    tokens: tuple[int, ...]
    padding: int


@dataclass(frozen=True)
class News:
    """What is to be written to the device. ``rows``: further words, from the word of that index on. ``tokens``: further
    tokens, from that position on. ``known``: ripe words there are then."""

    first_row: int
    rows: tuple[tuple[int, ...], ...]
    first_token: int
    tokens: tuple[int, ...]
    known: int


class Script:
    """Of one session.

    ``ahead``: words that the second stream is ahead, 0 without one. ``wait``: words behind a word that have to be known before
    it begins, ``ahead`` by default. ``pad``: the padding token. ``between``: steps of padding
    after a word's last token; without one, words run into each other. ``words``, ``tokens``: sizes of the rings.
    """

    def __init__(self, *, ahead: int, pad: int, words: int, tokens: int, between: int = 1, wait: int | None = None) -> None:
        self._ahead = ahead
        self._wait = ahead if wait is None else wait
        self._pad = pad
        self._between = between
        self._words = words
        self._tokens = tokens
        self._waiting: deque[_Word] = deque()
        self._next_start = 0
        self._sent_tokens = 0
        self.known = 0
        """Words that the device knows."""
        self.begun = 0
        """Words that the device has begun."""
        self.ended = False
        self._early: _Word | None = None  # the last word that the device knows, where it went there before it was ripe

    def give(self, words: Sequence[Sequence[int]]) -> None:
        """Further words, each as its tokens.

        :raises ValueError: where a word is empty or too long, or comes after the end
        """
        if self.ended:
            raise ValueError("words came after the end")
        for word in words:
            if not word:
                raise ValueError("a word without tokens")
            if len(word) * (self._ahead + 2) > self._tokens:
                raise ValueError(f"a word of {len(word)} tokens; {self._tokens // (self._ahead + 2)} are the most")
        for word in words:
            if all(token == self._pad for token in word):
                self._waiting.append(_Word(self._next_start, (), len(word)))
                continue
            padding = max(0, self._between + len(word) - 1) if self._between else 0
            self._waiting.append(_Word(self._next_start, tuple(word), padding))
            self._next_start += len(word)

    def end(self) -> None:
        """No words will follow."""
        self.ended = True

    @property
    def ready(self) -> bool:
        """Whether a step can be made: whatever the model decides in it, the word it may ask for is there, or there is none."""
        return self.known > self.begun or (self.ended and not self._waiting)

    def news(self, kept: int) -> News | None:
        """What the device can be told now, where it still needs the tokens from position ``kept`` on; ``None``: nothing. The
        news are then taken as told."""
        if self._early is not None and self.known > self.begun:
            # It has not begun. What is to be shown with it may be known by now.
            self._waiting.appendleft(self._early)
            self.known -= 1
        self._early = None
        first_row, first_token = self.known, self._sent_tokens
        rows: list[tuple[int, ...]] = []
        tokens: list[int] = []
        while self._waiting and self.known - self.begun < self._words:
            word = self._waiting[0]
            shown = self._shown(word)
            early = shown is None and not self.ended
            if early and not self._may_go_early():
                break
            last = shown or word
            if last.start + len(last.tokens) - kept > self._tokens:
                break
            rows.append((*_span(word), word.padding, *(_span(shown) if shown else (0, 0))))
            for other in self._waiting:
                if other.start > last.start:
                    break
                if other.start >= first_token + len(tokens):
                    tokens.extend(other.tokens)
            self._waiting.popleft()
            self.known += 1
            self._early = word if early else None
        self._sent_tokens += len(tokens)
        if not rows:
            return None
        return News(first_row, tuple(rows), first_token, tuple(tokens), self.known)

    def _may_go_early(self) -> bool:
        behind = sum(bool(word.tokens) for word in islice(self._waiting, 1, None))
        return self._wait < self._ahead and self.known == self.begun and behind >= self._wait

    def _shown(self, word: _Word) -> _Word | None:
        """The word that is shown when this one begins. That of a pause is itself, as nothing is shown then."""
        if not word.tokens or not self._ahead:
            return word
        left = self._ahead
        for other in islice(self._waiting, 1, None):
            left -= bool(other.tokens)
            if left == 0:
                return other
        return None


def _span(word: _Word) -> tuple[int, int]:
    return word.start, word.start + len(word.tokens)
