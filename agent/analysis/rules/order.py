"""Word order: questions, reported questions, adverbs, adjectives."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect, lemmas
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import FREQUENCY
from agent.analysis.rules.sentence import SURE, VERBS, Candidate, Sentence

_AUX = wordset(
    """
    am is are was were can could will would should have has do does did must may might 'll
    """
)
_WHY = "In a question the auxiliary stands before the subject."


def questions(s: Sentence) -> Iterator[Candidate]:
    """ "What you are doing?", "Where you live?", "Why you don't like it?"."""
    if s.words[-1:] != ["?"]:
        return
    start = 1 if s.t(0) in ("UH", "CC") else 0
    if s.t(start) == "PUNCT":
        start += 1
    if s.t(start) != "WH" or s.w(start) in ("who", "whose") or s.w(start) == "that":
        return
    k = start + 1
    if s.w(start) == "how" and s.w(k) in ("many", "much", "long", "old", "often", "far", "about"):
        if s.w(k) == "about":
            return
        k += 1
        if s.w(k - 1) in ("many", "much"):
            end = s.phrase_end(k)
            k = end + 1 if end is not None else k
    elif (
        s.w(start) in ("what", "which")
        and s.t(k) == "NN"
        and s.w(k) in ("time", "kind", "color", "colour", "day", "music", "food", "sport")
    ):
        if s.w(k) == "kind":
            end = s.phrase_end(k + 2)
            k = end if end is not None else k
        k += 1
    if s.w(k) not in ("i", "you", "he", "she", "it", "we", "they"):
        return
    v = k + 1
    if s.w(v) in _AUX and s.t(v) in (*VERBS, "MD"):
        if s.t(v + 1) == "NOT":
            if s.w(v) == "do" or s.w(v) in ("does", "did") or s.t(v) == "MD":
                yield Candidate(
                    k,
                    v + 2,
                    (
                        s.w(v) + s.w(v + 1) if s.w(v + 1) == "n't" else s.w(v),
                        s.text(k),
                        *(("not",) if s.w(v + 1) == "not" else ()),
                    ),
                    "R:WO",
                    _WHY,
                    SURE,
                )
            return
        if s.w(v) in ("have", "has", "do", "did", "does") and s.t(v + 1) not in ("VBN", "VBD", "VB", "RB"):
            aux = "does" if s.w(v) in ("has", "does") else "did" if s.w(v) == "did" else "do"
            yield Candidate(k, v + 1, (aux, s.text(k), s.lemma(v)), "R:WO", _WHY, SURE)
            return
        yield Candidate(k, v + 1, (s.w(v), s.text(k)), "R:WO", _WHY, SURE)
        return
    v = s.skip(v)
    if s.t(v) in ("VBP", "VBZ", "VBD", "VB") and s.w(v) not in ("'re", "'s", "'m", "'ll", "'d", "'ve"):
        aux = "did" if s.t(v) == "VBD" else "does" if s.w(k) in ("he", "she", "it") else "do"
        base = s.lemma(v)
        yield Candidate(
            k,
            v + 1,
            (aux, s.text(k), *(s.text(x) for x in range(k + 1, v)), base),
            "R:WO",
            "A question needs an auxiliary before the subject: do, does or did.",
            SURE,
        )


def reported(s: Sentence) -> Iterator[Candidate]:
    """ "Can you tell me what time is it?", "I don't know where is he"."""
    for i in range(1, len(s)):
        if s.t(i) != "WH" or s.w(i) not in ("what", "where", "when", "why", "how", "who", "which"):
            continue
        asked = (
            s.lemma(i - 1) in ("know", "tell", "wonder", "understand", "remember", "forget", "ask", "explain", "show", "see")
            and s.t(i - 1) in VERBS
        )
        asked = asked or (
            s.w(i - 1) in ("me", "us", "him", "her", "them") and s.lemma(i - 2) in ("tell", "ask", "show", "explain", "teach")
        )
        if not asked:
            continue
        k = i + 1
        if (
            s.w(i) in ("what", "which")
            and s.t(k) in ("NN", "NNS")
            and s.w(k) in ("time", "day", "color", "colour", "kind", "language", "year", "bus", "train")
        ) or (s.w(i) == "how" and s.t(k) in ("JJ", "RB")):
            k += 1
        verb = s.w(k)
        if verb in ("is", "are", "was", "were", "can", "will", "should"):
            subject = k + 1 if s.t(k + 1) == "PRP" and s.w(k + 1) in ("i", "you", "he", "she", "it", "we", "they") else None
            if (
                subject is None
                and s.t(k + 1) in ("DT", "PRPS")
                and verb in ("is", "are", "was", "were")
                and s.w(i) in ("where", "how", "what", "who", "when")
            ):
                end = s.phrase_end(k + 1)
                if end is not None and s.t(end + 1) in ("PUNCT", "") and s.w(i) in ("where", "how"):
                    subject = end
            if subject is None:
                continue
            if (
                verb in ("is", "are", "was", "were")
                and s.w(subject) == "it"
                and s.w(subject + 1) in ("like", "that")
                and s.w(i) == "what"
            ) and s.w(subject + 1) == "that":
                continue
            words = (*(s.text(x) for x in range(k + 1, subject + 1)), verb)
            yield Candidate(k, subject + 1, words, "R:WO", "A reported question keeps the order of a statement.", SURE)
        elif (
            verb in ("do", "does", "did")
            and s.w(k + 1) in ("i", "you", "he", "she", "it", "we", "they")
            and s.t(s.skip(k + 2)) in ("VB", "VBP")
        ):
            if s.t(k + 2) == "NOT":
                continue
            v = k + 2
            form = s.w(v) if verb == "do" else inflect(s.lemma(v), "VBZ" if verb == "does" else "VBD")
            if form:
                yield Candidate(
                    k, v + 1, (s.text(k + 1), form), "R:WO", "A reported question keeps the order of a statement.", SURE
                )


def frequency(s: Sentence) -> Iterator[Candidate]:
    """ "We go always to the same restaurant", "I always am"."""
    for i in range(len(s)):
        if s.w(i) not in FREQUENCY:
            continue
        v = i - 1
        if (
            s.t(v) in ("VBP", "VBZ", "VBD")
            and s.lemma(v) not in ("be", "have", "do")
            and s.w(v) not in ("'s", "'d")
            and s.t(v - 1) == "PRP"
            and s.w(i) in ("always", "never", "usually", "often", "rarely")
        ) and (
            s.t(i + 1) in ("TO", "IN", "DT", "PRPS", "RB", "JJ", "NN", "NNS")
            and not (s.w(i) in ("often", "usually") and s.t(i + 1) in ("PUNCT", ""))
            and s.t(i - 2) != "VB"
            and s.w(i + 1) not in ("before", "enough", "as", "because")
        ):
            if (
                (s.w(i) == "never" and s.t(i + 1) in ("RB", "JJ"))
                or s.t(i + 1) == "JJ"
                or s.lemma(v) in ("say", "think", "seem", "know", "feel", "look", "come")
            ):
                continue
            yield Candidate(v, i + 1, (s.w(i), s.text(v)), "R:WO", f"'{s.w(i).capitalize()}' stands before the verb.", SURE)
    for i in range(len(s)):
        # "I like very much music"
        if (
            s.w(i) in ("like", "love", "enjoy", "liked", "loved", "enjoyed", "likes", "loves")
            and s.seq(i + 1, "very much")
            and s.t(i + 3) in ("NN", "NNS", "DT", "PRPS", "NNP", "VBG", "PRP", "JJ")
        ):
            end = s.phrase_end(i + 3) if s.t(i + 3) != "PRP" else i + 3
            if end is not None:
                yield Candidate(
                    i + 1,
                    end + 1,
                    (*(s.text(x) for x in range(i + 3, end + 1)), "very", "much"),
                    "R:WO",
                    "'Very much' stands after the object.",
                    SURE,
                )
        # "I speak very well English"
        if (
            s.lemma(i) in ("speak", "play", "know")
            and s.t(i) in VERBS
            and s.w(i + 1) in ("very", "well")
            and (s.w(i + 1) == "well" or s.w(i + 2) == "well")
        ):
            at = i + 2 if s.w(i + 1) == "well" else i + 3
            if s.t(at) in ("NNP", "NN", "DT", "JJ") and s.w(at) not in ("with", "today"):
                end = s.phrase_end(at) if s.t(at) != "NNP" else at
                if s.t(at) == "JJ" and s.t(at + 1) in ("PUNCT", ""):
                    end = at
                if end is not None:
                    yield Candidate(
                        i + 1,
                        end + 1,
                        (*(s.text(x) for x in range(at, end + 1)), *(s.w(x) for x in range(i + 1, at))),
                        "R:WO",
                        "How it is done stands after the object.",
                        SURE,
                    )


_COLORS = wordset(
    """
    red blue green yellow black white brown grey gray big small new old expensive beautiful
    """
)


def adjective_after_noun(s: Sentence) -> Iterator[Candidate]:
    """ "a car red and big"."""
    for i in range(len(s)):
        if (
            s.w(i) in ("a", "an")
            and s.t(i + 1) == "NN"
            and s.w(i + 2) in _COLORS
            and s.t(i + 2) in ("JJ", "NN")
            and "ADJ" in lemmas(s.w(i + 2))
        ):
            noun = s.text(i + 1)
            if s.lemma(i - 1) in (
                "make",
                "find",
                "keep",
                "paint",
                "call",
                "consider",
                "leave",
                "want",
                "such",
                "than",
                "as",
                "quite",
                "like",
            ):
                continue
            if s.w(i + 3) == "and" and s.w(i + 4) in _COLORS and s.t(i + 5) in ("PUNCT", "", "IN"):
                yield Candidate(
                    i + 1,
                    i + 5,
                    (s.text(i + 2), "and", s.text(i + 4), noun),
                    "R:WO",
                    "The adjective stands before its noun.",
                    SURE,
                )
            elif s.t(i + 3) in ("PUNCT", "") and s.w(i + 2) in (
                "red",
                "blue",
                "green",
                "yellow",
                "black",
                "white",
                "brown",
                "grey",
                "gray",
                "beautiful",
                "expensive",
                "big",
                "small",
            ):
                if s.w(i + 1) in (
                    "bit",
                    "lot",
                    "bright",
                    "light",
                    "dark",
                    "navy",
                    "sky",
                    "little",
                    "day",
                    "week",
                    "month",
                    "year",
                ) or s.words[-1:] == ["?"]:
                    continue
                yield Candidate(i + 1, i + 3, (s.text(i + 2), noun), "R:WO", "The adjective stands before its noun.", SURE)


RULES = (questions, reported, frequency, adjective_after_noun)
