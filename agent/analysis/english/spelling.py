"""Misspelt words and what was meant: Harper's suggestions, chosen by the n-gram model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import harper

from agent.analysis.english.forms import lemmas
from agent.analysis.english.usage import difference, knows

LEAD = 0.7
"""How much likelier (powers of ten) the sentence must be with the suggestion than with the next best one."""
GAIN = 1.0
"""How much likelier it must be than as it stands, an unknown word counting as one in ten million."""
EDIT_COST = 1.2
"""Taken off the gain for each edit of the word after the first."""
SHORT = 5
"""Words up to this length are believed to be misspelt by one edit only: a foreign name is rarely that near to a word."""
_MAX_SUGGESTIONS = 8


def misspelt(word: str) -> bool:
    """Whether no dictionary of American and British English has ``word`` (lower case, letters only).

    Short words and those without a vowel are taken for abbreviations.
    """
    return (
        len(word) > 3
        and word.isalpha()
        and bool(set(word) & set("aeiouy"))
        and not knows(word)
        and not lemmas(word)
        and bool(_suggestions(word))
    )


def meant(words: Sequence[str], at: int) -> str | None:
    """What was meant by the misspelt ``words[at]`` in a sentence of lower-case words, or ``None`` where that is not sure."""
    before = list(words)
    gains = []
    for suggestion in _suggestions(words[at]):
        if distance(words[at], suggestion) > (1 if len(words[at]) <= SHORT else 2):
            continue
        after = [*before[:at], *suggestion.split(), *before[at + 1 :]]
        far = EDIT_COST * (distance(words[at], suggestion) - 1)
        gains.append((difference(before, after) - far, suggestion))
    gains.sort(reverse=True)
    if not gains or gains[0][0] < GAIN or (len(gains) > 1 and gains[0][0] - gains[1][0] < LEAD):
        return None
    return gains[0][1]


def distance(a: str, b: str) -> int:
    """Letters inserted, deleted, replaced, or swapped with their neighbour, to make ``b`` of ``a`` (Damerau 1964)."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


@cache
def linter(dialect: harper.Dialect) -> harper.Linter:
    """The process's one linter of a dialect."""
    return harper.Linter(dialect)


@lru_cache(maxsize=4096)
def _suggestions(word: str) -> tuple[str, ...]:
    """Lower-case words that ``word`` may have been meant as; none where it is right in one of the two dialects."""
    found: list[str] = []
    for dialect in (harper.Dialect.AMERICAN, harper.Dialect.BRITISH):
        lints = linter(dialect).organized_lints(word).get("SpellCheck", [])
        if not lints:
            return ()
        found += [s.replacement_text.lower() for lint in lints for s in lint.suggestions]
    return tuple(dict.fromkeys(s for s in found if knows(s)))[:_MAX_SUGGESTIONS]
