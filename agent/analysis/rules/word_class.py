"""A word of one class in the place of another: "the develop of", "a success person", "a very happily day"."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import lemmas
from agent.analysis.english.usage import knows
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.sentence import SURE, Candidate, Sentence

_NOUN_OF = {
    "develop": "development",
    "improve": "improvement",
    "grow": "growth",
    "educate": "education",
    "pollute": "pollution",
    "invent": "invention",
    "protect": "protection",
    "decide": "decision",
    "choose": "choice",
    "employ": "employment",
    "communicate": "communication",
    "explain": "explanation",
    "describe": "description",
    "destroy": "destruction",
    "produce": "production",
    "arrive": "arrival",
    "agree": "agreement",
    "discuss": "discussion",
    "advertise": "advertisement",
    "compete": "competition",
    "celebrate": "celebration",
    "inform": "information",
    "beautiful": "beauty",
    "important": "importance",
    "different": "difference",
    "difficult": "difficulty",
    "dangerous": "danger",
    "healthy": "health",
    "free": "freedom",
    "poor": "poverty",
}
_ADJECTIVE_OF = {
    "success": "successful",
    "danger": "dangerous",
    "health": "healthy",
    "wealth": "wealthy",
    "confidence": "confident",
    "beauty": "beautiful",
    "happiness": "happy",
    "intelligence": "intelligent",
    "importance": "important",
    "difference": "different",
    "independence": "independent",
    "patience": "patient",
    "honesty": "honest",
}
_THINGS = wordset(
    """
    person people man woman men women city place country life animal thing things job student friend child way idea
    problem question day
    """
)


def nouns(s: Sentence) -> Iterator[Candidate]:
    """ "the develop of", "an advise", "the important of"."""
    for i in range(len(s)):
        word = s.w(i)
        if (
            word in _NOUN_OF
            and s.w(i + 1) == "of"
            and s.w(i - 1) in ("the", "this", "our", "their", "a", "an", "his", "her", "my")
        ):
            if word in ("free", "poor", "beautiful", "different") and s.w(i - 1) in ("a", "an"):
                continue
            yield Candidate(i, i + 1, (_NOUN_OF[word],), "R:MORPH", f"The noun is '{_NOUN_OF[word]}'.", SURE)
        if word in ("advise", "advises") and (
            s.t(i - 1) in ("DT", "PRPS") or s.w(i - 1) in ("good", "some", "useful", "of", "any")
        ):
            if s.w(i - 1) in ("an", "a"):
                yield Candidate(i - 1, i + 1, ("advice",), "R:NOUN", "The noun is 'advice', and it takes no 'a'.", SURE)
            else:
                yield Candidate(i, i + 1, ("advice",), "R:NOUN", "The noun is 'advice'.", SURE)


def adjectives(s: Sentence) -> Iterator[Candidate]:
    """ "a success person", "a very happily day"."""
    for i in range(len(s)):
        word = s.w(i)
        if (
            word in _ADJECTIVE_OF
            and s.w(i + 1) in _THINGS
            and s.w(i - 1) in ("a", "an", "the", "very", "some", "many", "more", "most", "are", "is")
        ):
            words = (_ADJECTIVE_OF[word],)
            yield Candidate(i, i + 1, words, "R:MORPH", f"The adjective is '{words[0]}'.", 0.0)
        if (
            s.t(i) == "RB"
            and word.endswith("ly")
            and s.t(i + 1) == "NN"
            and (s.w(i - 1) in ("a", "an", "very", "the") or s.t(i - 1) == "PRPS")
        ):
            adjective = word[:-3] + "y" if word.endswith("ily") else word[:-2]
            if "ADJ" in lemmas(adjective) and knows(adjective) and s.t(i + 2) in ("PUNCT", "", "IN", "CC", "WH", "TO", "RB"):
                yield Candidate(i, i + 1, (adjective,), "R:MORPH", f"Before a noun stands the adjective: {adjective}.", 1.0)


RULES = (nouns, adjectives)
