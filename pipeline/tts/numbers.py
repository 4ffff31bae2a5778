"""Numbers as words: what a reader says for digits, money, times, dates and measures. Pure.

The words come from num2words; what is here is which reading a way of writing has. American short scale, British "and" left
to num2words. Everything returns words separated by single spaces, in lower case.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any, cast

from num2words import num2words as _num2words

_MOST_DIGITS = 15
"""A longer run is a code and no amount: its digits are read one by one."""
_YEARS = range(1100, 2100)
_DIGITS = ("oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_HALVES = {2: ("half", "halves"), 4: ("quarter", "quarters")}
VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
"""Fractions that are one character."""

_convert = cast(Callable[..., str], _num2words)


def _words(value: Any, to: str = "cardinal") -> str:
    return _convert(value, lang="en", to=to).replace(",", "")


def digits(text: str) -> str:
    """Each digit of ``text`` by itself; what else it holds is a pause between them and left out."""
    return " ".join("zero" if c == "0" else _DIGITS[int(c)] for c in text if c in "0123456789")


def cardinal(text: str) -> str:
    """A whole number, with or without commas between thousands. Where it has a zero in front, or more than 15 digits, its
    digits one by one."""
    bare = text.replace(",", "")
    if len(bare) > _MOST_DIGITS or (len(bare) > 1 and bare[0] == "0"):
        return digits(bare)
    return _words(int(bare))


def number(text: str) -> str:
    """As ``cardinal``; also with one decimal point, whose places are read one by one."""
    whole, point, places = text.partition(".")
    if not point:
        return cardinal(whole)
    return f"{cardinal(whole) if whole else 'zero'} point {digits(places)}"


def ordinal(text: str) -> str:
    """Such as "21" as "twenty-first"."""
    bare = text.replace(",", "")
    return digits(bare) if len(bare) > _MOST_DIGITS else _words(int(bare), "ordinal")


def is_year(text: str) -> bool:
    """Whether four digits without a comma are read as a year: 1100 to 2099."""
    return len(text) == 4 and text.isascii() and text.isdigit() and int(text) in _YEARS


def year(text: str) -> str:
    """Such as "1999" as "nineteen ninety-nine", "2005" as "two thousand and five"."""
    return _words(int(text), "year")


def decade(text: str) -> str:
    """Ten years: "1990" as "nineteen nineties", "90" as "nineties", "1900" as "nineteen hundreds"."""
    return plural(year(text) if is_year(text) else cardinal(text))


def plain(text: str) -> str:
    """A number that stands alone: a year where it can be one."""
    return year(text) if is_year(text) else number(text)


def fraction(above: int, below: int) -> str:
    """(3, 4) as "three quarters"; "over" where no English fraction has a name for it."""
    if not 2 <= below <= 100 or above < 1 or above >= 100:
        return f"{_words(above)} over {_words(below)}"
    one, more = _HALVES.get(below) or (_words(below, "ordinal"), f"{_words(below, 'ordinal')}s")
    return f"{_words(above)} {one if above == 1 else more}"


def clock(hours: int, minutes: int, *, half: bool) -> str:
    """A time of day; ``half`` where "a.m." or "p.m." follows, so that the full hour needs nothing behind it."""
    if minutes == 0:
        if half:
            return _words(hours)
        return f"{_words(hours)} o'clock" if 1 <= hours <= 12 else f"{_words(hours)} hundred"
    return f"{_words(hours)} {'oh ' if minutes < 10 else ''}{_words(minutes)}"


def is_one(text: str) -> bool:
    """Whether a singular stands behind this number."""
    return text == "1"


def money(amount: str, names: tuple[str, str, str, str], scale: str = "") -> str:
    """An amount: "3.50" of ("dollar", "dollars", "cent", "cents") as "three dollars and fifty cents". ``scale``: "million" and
    its like, which stands between the number and the dollars."""
    one, many, cent, cents = names
    whole, point, places = amount.partition(".")
    if scale or (point and len(places) != 2) or not cent:
        said = number(amount)
        return f"{said} {scale} {many}" if scale else f"{said} {one if is_one(amount) else many}"
    main = f"{cardinal(whole)} {one if is_one(whole) else many}" if whole else ""
    if not point or places == "00":
        return main or f"zero {many}"
    small = f"{_words(int(places))} {cent if int(places) == 1 else cents}"
    return small if not main or not int(whole.replace(",", "")) else f"{main} and {small}"


_EDGES = string.punctuation.replace("'", "")
_PARTS = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|[^0-9]+")


def mixed(text: str) -> list[str]:
    """Letters and digits in one word ("B2", "COVID-19", "MP3"), as separate words; hyphens between them go."""
    said: list[str] = []
    for part in _PARTS.findall(text):
        if part[0] in "0123456789":
            said += plain(part).split()
        else:
            said += [p for p in [part.strip(_EDGES) if any(c.isalnum() for c in part) else ""] if p]
    return said


def plural(word: str) -> str:
    """More than one: "ninety" as "nineties", "six" as "sixes"."""
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("x") else f"{word}s"
