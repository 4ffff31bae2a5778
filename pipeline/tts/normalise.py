"""A written reply made ready to be spoken, while it is still being written: markdown, emoji, addresses, numbers, short forms.

Pure. Text goes in as it comes, in pieces of any size; ``Unit``s come out, each the words as they are written and the words to
say for them, so that times of what is said can be given to what is written. Whatever the pieces were, the units are the same.

A written word is complete at the white space behind it, and waits longer only where the next word may change it: "$5" before
"million", "No." before a number.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from pipeline.tts import numbers, reading
from pipeline.tts.short_forms import ABBREVIATIONS, BEFORE_NUMBER, ENDINGS, MONTHS
from pipeline.tts.spoken_text import spoken_form

MAX_WORD_CHARS = 80
"""A longer run without white space counts as several words."""
_WIDE_ENDS = "。！？，、；"
_OPENERS = "\"'“‘([{«¿¡"
_MARKS = ".,!?;:…。！？，、；"
_CLOSERS = "\"'”’)]}»"
_BULLETS = frozenset("-*+•‣◦·–—>")
_HALF_DAYS = {"am": "a.m.", "a.m": "a.m.", "pm": "p.m.", "p.m": "p.m."}
_DIGITS = "0123456789"
_MONTH_NAMES = frozenset(MONTHS) | {word.title() for word, name in BEFORE_NUMBER.items() if name in MONTHS}

_TARGET = re.compile(r"\]\((?:[^()\s]|\([^()\s]*\))*\)?|\]\[[^\]\s]*\]?|\[\^[^\]\s]*\]?")
_TAG = re.compile(r"</?[a-z][a-z0-9]*(?:\s*/)?>", re.I)
_AUTOLINK = re.compile(r"<((?:https?|ftp|mailto):[^<>\s]+|[^<>\s@]+@[^<>\s@]+)>", re.I)
_BLANK = re.compile(r"_{2,}([.,!?;:]*)")
_ESCAPE = re.compile(r"\\(?=[!-/:-@\[-`{-~])")
_TIMES = re.compile(r"(?<=[0-9])\*(?=[0-9])")
_BROKEN_TAG = re.compile(r"""</?(?=[a-z])|(?<=[\w"'])\s*/?>$""", re.I)
_REPLACED = dict.fromkeys(map(ord, "[]*`~\xad\u200b\u200d\ufe0f\u20e3")) | {0x2010: "-", 0x2011: "-"}
_LONELY_MARKS = re.compile(r"(?<=\S)\s+(?=[.,!?;:…]+(?:\s|$))")
_EDGE_UNDERSCORES = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")


@dataclass(frozen=True, slots=True)
class Unit:
    """``written``: one or more words as they stand in the text, marks and markup included. ``spoken``: the words to say for
    them, none where they are silent."""

    written: tuple[str, ...]
    spoken: tuple[str, ...]


def spoken(text: str) -> str:
    """What is said for all of ``text``, for an engine that takes whole pieces; empty where nothing is."""
    normaliser = Normaliser()
    return " ".join(word for unit in normaliser.feed(text) + normaliser.flush() for word in unit.spoken)


class _Wait(Exception):
    """What follows must be known first."""


@dataclass(frozen=True, slots=True)
class _Written:
    text: str
    starts_line: bool
    ends_line: bool


class _Ahead:
    """What follows a word: the next word, or what there is of it. ``known``: it is complete, or there is none."""

    def __init__(self, text: str, known: bool) -> None:
        self._text = text
        self._known = known

    def first(self) -> str:
        """Its first character, quotes and markup aside; empty at the end."""
        shown = self._text.lstrip(_OPENERS + "*_`~")[:1]
        if not shown and not self._known:
            raise _Wait
        return shown or self._text[:1]

    def one_of(self, words: tuple[str, ...]) -> str:
        """The next word without its marks where it is one of ``words``, else empty."""
        if self._known:
            bare = self._text.rstrip(_MARKS + _CLOSERS)
            return bare if bare in words else ""
        if any(word.startswith(self._text) or self._text.startswith(word) for word in words):
            raise _Wait
        return ""


_END = _Ahead("", True)
_SCALE_WORDS = ("thousand", "million", "billion", "trillion")
_HALF_DAY_WORDS = ("am", "pm", "a.m", "p.m", "AM", "PM", "A.M", "P.M")


class Normaliser:
    """Takes one reply."""

    def __init__(self) -> None:
        self._partial = ""
        self._line_start = True
        self._next_starts_line = True
        self._waiting: list[_Written] = []
        self._last = ""

    def feed(self, text: str) -> list[Unit]:
        """Further text; returns what is ready to be said, in order."""
        for c in text:
            self._take(c)
        return self._resolve(final=False)

    def flush(self) -> list[Unit]:
        """The reply is complete; returns the rest of it. A new reply may follow."""
        self._close(ends_line=False)
        units = self._resolve(final=True)
        self._last, self._next_starts_line = "", True
        return units

    def _take(self, c: str) -> None:
        if c.isspace():
            self._close(ends_line=c in "\n\r")
            if c in "\n\r":
                self._next_starts_line = True
            return
        if not self._partial:
            self._line_start, self._next_starts_line = self._next_starts_line, False
        self._partial += c
        if len(self._partial) >= MAX_WORD_CHARS or c in _WIDE_ENDS:
            self._close(ends_line=False)

    def _close(self, *, ends_line: bool) -> None:
        if self._partial:
            self._waiting.append(_Written(self._partial, self._line_start, ends_line))
            self._partial = ""

    def _resolve(self, *, final: bool) -> list[Unit]:
        units: list[Unit] = []
        while self._waiting:
            word = self._waiting[0]
            if word.ends_line:
                ahead = _END
            elif len(self._waiting) > 1:
                ahead = _Ahead(self._waiting[1].text, True)
            else:
                ahead = _END if final else _Ahead(self._partial, False)
            try:
                spoken, taken = self._say(word, ahead)
            except _Wait:
                break
            units.append(Unit(tuple(w.text for w in self._waiting[:taken]), tuple(spoken)))
            self._last = self._waiting[taken - 1].text
            del self._waiting[:taken]
        return units

    def _say(self, word: _Written, ahead: _Ahead) -> tuple[list[str], int]:
        """The words to say for ``word``, and how many written words they are for."""
        bare = _without_markup(word)
        parts = bare.split()
        spoken: list[str] = []
        taken = 1
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            follows = ahead if last else _Ahead(parts[i + 1], True)
            said, took = self._part(part, follows, parts[i - 1] if i else self._last)
            spoken += said
            taken = took if last else 1
        if taken > 1:
            word = self._waiting[taken - 1]
        if word.ends_line and spoken and spoken[-1][-1] not in _MARKS + _CLOSERS + "-":
            # A title, or the item of a list: the voice must not run on into the next line.
            spoken[-1] += ","
        return spoken, taken

    def _part(self, part: str, ahead: _Ahead, before: str) -> tuple[list[str], int]:
        lead, body, tail = _split(part)
        if not body:
            return self._marks(part, ahead, before), 1
        for rule in (self._two_words, self._abbreviation, self._after_another):
            found = rule(body, tail, ahead, before)
            if found is not None:
                return found
        said = reading.read(body)
        return _dress(lead, said, tail, changed=said != [body]), 1

    def _marks(self, part: str, ahead: _Ahead, before: str) -> list[str]:
        """A word without letter or digit."""
        if part in ("-", "–", "−") and before[-1:] in tuple(_DIGITS):
            return ["minus"] if ahead.first() in tuple(_DIGITS) else []
        return reading.read(part)

    def _two_words(self, body: str, tail: str, ahead: _Ahead, before: str) -> tuple[list[str], int] | None:
        if tail:
            return None
        if body[-1] in _DIGITS and reading.money(body) and (scale := ahead.one_of(_SCALE_WORDS)):
            return _dress("", reading.money(body, scale) or [], self._tail_of_next(), changed=True), 2
        if _is_day(body) and (month := ahead.one_of(MONTHS)):
            return _dress("", ["the", *numbers.ordinal(body).split(), "of", month], self._tail_of_next(), changed=True), 2
        if reading.on_the_hour(body):
            return reading.clock(body, half=bool(ahead.one_of(_HALF_DAY_WORDS))) or [], 1
        return None

    def _tail_of_next(self) -> str:
        return _split(_without_markup(self._waiting[1]).strip())[2]

    def _abbreviation(self, body: str, tail: str, ahead: _Ahead, before: str) -> tuple[list[str], int] | None:
        if not tail.startswith("."):
            return None
        rest, key = tail[1:], body.lower()
        if key in BEFORE_NUMBER and not rest:
            return (BEFORE_NUMBER[key].split(), 1) if ahead.first() in tuple(_DIGITS) else None
        if key in ABBREVIATIONS:
            return _dress("", ABBREVIATIONS[key].split(), rest, changed=True), 1
        if body == "St" and not rest:
            follows, capital = ahead.first(), before[:1].isupper()
            if follows.isupper() and not capital:
                return ["Saint"], 1
            return ["Street" + ("" if follows.islower() else ".")], 1
        if key in ENDINGS:
            ends = not rest and not (ahead.first().islower() or ahead.first() in tuple(_DIGITS))
            return _dress("", ENDINGS[key].split(), "." if ends else rest, changed=True), 1
        return None

    def _after_another(self, body: str, tail: str, _ahead: _Ahead, before: str) -> tuple[list[str], int] | None:
        """Words that mean something of their own behind a number or a month."""
        if _is_day(body) and before.rstrip(".") in _MONTH_NAMES:
            return _dress("", numbers.ordinal(body).split(), tail, changed=True), 1
        if before[-1:] not in tuple(_DIGITS):
            return None
        if half := _HALF_DAYS.get(body.lower()):
            return _dress("", [half], tail.removeprefix("."), changed=True), 1
        if said := reading.unit(body, one=before == "1"):
            return _dress("", said, tail, changed=True), 1
        return None


def _is_day(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 2 and 1 <= int(word) <= 31


def _dress(lead: str, said: list[str], tail: str, *, changed: bool) -> list[str]:
    """Put the marks around what is said; brackets and quotes stay only where the word is as it was."""
    if not said:
        return []
    if changed:
        lead = ""
        tail = "".join(c for c in tail if c in _MARKS)
        if said[-1][-1] in _MARKS and tail:
            tail = tail.lstrip(".,") if said[-1][-1] == "." else tail
    first = [lead + said[0], *said[1:]]
    return [*first[:-1], first[-1] + tail]


def _split(part: str) -> tuple[str, str, str]:
    """Opening marks, the word, closing marks; the word is empty where there is no letter, digit or sign in it."""
    body = part.lstrip(_OPENERS)
    if body.startswith((".", "'")) and len(body) > 1 and body[1] in _DIGITS:
        pass  # ".5", "'90s"
    else:
        body = body.lstrip(_MARKS)
    if part != body and part[: len(part) - len(body)].endswith(("'", "‘")) and re.fullmatch(r"[0-9]0s\W*", body):
        body = "'" + body
    lead = part[: len(part) - len(body)]
    core = body.rstrip(_MARKS + _CLOSERS)
    if not any(c.isalnum() for c in core):
        return part, "", ""
    return lead, core, body[len(core) :]


def _without_markup(word: _Written) -> str:
    """``word`` without markdown, tags and signs that nobody says; several words where those stood between them."""
    text = word.text
    if word.starts_line and (text in _BULLETS or not text.strip("#") or (text.startswith("```") and word.ends_line)):
        return ""
    if blank := _BLANK.fullmatch(text):
        return "" if word.starts_line and word.ends_line else f"blank{blank[1]}"
    text = _AUTOLINK.sub(r"\1", text)
    text = _BROKEN_TAG.sub("", _TAG.sub(" ", text))
    text = html.unescape(text)
    text = _TARGET.sub("", text).replace("![", "")
    if "://" not in text and "@" not in text:
        text = _ESCAPE.sub("", text)
        text = _TIMES.sub("×", text)
        if text.startswith("~") and text[1:2].isdigit():
            text = "about " + text[1:]
        text = _EDGE_UNDERSCORES.sub("", text)
        if "_" in text:
            text = text.replace("_", " ")
    text = text.replace("|", " ").translate(_REPLACED)
    # A sentence's mark that stood behind an emoji goes to the word before.
    return _LONELY_MARKS.sub("", spoken_form(text))
