"""Between text and the tokens of the speech models. Pure: the tokenizer's own functions are arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engines.kyutai.model.interface import FRAME_RATE_HZ

WORD_END = 0
"""The speech-to-text models write it where a word ended and the next may begin."""

PADDING = 3
"""They write it where there is nothing to write. Tokens below it, but ``WORD_END``, stand for no text."""


@dataclass(frozen=True)
class WordHeard:
    """A word is complete. ``start_s``: when it began, seconds of the session's audio."""

    text: str
    start_s: float


@dataclass(frozen=True)
class WordEnded:
    """The last word ended. ``stop_s``: when."""

    stop_s: float


class WordReader:
    """Makes words of the tokens that one session's speech-to-text writes.

    A word is told with the first token after its own: ``WORD_END`` or ``PADDING``. It began where the word before it ended, as
    the model writes ``WORD_END`` once more right before a word that follows a silence. ``decode``: text of a list of tokens.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._began_s = 0.0
        self._open = False

    def token(self, token: int, heard: int) -> list[WordHeard | WordEnded]:
        """What follows from one more token. ``heard``: the frame of which the model writes (``LiveStep.heard``)."""
        told: list[WordHeard | WordEnded] = []
        if token > PADDING:
            self._tokens.append(token)
            return told
        if token in (WORD_END, PADDING):
            told.extend(self.rest())
        if token == WORD_END:
            now_s = (heard + 1) / FRAME_RATE_HZ
            if self._open:
                self._open = False
                told.append(WordEnded(now_s))
            self._began_s = now_s
        return told

    def rest(self) -> list[WordHeard]:
        """The word that was begun, if any, where nothing follows that would complete it."""
        tokens, self._tokens = self._tokens, []
        text = self._decode(tokens).strip() if tokens else ""
        if not text:
            return []
        self._open = True
        return [WordHeard(text, self._began_s)]

    def branch(self) -> WordReader:
        """A reader that has read the same, for a flush."""
        other = WordReader(self._decode)
        other._tokens, other._began_s, other._open = self._tokens.copy(), self._began_s, self._open
        return other
