"""A guess at how a word sounds that is not in the pronunciation dictionary, in the dictionary's own phones (ARPAbet).

A learner's "goed" is a known word with a regular ending, which gives a good guess; a made-up word or a foreign name falls
back to letter-to-sound rules, which give a poor one. That suffices for a grammar, where a word only has to sound more like
itself than like the alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]
"""A word's phones, separated by spaces, or ``None`` where the dictionary has none."""

MAX_LETTERS = 24

_VOICELESS = frozenset({"P", "T", "K", "F", "TH", "S", "SH", "CH", "HH"})
_SIBILANT = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_ENDINGS = {"ing": "IH NG", "er": "ER", "est": "AH S T", "ly": "L IY", "ness": "N AH S", "ful": "F AH L", "less": "L AH S"}

# Longest spelling first within each length; one reading each, the commonest in running English.
_SPELLINGS = {
    "tion": "SH AH N", "sion": "ZH AH N", "ough": "AO", "augh": "AO", "eigh": "EY", "tch": "CH", "dge": "JH", "igh": "AY",
    "sch": "SH", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "kn": "N",
    "wr": "R", "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW", "oi": "OY", "oy": "OY", "ai": "EY", "ay": "EY",
    "au": "AO", "aw": "AO", "ei": "IY", "ey": "IY", "ie": "IY", "oa": "OW", "ue": "UW", "ew": "UW", "ar": "AA R", "er": "ER",
    "ir": "ER", "or": "AO R", "ur": "ER", "ce": "S", "ci": "S IH", "cy": "S IY", "ge": "JH",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K",
    "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W",
    "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip


def tokens(reply: str) -> list[str]:
    """The words of a reply as the dictionary spells them: lower case, apostrophes kept, hyphens and punctuation split off.

    A word with a digit or a letter outside a-z is kept, so that ``pronounce`` can refuse it.
    """
    plain = reply.lower().replace("’", "'").replace("‘", "'")
    return [w for w in (part.strip("'") for part in re.findall(r"[\w']+", plain)) if w]


def pronounce(word: str, lookup: Lookup) -> str | None:
    """Phones for ``word``: the dictionary's, or a guess; ``None`` where its spelling says nothing (digits, other scripts)."""
    if known := lookup(word):
        return known
    letters = word.replace("'", "")
    if not re.fullmatch(r"[a-z]+", letters) or len(letters) > MAX_LETTERS:
        return None
    return _regular_form(letters, lookup) or _compound(letters, lookup) or _by_letters(letters)


def _regular_form(word: str, lookup: Lookup) -> str | None:
    if word.endswith("ed") and (stem := _stem(word, "ed", lookup)):
        last = stem.split()[-1]
        return f"{stem} IH D" if last in ("T", "D") else f"{stem} {'T' if last in _VOICELESS else 'D'}"
    if word.endswith("s") and not word.endswith("ss") and (stem := lookup(word[:-1]) or _stem(word, "es", lookup)):
        last = stem.split()[-1]
        return f"{stem} IH Z" if last in _SIBILANT else f"{stem} {'S' if last in _VOICELESS else 'Z'}"
    for ending, phones in _ENDINGS.items():
        if word.endswith(ending) and (stem := _stem(word, ending, lookup)):
            return f"{stem} {phones}"
    return None


def _stem(word: str, ending: str, lookup: Lookup) -> str | None:
    """Phones of the word before its ending: go-ed, mak(e)-ed, stopp-ed, tri-ed."""
    base = word[: -len(ending)]
    if len(base) < 2 or not word.endswith(ending):
        return None
    candidates = [base, base + "e"]
    if len(base) > 2 and base[-1] == base[-2]:
        candidates.append(base[:-1])
    if base.endswith("i"):
        candidates.append(base[:-1] + "y")
    return next((phones for c in candidates if (phones := lookup(c))), None)


def _compound(word: str, lookup: Lookup) -> str | None:
    for cut in range(len(word) - 3, 2, -1):
        first, second = lookup(word[:cut]), lookup(word[cut:])
        if first and second:
            return f"{first} {second}"
    return None


def _by_letters(word: str) -> str:
    spelled = word[:-1] if len(word) > 3 and word.endswith("e") and word[-2] not in "aeiouy" else word
    phones: list[str] = []
    at = 0
    while at < len(spelled):
        for length in (4, 3, 2, 1):
            piece = spelled[at : at + length]
            if len(piece) == length and piece in _SPELLINGS:
                sound = _SPELLINGS[piece].split()
                if not (phones and length == 1 and sound == phones[-1:]):  # a doubled letter sounds once
                    phones += sound
                at += length
                break
    return " ".join(phones)
