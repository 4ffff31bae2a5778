"""Parts of speech: a hidden Markov model over tags, whose emissions come from word forms and from a trigram model.

Nothing here was trained on annotated text but the table of tag-to-tag transitions (``transitions.csv``: counts of
neighbouring tags in the development part of the Universal Dependencies English Web Treebank, as probabilities). Which tags a
word can have comes from the closed classes and from lemminflect's dictionary; how usual each is, from the company the word
keeps in the n-gram model: what often follows "the" is a noun, what follows "to" and "will" an infinitive.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from agent.analysis.english.closed import CLOSED
from agent.analysis.english.forms import all_forms, lemmas, noun_lemma, verb_lemma
from agent.analysis.english.tokens import Token
from agent.analysis.english.usage import joint, knows
from agent.analysis.english.wordset import wordset

OPEN_TAGS = ("NN", "NNS", "VB", "VBP", "VBZ", "VBD", "VBN", "VBG", "JJ", "JJR", "JJS", "RB")
SAME_IN_PLURAL = wordset("people police fish sheep deer series species staff aircraft means cattle")
"""Nouns that are, or can be, plural as they stand."""
_COMPANY: dict[str, tuple[tuple[str, ...], float]] = {
    "NN": (("the", "a", "of", "my", "this", "his"), 2.0),
    "NNS": (("the", "of", "these", "many", "and", "my"), 2.5),
    "VB": (("to", "will", "would", "not", "can", "could"), 1.1),
    "VBP": (("i", "they", "we", "you", "people"), 1.2),
    "VBZ": (("he", "she", "it", "that", "who", "which"), 2.0),
    "VBD": (("he", "she", "i", "they", "it", "and"), 2.0),
    "VBN": (("been", "was", "were", "have", "has", "had", "be"), 1.6),
    "VBG": (("was", "is", "are", "by", "of", "be"), 2.0),
    "JJ": (("very", "so", "more", "is", "was", "be", "a", "the"), 1.6),
    "JJR": (("much", "is", "a", "be"), 2.0),
    "JJS": (("the", "his"), 1.5),
    "RB": (("and", "was", "is", "very", "he", "more"), 2.0),
}
"""Words after which a tag is usual, and by how much their share of the tag's places has to be multiplied to be all of them."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A token with its tag; ``lemma`` is the infinitive, singular or positive form, else the lower-case word."""

    token: Token
    tag: str
    lemma: str

    @property
    def lower(self) -> str:
        """The word, lower case."""
        return self.token.lower


def tag(tokens: list[Token]) -> list[Tagged]:
    """The most likely tags of a sentence (Viterbi)."""
    transitions = _transitions()
    rows: list[dict[str, tuple[float, str]]] = []
    before = {"START": (0.0, "")}
    for i, token in enumerate(tokens):
        row: dict[str, tuple[float, str]] = {}
        for name, score in _emissions(token, i == 0).items():
            row[name] = max((p + transitions[last, name] + score, last) for last, (p, _) in before.items())
        rows.append(row)
        before = row
    if not rows:
        return []
    name = max(rows[-1], key=lambda t: rows[-1][t][0] + transitions[t, "END"])
    names = [name]
    for row in reversed(rows[1:]):
        name = row[name][1]
        names.append(name)
    return [Tagged(token, name, _lemma(token.lower, name)) for token, name in zip(tokens, reversed(names), strict=True)]


@lru_cache(maxsize=1 << 15)
def shares(word: str) -> dict[str, float]:
    """How a lower-case word's uses share among tags, whatever stands around it: at least 1e-4 for each possible tag."""
    if word in CLOSED:
        return CLOSED[word]
    possible = _possible(word)
    if not possible:
        return _guess(word)
    weights = {name: _weight(word, name) for name in possible}
    total = sum(weights.values())
    return {name: max(1e-4, weight / total) for name, weight in weights.items()}


def _weight(word: str, name: str) -> float:
    if not knows(word):
        return 1.0
    company, factor = _COMPANY[name]
    return factor * sum(joint(before, word) for before in company)


def _possible(word: str) -> set[str]:
    found = lemmas(word)
    possible = set()
    if noun := noun_lemma(word):
        possible.add("NN" if noun == word else "NNS")
        if word in SAME_IN_PLURAL:
            possible.add("NNS")
    if (verb := verb_lemma(word)) and "VERB" in found:
        possible |= {name for name in ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG") if word in all_forms(verb, name)}
    if adjective := found.get("ADJ"):
        comparative = word not in adjective and word.endswith("er")
        superlative = word not in adjective and word.endswith("est")
        possible.add("JJR" if comparative else "JJS" if superlative else "JJ")
    if "ADV" in found:
        possible.add("RB")
    return possible


def _guess(word: str) -> dict[str, float]:
    """Tags of a word that no dictionary has, by its end."""
    if word[0].isdecimal():
        return {"CD": 1.0}
    if "-" in word:
        return {"JJ": 0.6, "NN": 0.4}
    for end, guess in (
        ("ing", {"VBG": 0.7, "NN": 0.3}),
        ("ed", {"VBD": 0.5, "VBN": 0.4, "JJ": 0.1}),
        ("ly", {"RB": 0.95, "JJ": 0.05}),
        ("ous", {"JJ": 1.0}),
        ("ful", {"JJ": 1.0}),
        ("able", {"JJ": 1.0}),
        ("tion", {"NN": 1.0}),
        ("ness", {"NN": 1.0}),
        ("ment", {"NN": 1.0}),
        ("s", {"NNS": 0.8, "VBZ": 0.1, "NN": 0.1}),
    ):
        if word.endswith(end) and len(word) > len(end) + 2:
            return dict(guess)
    return {"NN": 0.6, "JJ": 0.15, "VB": 0.1, "VBP": 0.05, "NNP": 0.1}


def _emissions(token: Token, first: bool) -> dict[str, float]:
    """log P(word | tag) + a constant, for the tags that the token can have."""
    if token.kind == "mark":
        return {"PUNCT": 0.0}
    if token.kind == "number":
        return {"CD": 0.0}
    of = dict(shares(token.lower))
    if token.text[0].isupper() and not first and token.lower != "i" and not token.text.isupper():
        known = token.lower in CLOSED
        of = {name: share * (0.3 if known else 0.03) for name, share in of.items()}
        of["NNP"] = of.get("NNP", 0.0) + (0.1 if known else 0.97)
    elif first and token.text[0].isupper() and token.lower not in CLOSED:
        of["NNP"] = of.get("NNP", 0.0) + (0.02 if knows(token.lower) and _possible(token.lower) else 1.0)
    priors = _priors()
    return {name: math.log(max(share, 1e-5) / priors[name]) for name, share in of.items()}


def _lemma(word: str, name: str) -> str:
    if word in _BE:
        return "be"
    if name in ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG"):
        return {"'ve": "have", "'d": "have"}.get(word) or verb_lemma(word) or word
    if name in ("NN", "NNS"):
        return noun_lemma(word) or word
    return word


_BE = frozenset(("am", "is", "are", "was", "were", "be", "been", "being", "'m", "'re"))


@cache
def _table() -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    path = resources.files("agent.analysis.english") / "transitions.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    transitions: dict[tuple[str, str], float] = {}
    priors: dict[str, float] = {}
    for name, prior, *values in rows:
        priors[name] = float(prior)
        transitions |= {(name, to): math.log(float(value)) for to, value in zip(header[2:], values, strict=True)}
    return transitions, priors


def _transitions() -> dict[tuple[str, str], float]:
    return _table()[0]


def _priors() -> dict[str, float]:
    return _table()[1]
