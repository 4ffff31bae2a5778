"""Text made ready for a plain-text synthesiser: what is spoken of it, its words, and pieces of bounded length.

Pure. Every string here keeps one character for one character of the text it came from, so that a position an engine reports
points at the word as it was written.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

from pipeline.tts.clauses import ends_clause, ends_sentence

MAX_PIECE_CHARS = 160
_CLAUSE_CHARS = 40  # a piece this long ends at its next comma, so that other calls need not wait long for their turn
_MAX_WORD_CHARS = 80

_MARKUP = frozenset("*_`~|")
_OPENING = frozenset("\"'“‘([{«<")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Seconds that espeak-ng 1.52 is silent behind a clause at 150 words a minute, measured; at the end of a text it leaves them
# out, so a caller that speaks piece by piece puts them back. Between 80 and 180 words a minute espeak's own pauses follow
# (150 / rate) ** 1.4 within 10 %.
_PAUSES_S = {",": 0.185, ";": 0.28, ":": 0.28, "—": 0.28, "–": 0.28, "…": 0.28, ".": 0.38, "?": 0.38, "!": 0.43}
_PAUSE_EXPONENT = 1.4


@dataclass(frozen=True, slots=True)
class Token:
    """A word as written, punctuation included, and its range of characters ``[start, end)`` in its piece."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that is synthesised in one go.

    ``spoken`` is what the engine gets; ``tokens`` are its words in order, at least one, with ranges inside ``spoken``.
    """

    spoken: str
    tokens: tuple[Token, ...]


def speakable(text: str) -> bool:
    """Whether anything in ``text`` (as ``spoken_form`` returns it) is heard: a letter, a digit, or a sign that has a name."""
    return any(c.isalnum() or c in "%&@#°" or unicodedata.category(c) in ("Sc", "Sm") for c in text)


def spoken_form(text: str) -> str:
    """``text`` with a space for each character that must not reach the engine, so of the same length.

    These are control and format characters (espeak-ng reads commands behind U+0001), surrogates, emoji and pictographs
    (it would read out their names) and marks of markdown.
    """
    out = [" " if _silent(c) else c for c in text]
    for match in re.finditer(r"(?:^|(?<=\s))#+(?=\s|$)", text):  # a markdown heading
        out[match.start() : match.end()] = " " * len(match.group())
    return "".join(out)


def _silent(c: str) -> bool:
    if c < "\x7f":
        return c < " " or c in _MARKUP
    category = unicodedata.category(c)
    if category in _UNSEEN or "\ufe00" <= c <= "\ufe0f" or c == "\u20e3":
        return True
    return c >= "\u2190" and (category in ("So", "Sk") or (category == "Sm" and c <= "\u21ff"))


def pause_s(text: str, rate_wpm: int) -> float:
    """Seconds of silence that belong behind ``text`` when more follows, by its last mark; 0.0 where it has none."""
    last = spoken_form(text).rstrip(" \t\n\"'”’)]}»")[-1:]
    return _PAUSES_S.get(last, 0.0) * math.pow(150 / rate_wpm, _PAUSE_EXPONENT)


def pieces(text: str, limit: int = MAX_PIECE_CHARS) -> list[Piece]:
    """Cut ``text`` into pieces of at most ``limit`` characters: sentences, or clauses of long ones.

    Returns an empty list where nothing of it can be spoken. The words of all pieces, joined by spaces, are the text with
    its white space normalised (a run of over 80 characters without a space counts as several words).
    """
    spoken = spoken_form(text)
    result: list[Piece] = []
    group: list[Token] = []
    words = _words(text, spoken)
    for i, word in enumerate(words):
        if group and word.end - group[0].start > limit:
            split = next((k for k in range(len(group), len(group) // 3, -1) if ends_clause(group[k - 1].text)), len(group))
            result.append(_piece(spoken, group[:split]))
            group = group[split:]
        group.append(word)
        following = words[i + 1] if i + 1 < len(words) else None
        if following is None:
            break
        numbering = len(group) == 1 and word.text.rstrip(".").isdigit()
        if (
            "\n" in text[word.end : following.start]
            or (ends_sentence(word.text, following.text[:1]) and not numbering)
            or (ends_clause(word.text) and word.end - group[0].start >= _CLAUSE_CHARS)
        ):
            result.append(_piece(spoken, group))
            group = []
    if group:
        result.append(_piece(spoken, group))
    return result


def _words(text: str, spoken: str) -> list[Token]:
    """The words of ``text``; what is silent alone (a dash, an emoji) goes with the word before it, or else after it."""
    ranges: list[tuple[int, int]] = []
    silent: tuple[int, int] | None = None  # a run of silent signs that waits for a word after it
    for match in re.finditer(rf"\S{{1,{_MAX_WORD_CHARS}}}", text):
        start, end = match.span()
        if speakable(spoken[start:end]):
            ranges.append((start if silent is None else silent[0], end))
            silent = None
        elif silent is not None:
            silent = (silent[0], end)
        elif ranges and "\n" not in text[ranges[-1][1] : start]:
            ranges[-1] = (ranges[-1][0], end)
        else:
            silent = (start, end)
    if ranges and silent is not None:
        ranges[-1] = (ranges[-1][0], silent[1])
    return [Token(" ".join(text[start:end].split()), start, end) for start, end in ranges]


def _piece(spoken: str, group: list[Token]) -> Piece:
    start, end = group[0].start, group[-1].end
    body = spoken[start:end]
    # espeak-ng is silent for 140 ms before a quote or bracket that opens a text; nobody should wait for that.
    lead = len(body) - len(body.lstrip("".join(_OPENING) + " "))
    body = " " * lead + body[lead:]
    return Piece(body, tuple(Token(t.text, t.start - start, t.end - start) for t in group))
