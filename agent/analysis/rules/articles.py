"""Phrases in which an article is fixed: the first time, in the morning, a good time, the United States."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect
from agent.analysis.english.sounds import article
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.determiners import countable
from agent.analysis.rules.lists import FAMILY
from agent.analysis.rules.sentence import NOUNS, SURE, VERBS, Candidate, Sentence

_ORDINALS = wordset("first second third fourth fifth sixth seventh eighth ninth tenth")
_WITH_THE = wordset("netherlands philippines usa uk uae")
_UNIQUE = wordset("sun moon sky internet weather sea")
_ILLS = wordset("cold headache fever toothache stomachache cough temperature backache")


def fixed(s: Sentence) -> Iterator[Candidate]:
    """ "It was first time", "on third floor", "in morning", "had good time", "She has cold", "is only shop", "a lots of"."""
    for i in range(len(s)):
        word = s.w(i)
        before = s.w(i - 1)
        if (
            word in _ORDINALS
            and (s.lemma(i - 1) == "be" or before in ("on", "in", "for", "at", "of", "win", "won", "got"))
            and s.w(i + 1)
            in (
                "time",
                "floor",
                "day",
                "year",
                "month",
                "week",
                "place",
                "prize",
                "part",
                "person",
                "one",
                "lesson",
                "thing",
                "step",
                "grade",
                "page",
                "half",
            )
        ):
            if before in ("of", "in", "at", "for", "won", "win", "got") and s.w(i + 1) in (
                "place",
                "grade",
                "year",
                "one",
                "prize",
                "day",
            ):
                continue
            yield Candidate(i, i, ("the",), "M:DET", "An ordinal number before a noun goes with 'the'.", SURE)
        if word == "in" and s.w(i + 1) in ("morning", "evening", "afternoon") and s.t(i + 2) not in NOUNS:
            yield Candidate(i + 1, i + 1, ("the",), "M:DET", f"The phrase is 'in the {s.w(i + 1)}'.", SURE)
        if (
            s.lemma(i) == "have"
            and s.t(i) in VERBS
            and s.w(i + 1) in ("good", "great", "nice", "wonderful", "bad", "fantastic")
            and s.w(i + 2) == "time"
        ):
            yield Candidate(i + 1, i + 1, ("a",), "M:DET", "The phrase is 'have a good time'.", SURE)
        if (
            s.lemma(i) == "have"
            and s.t(i) in VERBS
            and s.w(i + 1) in _ILLS
            and (s.t(i + 2) in ("PUNCT", "", "CC", "IN") or s.w(i + 2) in ("today", "now"))
        ):
            yield Candidate(i + 1, i + 1, ("a",), "M:DET", f"One has a {s.w(i + 1)}.", SURE)
        if (
            word == "only"
            and s.lemma(i - 1) == "be"
            and s.t(i + 1) == "NN"
            and countable(s.w(i + 1))
            and s.w(i + 2) in ("in", "that", "who", "of", "which", "i", "here")
        ):
            yield Candidate(i, i, ("the",), "M:DET", "The one and only goes with 'the'.", SURE)
        if word == "a" and s.w(i + 1) == "lots" and s.w(i + 2) == "of":
            yield Candidate(i, i + 1, (), "U:DET", "One says 'lots of' or 'a lot of'.", SURE)
        if word in ("every", "each") and s.w(i + 1) in ("the", "a"):
            yield Candidate(i + 1, i + 2, (), "U:DET", f"After '{word}' stands no article.", SURE)
        if word in _WITH_THE and (before in ("in", "to", "from", "of") or i == 0) and s.t(i + 1) not in NOUNS:
            yield Candidate(i, i, ("the",), "M:DET", "This name goes with 'the'.", SURE)
        if s.seq(i, "united states") or s.seq(i, "united kingdom"):
            if before in ("in", "to", "from", "of", "visit", "left", "") and s.t(i - 1) != "PUNCT":
                yield Candidate(i, i, ("the",), "M:DET", "This name goes with 'the'.", SURE)
        if i == 0 and word in _UNIQUE and s.t(1) in ("VBZ", "VBD", "MD"):
            yield Candidate(0, 0, ("the",), "M:DET", f"There is only one: the {word}.", SURE)


def pairs(s: Sentence) -> Iterator[Candidate]:
    """ "I have dog and cat", "I like apple and banana", "fruits and vegetable"."""
    for i in range(len(s)):
        nxt = i + 2
        if s.w(i + 1) not in ("and", "or") or s.t(nxt) != "NN" or s.t(nxt + 1) in (*NOUNS, "POS", "VBZ", "VBD", "MD", "NNP"):
            continue
        if s.t(i) == "NN" and countable(s.w(i)) and countable(s.w(nxt)) and s.w(i) not in FAMILY and s.w(i) != s.w(nxt):
            verb = s.lemma(i - 1) if s.t(i - 1) in VERBS else ""
            why = "A singular countable noun needs a determiner; in general one says the plural."
            if verb in ("have", "buy", "see", "need", "want", "get"):
                words = (article(s.w(i)), s.text(i), s.w(i + 1), article(s.w(nxt)), s.text(nxt))
                yield Candidate(i, nxt + 1, words, "M:DET", why, 1.0)
            elif verb in ("like", "love", "hate", "eat", "prefer", "enjoy", "grow", "sell"):
                plurals = (inflect(s.w(i), "NNS"), s.w(i + 1), inflect(s.w(nxt), "NNS"))
                if all(plurals):
                    yield Candidate(i, nxt + 1, tuple(str(p) for p in plurals), "R:NOUN:NUM", why, 0.0)
        elif s.t(i) == "NNS" and countable(s.w(nxt)) and s.t(nxt + 1) in ("PUNCT", "") and s.t(i - 1) not in ("CC",):
            plural = inflect(s.w(nxt), "NNS")
            if plural and s.w(i) != plural:
                yield Candidate(nxt, nxt + 1, (plural,), "R:NOUN:NUM", "A singular countable noun needs a determiner.", 0.7)


def body(s: Sentence) -> Iterator[Candidate]:
    """ "He has blue eye", "I brush my tooth"."""
    for i in range(len(s)):
        if (
            s.lemma(i) == "have"
            and s.t(i + 1) == "JJ"
            and s.w(i + 2) in ("eye", "leg", "hand", "ear")
            and s.t(i + 3) in ("PUNCT", "", "CC")
        ):
            yield Candidate(i + 2, i + 3, (str(inflect(s.w(i + 2), "NNS")),), "R:NOUN:NUM", "One has two of them.", SURE)
        if s.lemma(i) in ("brush", "clean", "wash") and s.t(i + 1) == "PRPS" and s.w(i + 2) in ("tooth", "hand"):
            yield Candidate(
                i + 2, i + 3, (str(inflect(s.w(i + 2), "NNS")),), "R:NOUN:NUM", "One has more than one of them.", SURE
            )


RULES = (fixed, pairs, body)
