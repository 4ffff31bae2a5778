"""The verb that a sentence lacks."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import lemmas, verb_lemma
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import FEMALE, MALE
from agent.analysis.rules.sentence import FINITE, SURE, Candidate, Sentence

_BE = {"i": "am", "he": "is", "she": "is", "it": "is", "we": "are", "you": "are", "they": "are"}
_WHY = "The sentence needs a form of 'be'."
_STATES = wordset(
    """
    happy sad tired hungry thirsty angry busy sick ill afraid ready beautiful nice kind good bad tall short old young
    rich poor late sure sorry interested married single born bored excited scared worried hot cold fine strong important
    difficult easy expensive cheap famous friendly clever smart lazy shy quiet free
    """
)


def copula(s: Sentence) -> Iterator[Candidate]:
    """ "I going", "They happy", "My sister very beautiful", "She a doctor"."""
    for i in range(len(s)):
        word = s.w(i)
        if word in _BE and s.t(i) == "PRP" and s.opens(i):
            if (i > 0 and s.w(i - 1) in ("who", "which", "that", "where", "what", "than", "as", "like", "of")) or s.t(
                i - 1
            ) in ("VB", "VBP", "VBD", "VBG", "VBN", "VBZ"):
                continue
            k = s.skip(i + 1)
            if any(
                s.w(x)
                in (
                    "am",
                    "is",
                    "are",
                    "was",
                    "were",
                    "be",
                    "being",
                    "been",
                    "let",
                    "see",
                    "hear",
                    "make",
                    "makes",
                    "find",
                    "keep",
                    "with",
                    "watch",
                    "do",
                    "does",
                    "did",
                )
                for x in range(max(0, i - 3), i)
            ):
                continue
            if (
                word in ("it", "you")
                and i > 0
                and s.t(i - 1) not in ("PUNCT", "CC", "UH")
                and s.w(i - 1) not in ("because", "when", "if", "so")
            ):
                continue
            nxt = s.w(k)
            finite_after = any(t in FINITE for t in s.tags[k : k + 3])
            if (
                s.t(k) == "VBG"
                and not (finite_after and s.t(k + 1) in ("PUNCT",))
                and nxt not in ("being", "during")
                and k <= i + 2
            ):
                if word in ("it", "you") and i > 0 and s.w(i - 1) in ("and", "but"):
                    continue
                yield Candidate(i + 1, i + 1, (_BE[word],), "M:VERB", "The -ing form needs a form of 'be'.", 0.0)
            elif (
                s.t(k) in ("JJ", "VBN", "VBD")
                and nxt in _STATES
                and s.t(k + 1) in ("PUNCT", "", "IN", "CC", "TO", "RB", "WH")
                and k - i <= 3
            ):
                if s.t(k) == "JJ" or nxt in ("tired", "interested", "married", "born", "bored", "excited", "worried", "scared"):
                    past = any(t == "VBD" for t in s.tags[k + 1 :]) and nxt == "born"
                    be = {"am": "was", "is": "was", "are": "were"}[_BE[word]] if past or nxt == "born" else _BE[word]
                    if nxt in ("married", "excited", "worried", "scared") and s.t(k + 1) not in ("PUNCT", "", "CC"):
                        continue
                    yield Candidate(i + 1, i + 1, (be,), "M:VERB", _WHY, -0.5)
            elif nxt in ("a", "an") and k == i + 1 and word != "it" and s.t(k + 1) in ("NN", "JJ") and not finite_after:
                yield Candidate(i + 1, i + 1, (_BE[word],), "M:VERB", _WHY, 0.0)
    if s.t(0) in ("PRPS", "DT") and not any(t in FINITE for t in s.tags):
        head = s.phrase_end(0)
        if head is None:
            return
        if (
            s.w(head + 1) in ("very", "so", "really", "too")
            and s.t(head + 2) == "JJ"
            and s.w(head + 2) in _STATES | {"interesting", "delicious", "big", "small", "different"}
        ):
            plural = s.t(head) == "NNS"
            yield Candidate(head + 1, head + 1, ("are" if plural else "is",), "M:VERB", _WHY, SURE)
        elif (
            s.w(head) in FEMALE | MALE | {"friend"}
            and s.w(head + 1) in ("a", "an")
            and s.t(head + 2) in ("NN", "JJ")
            and len(s) < 12
        ):
            yield Candidate(head + 1, head + 1, ("is",), "M:VERB", _WHY, SURE)
        elif (
            s.t(head + 1) == "JJ"
            and s.w(head + 1) in _STATES
            and s.t(head + 2) in ("PUNCT", "", "CC")
            and "VERB" not in lemmas(s.w(head))
            and len(s) > 3
        ):
            yield Candidate(head + 1, head + 1, ("are" if s.t(head) == "NNS" else "is",), "M:VERB", _WHY, 0.0)


def negation(s: Sentence) -> Iterator[Candidate]:
    """ "I no like", "he not want", "I not have"."""
    for i in range(len(s)):
        if s.w(i) in ("no", "not") and s.t(i - 1) == "PRP" and s.opens(i - 1) and s.w(i - 1) in _BE:
            nxt = s.w(i + 1)
            if (
                s.t(i + 1) in ("VB", "VBP", "VBZ", "IN")
                and (s.t(i + 1) != "IN" or nxt == "like")
                and "VERB" in lemmas(nxt) | ({"VERB": ()} if nxt in ("have", "like", "want", "know") else {})
            ):
                third = s.w(i - 1) in ("he", "she", "it")
                yield Candidate(
                    i,
                    i + 2,
                    ("doesn't" if third else "don't", verb_lemma(nxt) or nxt),
                    "R:VERB",
                    "A verb is negated with 'do not' or 'does not'.",
                    SURE,
                )
            elif s.t(i + 1) == "JJ" and nxt in _STATES:
                yield Candidate(i, i, (_BE[s.w(i - 1)],), "M:VERB", _WHY, SURE)
    if s.has(frozenset(("n't",))):
        for i in range(len(s)):
            if s.w(i) == "n't" and s.w(i + 2) in ("nothing", "nobody", "nowhere") and s.t(i + 1) in ("VB", "VBP"):
                better = {"nothing": "anything", "nobody": "anybody", "nowhere": "anywhere"}[s.w(i + 2)]
                yield Candidate(i + 2, i + 3, (better,), "R:PRON", "One negation is enough.", SURE)
            if (
                s.w(i) == "n't"
                and s.w(i + 2) == "no"
                and s.t(i + 1) in ("VB", "VBP")
                and s.t(i + 3) in ("NN", "NNS")
                and s.w(i + 3) not in ("one", "longer")
            ):
                yield Candidate(i + 2, i + 3, ("any",), "R:DET", "One negation is enough.", SURE)


RULES = (copula, negation)
