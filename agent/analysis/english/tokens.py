"""Text to sentences of tokens, with their places in the text. Contractions are taken apart: "doesn't" is "does" and "n't"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = re.compile(
    r"""(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*['’]?)   # words, with hyphens and apostrophes
      | (?P<number>\d+(?:[.,:]\d+)*(?:st|nd|rd|th|s|am|pm|%)?)
      | (?P<mark>[^\w\s]|_)""",
    re.VERBOSE,
)
_PARTS = re.compile(r"(?i)^(?P<head>.+?)(?P<tail>n['’]t|['’](?:s|m|re|ve|ll|d))$")
_ENDS = frozenset(".!?")
_SUFFIXED = {"cannot": 3, "gonna": 3, "wanna": 3, "gotta": 3}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text. ``start`` and ``end`` are code points in the whole text; ``kind`` is "word", "number" or "mark"."""

    text: str
    start: int
    end: int
    kind: str

    @property
    def lower(self) -> str:
        """Lower case, with a plain apostrophe."""
        return self.text.lower().replace("’", "'")


def sentences(text: str) -> Iterator[list[Token]]:
    """The sentences of ``text``, each with its end mark. An end mark between letters or before a small letter ends nothing."""
    current: list[Token] = []
    for token in tokenize(text):
        current.append(token)
        if token.text in _ENDS and re.match(r"""["'”’)\]]*(?:\s+["'“‘(\[]*[^a-z\s]|\s*$|\s*\n)""", text[token.end :]):
            yield current
            current = []
    if current:
        yield current


def tokenize(text: str) -> Iterator[Token]:
    """All tokens of ``text``, in order."""
    for found in _PIECE.finditer(text):
        kind = str(found.lastgroup)
        if kind == "word":
            yield from _word(found.group(), found.start())
        else:
            yield Token(found.group(), found.start(), found.end(), kind)


def _word(word: str, start: int) -> Iterator[Token]:
    end = start + len(word)
    if word[-1] in "'’" and word[-2:-1].lower() != "s":
        yield from _word(word[:-1], start)
        yield Token(word[-1], end - 1, end, "mark")
        return
    parts = _PARTS.match(word)
    cut = parts.start("tail") if parts else len(word)
    if word.lower() in _SUFFIXED:
        cut = _SUFFIXED[word.lower()]
    elif word[-1] in "'’":
        cut = len(word) - 1
    if parts or word.lower() in _SUFFIXED or word[-1] in "'’":
        yield Token(word[:cut], start, start + cut, "word")
        yield Token(word[cut:], start + cut, end, "word")
    else:
        yield Token(word, start, end, "word")
