"""Pronouns: their case, who is meant, and the subject that a sentence needs."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.rules.lists import FEMALE, MALE, PERSON
from agent.analysis.rules.sentence import SURE, VERBS, Candidate, Sentence

_SUBJECT = {"him": "he", "her": "she", "them": "they", "us": "we", "me": "I"}
_OBJECT = {"he": "him", "she": "her", "they": "them", "we": "us", "i": "me"}


def case(s: Sentence) -> Iterator[Candidate]:
    """ "him likes football", "me like it", "for he"."""
    for i in range(len(s)):
        word = s.w(i)
        if word in _SUBJECT and (i == 0 or (s.t(i - 1) == "CC" and s.t(i - 2) == "PUNCT") or s.w(i - 1) in ("because", "when")):
            v = s.skip(i + 1)
            if s.t(v) in ("VBZ", "VBD", "MD") or (s.t(v) == "VBP" and word in ("me", "them", "us")):
                if word == "her" and s.t(i) == "PRPS" and s.t(i + 1) not in ("VBZ", "MD", "VBD"):
                    continue
                if (
                    s.w(v) in ("'s", "'d")
                    or (word == "me" and s.w(v) in ("thinks",))
                    or (s.t(v) == "VBD" and i > 0 and s.w(i - 1) in ("and", "or"))
                ):
                    continue
                if word == "us" and s.text(i) == "US":
                    continue
                yield Candidate(
                    i,
                    i + 1,
                    (_SUBJECT[word],),
                    "R:PRON",
                    f"As the subject one says '{_SUBJECT[word]}'.",
                    SURE if i == 0 or s.t(v) != "VBD" else 0.0,
                )
        if (
            word in _OBJECT
            and s.t(i - 1) == "IN"
            and s.w(i - 1) in ("for", "with", "to", "from", "about", "at", "of", "without")
            and s.t(i + 1) in ("PUNCT", "", "IN", "CC")
            and word != "i"
        ):
            if s.w(i - 1) == "of" or s.t(i + 1) == "CC":
                continue
            yield Candidate(i, i + 1, (_OBJECT[word],), "R:PRON", f"After a preposition one says '{_OBJECT[word]}'.", -0.3)
        if word in ("he", "she", "they", "we") and s.w(i - 1) == "to" and s.t(i + 1) in ("PUNCT", ""):
            yield Candidate(i, i + 1, (_OBJECT[word],), "R:PRON", f"After a preposition one says '{_OBJECT[word]}'.", SURE)
        if (
            word in ("my", "your", "our", "their")
            and s.t(i + 1) in ("PUNCT", "")
            and s.lemma(i - 1) in ("be", "than", "like")
            and i == len(s) - 2
        ):
            full = {"my": "mine", "your": "yours", "our": "ours", "their": "theirs"}[word]
            yield Candidate(i, i + 1, (full,), "R:PRON", f"Without a noun one says '{full}'.", SURE)


def objects(s: Sentence) -> Iterator[Candidate]:
    """ "I like he.", "between you and I", "mine car"."""
    for i in range(1, len(s)):
        word = s.w(i)
        if word in ("he", "she", "they", "we") and s.t(i - 1) in VERBS and s.w(i + 1) in (".", "!", "?", "") and i > 1:
            if s.lemma(i - 1) in ("be", "do", "have", "say", "think", "reply", "ask", "cry", "answer") or s.words[-1:] == ["?"]:
                continue
            yield Candidate(i, i + 1, (_OBJECT[word],), "R:PRON", f"As the object one says '{_OBJECT[word]}'.", SURE)
        if s.seq(i - 3, "between you and i"):
            yield Candidate(i, i + 1, ("me",), "R:PRON", "After a preposition one says 'me'.", SURE)
        if (
            word in ("mine", "yours", "hers", "ours", "theirs")
            and s.t(i + 1) in ("NN", "NNS")
            and s.t(i - 1) in (*VERBS, "IN", "CC")
        ):
            if s.lemma(i - 1) == "be":
                continue
            short = {"mine": "my", "yours": "your", "hers": "her", "ours": "our", "theirs": "their"}[word]
            yield Candidate(i, i + 1, (short,), "R:PRON", f"Before a noun one says '{short}'.", SURE)


def gender(s: Sentence) -> Iterator[Candidate]:
    """ "My mother is a cook and he works": only where one person alone has been named."""
    people = [(i, "she" if s.w(i) in FEMALE else "he") for i in range(len(s)) if s.w(i) in FEMALE | MALE and s.t(i) == "NN"]
    if len(people) != 1 or any(t == "NNP" for t in s.tags[1:]):
        return
    at, right = people[0]
    if s.lemma(at + 1) != "be" or s.w(at + 2) not in ("a", "an") or s.has(frozenset(("him", "his", "her", "hers")), at):
        return  # "My sister likes music, and he likes football" may speak of somebody else
    if (
        s.t(at - 1) != "PRPS"
        or s.w(at - 1) not in ("my", "your", "our")
        or at > 2
        or s.t(at + 1) not in ("VBZ", "VBD", "MD", "RB")
    ):
        return
    wrong = "he" if right == "she" else "she"
    others = frozenset(
        (
            "someone",
            "somebody",
            "who",
            "that",
            "teacher",
            "doctor",
            "boss",
            "friend",
            "child",
            "baby",
            "person",
            "student",
            "dog",
            "cat",
            "neighbour",
            "neighbor",
            "colleague",
        )
    )
    if s.has(others, at + 1):
        return
    for i in range(at + 1, len(s)):
        if s.w(i) == wrong and s.opens(i) and s.t(s.skip(i + 1)) in ("VBZ", "VBD", "MD", "VBP"):
            yield Candidate(i, i + 1, (right,), "R:PRON", f"'{s.text(at).capitalize()}' is '{right}'.", SURE)
            return


def relatives(s: Sentence) -> Iterator[Candidate]:
    """ "a friend which lives", "the book who"."""
    for i in range(len(s)):
        if s.w(i) == "which" and s.t(i - 1) in ("NN", "NNS") and s.w(i - 1) in PERSON and s.t(i + 1) in (*VERBS, "MD"):
            yield Candidate(i, i + 1, ("who",), "R:PRON", "People are 'who' (or 'that').", SURE)
        if (
            s.w(i) == "who"
            and s.t(i - 1) in ("NN", "NNS")
            and s.w(i - 1)
            in (
                "book",
                "books",
                "house",
                "car",
                "film",
                "movie",
                "city",
                "thing",
                "things",
                "computer",
                "job",
                "school",
                "country",
                "table",
                "phone",
                "game",
                "games",
                "room",
                "place",
                "problem",
            )
            and s.t(i + 1) in (*VERBS, "MD")
        ):
            if s.w(i - 1) in ("school", "country", "house", "city"):
                continue
            yield Candidate(i, i + 1, ("that",), "R:PRON", "Things are 'which' or 'that'.", SURE)


def missing_subject(s: Sentence) -> Iterator[Candidate]:
    """ "Is very hot today", "because is cold", "I think is good"."""
    if not s.words:
        return
    question = s.words[-1] == "?"
    if (
        s.w(0) in ("is", "was")
        and not question
        and s.t(1) in ("RB", "JJ", "VBG", "DT", "NOT")
        and s.w(1)
        not in ("there", "that", "this", "it", "the", "a", "any", "everyone", "everything", "anyone", "each", "every", "here")
    ) and (
        s.w(1) in ("raining", "snowing")
        or (
            s.t(s.skip(1, ("RB", "NOT"))) == "JJ"
            and (
                s.t(s.skip(1, ("RB", "NOT")) + 1) not in ("NN", "NNS", "NNP")
                or s.w(s.skip(1, ("RB", "NOT")) + 1) in ("today", "tomorrow", "tonight")
            )
        )
    ):
        yield Candidate(0, 1, ("it", s.w(0)), "M:PRON", "An English sentence needs a subject: it is …", SURE)
    for i in range(1, len(s)):
        if (
            s.w(i) in ("is", "was")
            and s.w(i - 1) in ("because", "think", "if", "but")
            and s.t(s.skip(i + 1, ("RB", "NOT"))) in ("JJ", "VBG", "DT")
        ):
            if (s.w(i - 1) == "but" and s.t(i - 2) != "PUNCT") or s.w(i - 1) == "if":
                continue
            if s.w(i - 1) == "but" and i > 3:
                continue  # "The room is small but is clean": the subject may be shared
            if s.w(i - 1) == "think" and (
                s.has(frozenset(("what", "who", "which", "where", "how")), 0, i) or question or s.t(i - 2) not in ("PRP", "RB")
            ):
                continue
            nxt = s.skip(i + 1, ("RB", "NOT"))
            if s.t(nxt) == "DT" and s.w(nxt) not in ("a", "an", "the"):
                continue
            yield Candidate(i, i, ("it",), "M:PRON", "An English clause needs a subject: it is …", 0.0)


def doubled_subject(s: Sentence) -> Iterator[Candidate]:
    """ "My brother he is a doctor"."""
    if (
        s.t(0) == "PRPS"
        and s.w(1) in FEMALE | MALE | {"friend", "friends", "parents", "teacher"}
        and s.w(2) in ("he", "she", "they")
        and s.t(s.skip(3)) in ("VBZ", "VBP", "VBD", "MD")
    ):
        yield Candidate(2, 3, (), "U:PRON", "One subject is enough.", SURE)


def missing_object(s: Sentence) -> Iterator[Candidate]:
    """ "I like very much."."""
    for i in range(len(s)):
        if (
            s.w(i) in ("like", "love", "enjoy", "liked", "loved", "enjoyed")
            and s.t(i - 1) == "PRP"
            and s.seq(i + 1, "very much")
            and s.t(i + 3) in ("PUNCT", "")
            and s.w(i - 2) not in ("that", "which", "who", "what")
            and i <= 3
            and s.w(i + 3) != "?"
        ):
            yield Candidate(i + 1, i + 1, ("it",), "M:PRON", f"'{s.lemma(i).capitalize()}' needs an object.", SURE)


RULES = (case, objects, gender, relatives, missing_subject, doubled_subject, missing_object)
