"""Adjectives and adverbs: comparison, -ing or -ed, adjective or adverb."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import all_forms, inflect, lemmas
from agent.analysis.english.usage import knows
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import LANGUAGES, WRONG_COMPARISONS
from agent.analysis.rules.sentence import NOUNS, SURE, VERBS, Candidate, Sentence

_SHORT = wordset(
    """
    easy big small tall short old young new hot cold warm cool fast slow happy heavy cheap rich poor strong weak hard
    soft long high low nice fine large busy dirty clean safe funny pretty early late near dark light loud thin
    thick fat sad bad good dry wet healthy lazy noisy ugly crazy angry hungry lucky close deep wide
    """
)
_FEELINGS = {
    "boring": "bored",
    "interesting": "interested",
    "exciting": "excited",
    "tiring": "tired",
    "surprising": "surprised",
    "confusing": "confused",
    "disappointing": "disappointed",
    "frightening": "frightened",
    "worrying": "worried",
    "embarrassing": "embarrassed",
    "annoying": "annoyed",
    "shocking": "shocked",
    "amazing": "amazed",
    "depressing": "depressed",
}
_THINGS = {ed: ing for ing, ed in _FEELINGS.items()}
_TO_ADVERB = {
    "beautiful": "beautifully",
    "quick": "quickly",
    "slow": "slowly",
    "careful": "carefully",
    "good": "well",
    "bad": "badly",
    "easy": "easily",
    "quiet": "quietly",
    "happy": "happily",
    "fluent": "fluently",
    "perfect": "perfectly",
    "correct": "correctly",
    "clear": "clearly",
    "serious": "seriously",
    "safe": "safely",
    "polite": "politely",
    "loud": "loudly",
    "nervous": "nervously",
    "regular": "regularly",
    "immediate": "immediately",
    "sudden": "suddenly",
    "different": "differently",
    "angry": "angrily",
    "terrible": "terribly",
    "frequent": "frequently",
    "wonderful": "wonderfully",
    "simple": "simply",
    "proper": "properly",
    "direct": "directly",
    "fair": "fairly",
    "independent": "independently",
    "successful": "successfully",
    "efficient": "efficiently",
}
_ACTIONS = wordset(
    """
    sing play speak drive dance write cook work walk run swim move talk study sleep read paint draw act behave learn
    live eat explain answer express communicate improve perform breathe understand pronounce shout listen dress
    concentrate solve fight
    """
)
_LINKING = wordset(
    """
    be look feel seem sound smell taste become get stay keep remain turn grow make find go fall
    """
)
_PEOPLE = wordset("i we he she they you")


def comparison(s: Sentence) -> Iterator[Candidate]:
    """ "more easy", "more taller", "most coldest", "worser", "taller that me", "as tall than"."""
    for i in range(len(s)):
        word = s.w(i)
        if word in WRONG_COMPARISONS:
            yield Candidate(
                i,
                i + 1,
                tuple(WRONG_COMPARISONS[word].split()),
                "R:ADJ:FORM",
                f"The form is '{WRONG_COMPARISONS[word]}'.",
                SURE,
            )
        if word in ("more", "most"):
            nxt = s.w(i + 1)
            kind = "JJR" if word == "more" else "JJS"
            if s.t(i + 1) == kind or nxt in ("better", "worse", "best", "worst") or _compared(nxt, word):
                if not (word == "most" and s.t(i - 1) == "IN" and s.w(i - 1) == "of") and nxt not in (
                    "more",
                    "most",
                    "less",
                    "least",
                ):
                    if nxt == "best" and s.w(i - 1) in ("of",):
                        continue
                    yield Candidate(i, i + 1, (), "R:ADJ:FORM", f"'{s.text(i + 1)}' is compared already: no '{word}'.", SURE)
            elif (
                nxt in _SHORT
                and (s.t(i + 1) in ("JJ", "RB") or s.w(i + 2) == "than")
                and s.t(i + 2) not in (*NOUNS, "JJ")
                and s.w(i + 2) not in ("and", "or")
            ):
                form = inflect(nxt, kind)
                if form and word == "more" and s.w(i - 1) not in ("no", "any", "once", "some", "a", "and"):
                    yield Candidate(
                        i,
                        i + 2,
                        (form,),
                        "R:ADJ:FORM",
                        f"Short adjectives take an ending: {form}.",
                        -0.5 if s.w(i + 2) == "than" else 0.0,
                    )
            elif word == "most" and s.w(i - 1) == "the" and nxt in _SHORT and s.t(i + 2) in NOUNS:
                form = inflect(nxt, kind)
                if form:
                    yield Candidate(i, i + 2, (form,), "R:ADJ:FORM", f"Short adjectives take an ending: {form}.", SURE)
        if (
            s.t(i) == "JJR"
            and s.w(i + 1) in ("that", "then", "as")
            and word not in ("more", "less", "later", "earlier")
            and s.t(i + 2) in ("PRP", "NNP", "PRPS", "DT")
            and s.w(i - 1) != "the"
        ):
            if s.t(i + 3) in (*VERBS, "MD") and s.w(i + 1) in ("that", "then"):
                continue
            if s.t(i - 1) in ("DT",):
                continue
            yield Candidate(i + 1, i + 2, ("than",), "R:IN", "After a comparative stands 'than'.", -0.5)
        if s.t(i) == "JJ" and word in _SHORT and s.w(i + 1) == "than" and s.w(i - 1) not in ("more", "less", "rather", "other"):
            form = inflect(word, "JJR")
            if form:
                yield Candidate(i, i + 1, (form,), "R:ADJ:FORM", f"Before 'than' stands the comparative: {form}.", 0.0)
        if word == "as" and s.t(i + 1) in ("JJ", "RB") and s.w(i + 2) == "than":
            yield Candidate(i + 2, i + 3, ("as",), "R:IN", "Equal things are compared with 'as … as'.", SURE)
        if word == "same" and s.w(i + 1) in ("than", "like") and s.t(i + 2) in ("PRP", "PRPS", "NNP"):
            yield Candidate(i + 1, i + 2, ("as",), "R:IN", "One says 'the same as'.", SURE)


def _compared(word: str, with_word: str) -> bool:
    end, tag = ("er", "JJR") if with_word == "more" else ("est", "JJS")
    if not word.endswith(end):
        return False
    return any(word in all_forms(base, tag) for base in lemmas(word).get("ADJ", ()) if base != word)


def feelings(s: Sentence) -> Iterator[Candidate]:
    """ "I was very boring", "I am interesting in"; "the film was very bored"."""
    for i in range(len(s)):
        word = s.w(i)
        adverb = s.skip(i - 1, ("RB", "RBR", "NOT"), -1)
        if word in _FEELINGS and s.lemma(adverb) in ("be", "get", "feel", "become"):
            subject = s.skip(adverb - 1, ("RB", "MD", "NOT"), -1)
            if (
                word == "interesting"
                and s.w(i + 1) == "in"
                and s.t(i + 2) not in ("PRPS", "DT_")
                and s.w(i + 2) not in ("many", "some", "this", "that", "a")
            ):
                yield Candidate(
                    i, i + 1, ("interested",), "R:ADJ:FORM", "Who feels it is interested; what causes it is interesting.", SURE
                )
            elif (
                s.w(subject) in ("i", "we")
                and word
                in (
                    "boring",
                    "tiring",
                    "exciting",
                    "confusing",
                    "interesting",
                    "disappointing",
                    "surprising",
                    "worrying",
                    "embarrassing",
                    "shocking",
                    "frightening",
                )
                and s.t(i + 1) not in (*NOUNS, "JJ", "NNP", "PRP", "DT")
            ):
                if (
                    word in ("boring", "interesting", "exciting")
                    and s.t(i + 1) in ("PUNCT", "")
                    and s.w(adverb + 1) not in ("very", "so", "really", "too", "always", "quite")
                    and s.lemma(adverb) != "feel"
                ):
                    continue
                yield Candidate(
                    i,
                    i + 1,
                    (_FEELINGS[word],),
                    "R:ADJ:FORM",
                    f"Who feels it is {_FEELINGS[word]}; what causes it is {word}.",
                    -0.5,
                )
        if (
            word in ("bored", "interested", "excited", "tired", "confused")
            and s.lemma(adverb) == "be"
            and s.w(s.skip(adverb - 1, ("RB",), -1))
            in (
                "film",
                "movie",
                "book",
                "lesson",
                "class",
                "story",
                "game",
                "music",
                "party",
                "job",
                "subject",
                "trip",
                "journey",
                "day",
                "week",
                "lecture",
                "match",
                "it",
            )
            and s.t(i + 1) in ("PUNCT", "", "CC")
        ):
            if (s.w(adverb - 1) == "it" and word != "interested") or s.w(adverb - 1) == "class":
                continue
            yield Candidate(
                i, i + 1, (_THINGS[word],), "R:ADJ:FORM", f"What causes it is {_THINGS[word]}; who feels it is {word}.", SURE
            )


def adverbs(s: Sentence) -> Iterator[Candidate]:
    """ "drives too quick", "plays the violin good", "sings beautiful"."""
    for i in range(len(s)):
        word = s.w(i)
        if word not in _TO_ADVERB or s.t(i) not in ("JJ", "RB", "NN"):
            continue
        after = s.t(i + 1)
        if after in (*NOUNS, "JJ", "NNP", "VBG", "CD") or s.w(i + 1) in ("and", "one", "ones", "or"):
            if not (s.w(i + 1) == "and" and s.t(i + 2) == "RB"):
                continue
        k = s.skip(i - 1, ("RB",), -1)
        if s.lemma(k) in _ACTIONS and s.t(k) in VERBS and s.t(k) not in ("VBN",):
            if s.w(k) in ("looking", "acting") or (s.lemma(k) == "act" and word in ("different", "serious")):
                continue
            yield Candidate(
                i,
                i + 1,
                (_TO_ADVERB[word],),
                "R:MORPH",
                "How something is done is said with an adverb.",
                0.0 if word in ("good", "bad") else -0.7,
            )
            continue
        # Verb + object + adjective.
        if (s.t(k) in (*NOUNS, "PRP", "NNP") or s.w(k) in LANGUAGES) and after in ("PUNCT", "", "IN", "CC"):
            begin = k
            while begin > 0 and s.t(begin - 1) in ("DT", "PRPS", "JJ", *NOUNS, "NNP"):
                begin -= 1
            v = begin - 1
            if (
                s.lemma(v)
                in (
                    "speak",
                    "play",
                    "sing",
                    "drive",
                    "write",
                    "do",
                    "know",
                    "pronounce",
                    "understand",
                    "explain",
                    "learn",
                    "cook",
                    "read",
                    "clean",
                    "finish",
                    "use",
                )
                and s.t(v) in VERBS
                and s.t(begin) != "PRP"
            ):
                if (
                    word == "good"
                    and s.lemma(v) in ("do", "know", "read", "use", "learn", "finish", "clean")
                    and s.w(k) not in ("english", "french", "german", "chinese", "it")
                ):
                    continue
                yield Candidate(i, i + 1, (_TO_ADVERB[word],), "R:MORPH", "How something is done is said with an adverb.", 0.0)


def very(s: Sentence) -> Iterator[Candidate]:
    """ "I very like", "very much happy", "a very danger city", "in peaceful"."""
    for i in range(len(s)):
        if (
            s.w(i) == "very"
            and s.t(i + 1) in ("VB", "VBP", "VBD", "VBZ", "IN")
            and s.w(i + 1)
            in ("like", "love", "enjoy", "want", "liked", "loved", "enjoyed", "likes", "loves", "hate", "wanted", "appreciate")
            and s.t(i - 1) in ("PRP", "NN", "NNP", "NNS")
        ):
            yield Candidate(
                i, i + 1, ("really",), "R:ADV", "A verb takes 'really' before it, or 'very much' after its object.", SURE
            )
        if (
            s.w(i) in ("very", "so", "too", "more", "a")
            and s.t(i + 1) == "NN"
            and s.t(i + 2) == "NN"
            and s.w(i) in ("very", "more")
        ):
            adjective = _ADJECTIVES_OF.get(s.w(i + 1))
            if adjective and knows(adjective):
                yield Candidate(i + 1, i + 2, (adjective,), "R:MORPH", f"The adjective is '{adjective}'.", -0.3)
        if (
            s.w(i) in ("very", "so", "too", "really", "more", "quite")
            and s.w(i + 1) in _ADJECTIVES_OF
            and s.t(i + 1) == "NN"
            and s.lemma(i - 1) in ("be", "look", "feel", "seem", "become")
            and s.t(i + 2) in ("PUNCT", "", "CC", "IN", "TO", "NN")
        ):
            if s.w(i) in ("more",) and s.t(i + 2) != "PUNCT":
                continue
            yield Candidate(
                i + 1,
                i + 2,
                (_ADJECTIVES_OF[s.w(i + 1)],),
                "R:MORPH",
                f"The adjective is '{_ADJECTIVES_OF[s.w(i + 1)]}'.",
                -0.3,
            )
        if s.w(i) == "in" and s.w(i + 1) in ("peaceful", "healthy", "dangerous", "safe") and s.t(i + 2) in ("PUNCT", "", "CC"):
            noun = {"peaceful": "peace", "healthy": "health", "dangerous": "danger", "safe": "safety"}[s.w(i + 1)]
            yield Candidate(i + 1, i + 2, (noun,), "R:MORPH", f"After a preposition stands the noun: {noun}.", 0.0)


_ADJECTIVES_OF = {
    "danger": "dangerous",
    "beauty": "beautiful",
    "health": "healthy",
    "success": "successful",
    "importance": "important",
    "difference": "different",
    "difficulty": "difficult",
    "happiness": "happy",
    "luck": "lucky",
    "noise": "noisy",
    "use": "useful",
    "care": "careful",
    "fame": "famous",
    "wind": "windy",
    "rain": "rainy",
    "sun": "sunny",
    "interest": "interesting",
    "confidence": "confident",
    "patience": "patient",
    "anger": "angry",
    "hunger": "hungry",
    "peace": "peaceful",
    "wonder": "wonderful",
    "friend": "friendly",
    "strength": "strong",
    "wealth": "wealthy",
    "freedom": "free",
    "poverty": "poor",
    "honesty": "honest",
    "kindness": "kind",
    "comfort": "comfortable",
    "stress": "stressful",
    "pain": "painful",
    "safety": "safe",
    "help": "helpful",
}

RULES = (comparison, feelings, adverbs, very)
