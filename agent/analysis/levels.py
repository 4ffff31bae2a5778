"""Which CEFR levels the learner's words belong to. A profile of the words that were used, never the learner's level.

The levels are those of the package cefrpy: levels of word lists, carried over to further words by how rare these are. Its list
is noisy, so a word is counted only where it can be trusted: typed or heard well, listed with a part of speech, neither a name
nor a sound of hesitation. Without a parser the part of speech is open; a word counts at the lowest level that any of its parts
of speech has, so that nothing is overstated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agent.analysis.words import learner_turns, said, tokens
from agent.record import CallRecord, Turn

if TYPE_CHECKING:
    from cefrpy import CEFRAnalyzer

LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")

_NAMES = frozenset({"NNP", "NNPS"})
_OF_NAMES = frozenset({"NNP", "NNPS", "JJ"})
_HESITATIONS = frozenset({"ah", "aha", "eh", "er", "erm", "hm", "hmm", "huh", "mhm", "mm", "oh", "uh", "um"})
_LETTERS = frozenset({"a", "i"})
"""The one-letter words; any other single letter is a letter's name."""
_SHORTENED = {"won't": "will", "can't": "can", "shan't": "shall"}
_NOT = re.compile(r"n't$")
_CLITIC = re.compile(r"'(?:m|re|s|ve|ll|d)$")
_INSIDE = re.compile(r"(?<=[^.!?…:;\"“”\s]\s)[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A word whose predecessor does not end a sentence."""


def levels(record: CallRecord) -> dict[str, Any]:
    """``{"profile": {"A1": n, …, "C2": n}, "words": n, "note"}``: different words by level, and how many could be placed.

    ``profile`` always has all six levels. ``words`` is their sum. ``note`` says what was counted and what was left out.
    """
    different = _different_words(record)
    placed = [level for word, name in different.items() if not name and (level := level_of(word)) is not None]
    counts = Counter(placed)
    left = len(different) - len(placed)
    if not different:
        note = "No word was typed or heard well."
    else:
        note = (
            f"Levels of {len(placed)} different words that were typed or heard well, each at the lowest level that it has; "
            f"{left} left out: names, or in no list. This is a profile of the words used, not your level."
        )
    return {"profile": {level: counts[level] for level in LEVELS}, "words": len(placed), "note": note}


def word_levels(turns: Sequence[Turn]) -> dict[str, str]:
    """The level of each different sure word in ``turns`` that has one and is no name."""
    return {word: level for word, name in _different(turns).items() if not name and (level := level_of(word)) is not None}


def level_of(word: str) -> str | None:
    """The level of a word in lower case, or ``None`` where the list does not hold it as a word with a part of speech."""
    plain = _SHORTENED.get(word) or _CLITIC.sub("", _NOT.sub("", word))
    if plain in _HESITATIONS or (len(plain) < 2 and plain not in _LETTERS) or not plain.isascii() or not plain.isalpha():
        return None
    found: dict[str, float] = _list().get_pos_level_dict_for_word(plain, pos_tag_as_string=True, word_level_as_float=True)
    # "Madrid" is listed as a name and as an adjective, "mark" as a name and a verb; only the latter is a word of its own.
    if not found or (found.keys() & _NAMES and not found.keys() - _OF_NAMES):
        return None
    return LEVELS[min(max(round(min(found.values())), 1), 6) - 1]


def _different_words(record: CallRecord) -> dict[str, bool]:
    """The different sure words, each with whether it was never anything but a name."""
    return _different(learner_turns(record))


def _different(turns: Sequence[Turn]) -> dict[str, bool]:
    different: dict[str, bool] = {}
    for turn in turns:
        names = _names(turn.text)
        for token in (token for word in said(turn) if word.sure for token in tokens(word.text)):
            different[token] = different.get(token, True) and token in names
    return different


def _names(text: str) -> set[str]:
    """Words of ``text``, in lower case, that have a capital letter inside a sentence. "I" is none."""
    if text.upper() == text:
        return set()
    inside = _INSIDE.findall(text)
    return {word.lower().replace("’", "'") for word in inside if word[0].isupper() and not re.match(r"I(?:$|['’])", word)}


@lru_cache(maxsize=1)
def _list() -> CEFRAnalyzer:
    # Loaded with the first report: its 2.5 MB are read and checked in some 0.2 s.
    from cefrpy import CEFRAnalyzer

    return CEFRAnalyzer()
