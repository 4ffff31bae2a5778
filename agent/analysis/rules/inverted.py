"""Subject and verb where the verb comes first, in relative clauses, and with two subjects."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import FAMILY, MASS, PERSON
from agent.analysis.rules.sentence import SURE, Candidate, Sentence

_PLAIN = {"is": "are", "was": "were", "does": "do", "has": "have"}
_THIRD = {plural: singular for singular, plural in _PLAIN.items()}
_GROUPS = wordset(
    """
    family team class group staff government company police lot couple majority number rest half
    """
)


def questions(s: Sentence) -> Iterator[Candidate]:
    """ "Where do your brother live?", "Is your parents at home?", "Are there a bank near here?"."""
    for i in range(len(s)):
        word = s.w(i)
        if word not in _PLAIN and word not in _THIRD:
            continue
        if not (i == 0 or s.t(i - 1) in ("WH", "UH", "PUNCT") or (s.t(i - 2) == "WH" and s.t(i - 1) in ("NN", "NNS"))):
            continue
        k = i + 1 + (s.t(i + 1) == "NOT")
        if s.w(k) == "there" and word in ("is", "was", "are", "were"):
            yield from _there(s, i, k + 1)
            continue
        if s.t(k) not in ("DT", "PRPS") or s.w(k) in ("that", "this", "all", "both", "any", "no", "some"):
            continue
        head = s.phrase_end(k)
        if head is None or s.w(head) in _GROUPS or s.w(head + 1) in ("and", "or", "'s", "'", "of") or s.t(head) == "NNP":
            continue
        if word in ("do", "does", "has", "have") and s.t(head + 1) not in ("VB", "VBP", "VBZ", "VBN", "RB"):
            continue
        if word in ("has", "have") and s.t(s.skip(head + 1)) != "VBN":
            continue
        if s.t(head) == "NNS" and word in _PLAIN and s.w(k) not in ("a", "an", "every", "each", "one"):
            if word in ("is", "was") and s.words[-1:] != ["?"]:
                continue
            if s.w(head) in ("news", "series", "physics", "mathematics", "economics", "politics"):
                continue
            yield Candidate(i, i + 1, (_PLAIN[word],), "R:VERB:SVA", "The subject is plural.", SURE)
        elif s.t(head) == "NN" and word in ("do", "are", "were") and s.words[-1:] == ["?"]:
            if s.w(k) in ("these", "those") or (word != "do" and s.t(head + 1) in ("NN", "NNS", "CC")):
                continue
            yield Candidate(i, i + 1, (_THIRD[word],), "R:VERB:SVA", "The subject is singular.", SURE)


def _there(s: Sentence, i: int, k: int) -> Iterator[Candidate]:
    head = s.phrase_end(k)
    if head is None:
        return
    if (
        s.w(i) in ("are", "were")
        and s.w(k) in ("a", "an")
        and s.t(head) == "NN"
        and s.w(head) not in (*_GROUPS, "few", "variety")
    ):
        yield Candidate(i, i + 1, (_THIRD[s.w(i)],), "R:VERB:SVA", "Before a singular one asks 'is there'.", SURE)
    if s.w(i) in ("is", "was") and s.t(head) == "NNS" and s.w(k) not in ("a", "an", "no", "one") and s.w(head) not in ("news",):
        yield Candidate(i, i + 1, (_PLAIN[s.w(i)],), "R:VERB:SVA", "Before a plural one asks 'are there'.", SURE)


def relatives(s: Sentence) -> Iterator[Candidate]:
    """ "The students who studies", "a man who work"."""
    for i in range(1, len(s)):
        if s.w(i) not in ("who", "that") or s.t(i - 1) not in ("NN", "NNS"):
            continue
        person = s.w(i - 1) in PERSON
        if s.w(i) == "that" and not person:
            continue
        v = s.skip(i + 1)
        if s.t(v) not in ("VBP", "VBZ", "VB") or s.w(v).startswith("'"):
            continue
        if s.t(i - 1) == "NNS" and s.t(v) == "VBZ" and "one" not in s.words[max(0, i - 5) : i] and "each" not in s.words[:i]:
            base = _PLAIN.get(s.w(v)) or s.lemma(v)
            yield Candidate(v, v + 1, (base,), "R:VERB:SVA", "The relative clause speaks of several.", 0.0)
        if s.t(i - 1) == "NN" and person and s.t(v) in ("VBP", "VB") and s.w(i - 1) not in ("everyone", "people"):
            if s.w(i) == "that" and s.t(i - 2) not in ("DT", "PRPS", "JJ"):
                continue
            if s.w(i - 3) in ("of", "and") or s.w(i - 4) == "of" or s.w(v) == inflect(s.lemma(v), "VBD"):
                continue
            third = inflect(s.lemma(v), "VBZ")
            if third:
                yield Candidate(v, v + 1, (third,), "R:VERB:SVA", "The relative clause speaks of one person.", 0.0)


def two_subjects(s: Sentence) -> Iterator[Candidate]:
    """ "My mother and my father lives", "My sister and I goes"."""
    for i in range(len(s)):
        if i != 0 and s.t(i - 1) != "PUNCT" and s.w(i - 1) not in ("because", "when", "that"):
            continue
        first = i if s.t(i) in ("NNP", "PRP") else s.phrase_end(i)
        if first is None or s.w(first + 1) != "and" or not _somebody(s, first):
            continue
        second = first + 2 if s.t(first + 2) in ("PRP", "NNP") else s.phrase_end(first + 2)
        if second is None or not _somebody(s, second):
            continue
        v = s.skip(second + 1)
        if (s.t(v) == "VBZ" and not s.w(v).startswith("'")) or s.w(v) == "was":
            if s.w(second + 1) in (",",):
                continue
            base = _PLAIN.get(s.w(v)) or s.lemma(v)
            yield Candidate(v, v + 1, (base,), "R:VERB:SVA", "Two subjects take a plural verb.", SURE)


def _somebody(s: Sentence, i: int) -> bool:
    return s.w(i) in PERSON | FAMILY or s.t(i) == "NNP" or s.w(i) in ("i", "he", "she", "you")


def with_something(s: Sentence) -> Iterator[Candidate]:
    """ "The boy with the red shoes run"."""
    if s.t(0) not in ("DT", "PRPS"):
        return
    head = s.phrase_end(0)
    if head is None or s.t(head) != "NN" or s.w(head) not in PERSON or s.w(head + 1) not in ("with", "in", "on", "from"):
        return
    end = s.phrase_end(head + 2)
    if end is None or s.w(end + 1) in ("and", "or"):
        return
    if s.t(end + 1) in ("VBP", "VB") and s.w(head) not in MASS and s.w(end + 1) != inflect(s.lemma(end + 1), "VBD"):
        third = inflect(s.lemma(end + 1), "VBZ")
        if third and s.lemma(end + 1) != "be":
            yield Candidate(end + 1, end + 2, (third,), "R:VERB:SVA", f"The subject is '{s.w(head)}'.", 0.0)


RULES = (questions, relatives, two_subjects, with_something)
