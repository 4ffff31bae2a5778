"""How words begin when they are spoken."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pocketsphinx import get_model_path

from agent.analysis.english.wordset import wordset

_EITHER = wordset("historic historical historian herb herbs hotel herbal homage history")
_VOWELS = wordset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")


@cache
def _first_sounds() -> dict[str, str]:
    """The first phone of each word of the recogniser's pronouncing dictionary (CMUdict)."""
    firsts: dict[str, str] = {}
    with Path(get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.partition(" ")
            firsts.setdefault(word, phones.split(None, 1)[0])
    return firsts


def known_article(word: str) -> str | None:
    """ "a" or "an" before a word of the dictionary; ``None`` where it is not in there, or begins in both ways."""
    first = _first_sounds().get(word)
    if first is None or word in _EITHER:
        return None
    return "an" if first in _VOWELS else "a"


def article(word: str) -> str:
    """ "a" or "an" before a lower-case ``word``, by its sound; by its letter, if no dictionary has it."""
    first = _first_sounds().get(word)
    vowel = first in _VOWELS if first else word[:1] in "aeiou"
    return "an" if vowel else "a"
