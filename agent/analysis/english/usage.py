"""How usual words are together: the trigram model of English that the embedded recogniser brings along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache

from pocketsphinx import NGramModel, get_model_path

_BASE = math.log10(1.0001)
UNKNOWN = -7.0
"""log10 probability that stands for a word which the model does not know."""


@cache
def _model() -> NGramModel:
    return NGramModel.readfile(get_model_path("en-us/en-us.lm.bin"))


@lru_cache(maxsize=1 << 17)
def log10_p(*words: str) -> float:
    """log10 P(last word | the one or two before it), lower case; ``<s>`` and ``</s>`` are the ends of a sentence."""
    # The model takes the predicted word first and the history backwards; it reads its integers in base 1.0001.
    value = _model().prob(list(reversed(words[-3:])))
    return float(max(value * _BASE, UNKNOWN))


def knows(word: str) -> bool:
    """Whether ``word`` (lower case) is in the model's vocabulary."""
    return log10_p(word) > UNKNOWN


def joint(first: str, second: str) -> float:
    """The probability of two words in a row."""
    return float(10 ** (log10_p(first) + log10_p(first, second)))


def sentence_log10(words: Sequence[str]) -> float:
    """log10 probability of a whole sentence of lower-case words."""
    padded = ("<s>", *words, "</s>")
    return sum(log10_p(*padded[max(0, i - 2) : i + 1]) for i in range(1, len(padded)))


def difference(before: Sequence[str], after: Sequence[str]) -> float:
    """How many powers of ten likelier ``after`` is than ``before``, a word more or less not counted.

    A longer sentence is less likely only for being longer: each word more is credited with ``WORD_CREDIT``.
    """
    return sentence_log10(after) - sentence_log10(before) + WORD_CREDIT * (len(after) - len(before))


WORD_CREDIT = 1.0
