"""Number and form of nouns, and the possessive."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect, noun_lemma
from agent.analysis.english.tagging import SAME_IN_PLURAL
from agent.analysis.english.usage import knows
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import FAMILY, IRREGULAR_PLURALS, MASS, NEVER_A, PURE_MASS
from agent.analysis.rules.sentence import NOUNS, SURE, Candidate, Sentence

_NUMBERS = wordset(
    """
    two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty hundred many
    several few both various
    """
)
NEVER_COUNTED = NEVER_A | wordset(
    "water coffee tea milk time money work english rice hair help love fun energy pressure stress attention respect"
)
_UNIT_WORDS = wordset("percent dozen hundred thousand million billion o'clock pm am x degree p.m a.m")


def after_number(s: Sentence) -> Iterator[Candidate]:
    """ "two brother", "many student", "a lot of car"."""
    for i in range(len(s)):
        word = s.w(i)
        number = word in _NUMBERS or (s.t(i) == "CD" and word.isdecimal() and 2 <= int(word) < 1000)
        if word in ("few", "several", "many") and s.w(i + 1) in ("a", "an", "of", "more", "other"):
            number = s.w(i + 1) in ("more", "other") and number
        start = i + 1
        if s.seq(i, "a lot of") or s.seq(i, "a number of") or s.seq(i, "a couple of"):
            start, number = i + 3, True
        elif s.seq(i, "lots of") or s.seq(i, "plenty of"):
            start, number = i + 2, True
        if not number:
            continue
        if s.w(start) in ("more", "other", "different", "new"):
            start += 0
        head = s.phrase_end(start)
        if head is None or s.t(head) != "NN" or head > start + 2 or s.t(head + 1) in ("POS", "NNP", "CD"):
            continue
        noun = s.w(head)
        if s.t(start) == "NN" and head > start:
            continue
        if (
            noun in (NEVER_COUNTED if word not in ("a", "lots", "plenty") else MASS)
            or noun in SAME_IN_PLURAL
            or noun in _UNIT_WORDS
            or s.w(start) in _UNIT_WORDS
            or noun.endswith("ing")
        ):
            continue
        if s.w(i - 1) in (
            "a",
            "an",
            "the",
            "this",
            "that",
            "one",
            "per",
            "number",
            "page",
            "chapter",
            "line",
            "section",
            "part",
            "level",
            "room",
            "every",
            "each",
        ) and word not in ("few", "many", "several"):
            # "a three day trip", "page two"
            if not (s.w(i - 1) == "the" and s.t(head + 1) in ("PUNCT", "IN", "VBD", "VBP", "")) or head > start:
                continue
        if s.w(head + 1) == "-" or s.w(i + 1) == "-" or s.t(i - 1) == "CD" or s.w(i - 1) in ("-", "$"):
            continue
        if word in ("few", "many", "several") and s.t(start) == "NN" and noun == "lot":
            continue
        plural = inflect(noun, "NNS")
        if (
            (s.t(i) == "CD" and s.t(i - 1) in ("NN", "NNP", "NNS", "JJ"))
            or not noun_lemma(noun)
            or not plural
            or not knows(plural)
        ):
            continue  # "category 5 storm", "April 2", abbreviations
        if plural != noun:
            need = 0.3 if (number and word in ("both", "various")) or s.w(i) in ("a", "lots", "plenty") else -0.7
            yield Candidate(head, head + 1, (plural,), "R:NOUN:NUM", "After a number or 'many' the noun is plural.", need)


def one_of(s: Sentence) -> Iterator[Candidate]:
    """ "one of the best teacher"."""
    for i in range(len(s)):
        if (
            s.w(i + 1) == "of"
            and s.w(i) in ("one", "some", "many", "several", "most", "two", "three", "both", "few", "any", "each")
            and (s.w(i + 2) in ("the", "these", "those") or s.t(i + 2) == "PRPS")
        ):
            head = s.phrase_end(i + 2)
            if head is None or s.t(head) != "NN" or s.w(head) in SAME_IN_PLURAL or s.t(head + 1) == "POS":
                continue
            if s.w(i) in ("some", "most", "any", "many") and s.w(head) in MASS:
                continue
            if s.w(i) in ("some", "most", "any") or s.w(head) in ("family", "team", "group", "class", "staff", "lot", "time"):
                continue
            plural = inflect(s.w(head), "NNS")
            if plural and s.w(head) not in MASS:
                yield Candidate(
                    head,
                    head + 1,
                    (plural,),
                    "R:NOUN:NUM",
                    f"After '{s.w(i)} of the' the noun is plural.",
                    SURE if s.w(i) == "one" else -0.5,
                )
        if (
            s.w(i) == "all"
            and s.t(i + 1) == "PRPS"
            and s.t(i + 2) == "NN"
            and s.w(i + 2) in FAMILY | {"book", "student", "classmate", "toy", "problem", "question", "thing", "dream"}
        ):
            yield Candidate(
                i + 2,
                i + 3,
                (str(inflect(s.w(i + 2), "NNS")),),
                "R:NOUN:NUM",
                "After 'all my' a countable noun is plural.",
                SURE,
            )


def wrong_forms(s: Sentence) -> Iterator[Candidate]:
    """ "childs", "informations"."""
    for i in range(len(s)):
        word = s.w(i)
        if word in IRREGULAR_PLURALS and not (s.text(i)[0].isupper() and i > 0):
            yield Candidate(
                i, i + 1, (IRREGULAR_PLURALS[word],), "R:NOUN:INFL", f"The plural is '{IRREGULAR_PLURALS[word]}'.", SURE
            )
        if word in PURE_MASS and s.t(i) in ("NNS", "NNP") and (s.t(i - 1) != "PRP"):
            if word in ("works", "researches", "progresses", "breads", "sands", "mails") and s.t(i) != "NNS":
                continue
            if word == "works" and s.t(i - 1) not in ("PRPS",):
                continue
            yield Candidate(
                i, i + 1, (PURE_MASS[word],), "R:NOUN:NUM", f"'{PURE_MASS[word]}' is uncountable: it has no plural.", SURE
            )
        if word in ("mans", "womans") and s.w(i + 1) == "'":
            continue


_OWNED = wordset("car house bike phone birthday name party book room computer wedding job family dog cat flat apartment bag")


def possessive(s: Sentence) -> Iterator[Candidate]:
    """ "my brother bike"."""
    for i in range(len(s)):
        if (
            s.t(i) == "PRPS"
            and s.w(i + 1) in FAMILY
            and s.t(i + 2) == "NN"
            and s.t(i + 3) not in (*NOUNS, "VBG")
            and s.w(i + 1) != "friend"
            and knows(s.w(i + 2))
        ):
            if (
                s.w(i + 2)
                in (
                    "today",
                    "yesterday",
                    "tomorrow",
                    "tonight",
                    "home",
                    "alone",
                    "figure",
                    "role",
                    "tongue",
                    "board",
                    "training",
                    "in",
                    "law",
                )
                or s.t(i + 2) == "VBG"
            ):
                continue
            yield Candidate(
                i + 1,
                i + 2,
                (s.text(i + 1) + "'s",),
                "M:NOUN:POSS",
                "Whose it is: my brother's …",
                SURE if s.w(i + 2) in _OWNED else -1.5,
            )


RULES = (after_number, one_of, wrong_forms, possessive)
