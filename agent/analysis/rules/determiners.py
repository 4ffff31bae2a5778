"""Articles and other determiners."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect
from agent.analysis.english.sounds import article, known_article
from agent.analysis.english.tagging import SAME_IN_PLURAL
from agent.analysis.english.usage import joint, knows, log10_p
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import (
    ALONE,
    LANGUAGES,
    MASS,
    NEVER_A,
    PROFESSIONS,
    SPORTS,
    UNITS,
)
from agent.analysis.rules.sentence import NOUNS, SURE, Candidate, Sentence

_DETERMINED = frozenset(("DT", "PRPS", "POS", "CD", "NNP"))
_BARE_AFTER = wordset(
    """
    by per via as or and nor from no what which whose such kind kinds type types sort sorts form forms & than
    """
)
_PHRASES = """
    at breakfast, at church, at college, at dinner, at first, at hand, at home, at last, at least, at lunch, at
    night, at peace, at play, at risk, at school, at sea, at stake, at table, at university, at war, at work, by
    accident, by chance, by hand, by mistake, for example, for instance, for rent, for sale, have fun, in addition,
    in advance, in bed, in bulk, in case, in charge, in class, in common, in contact, in danger, in demand, in
    detail, in effect, in fact, in front, in future, in general, in hand, in hospital, in line, in love, in mind, in
    need, in order, in part, in particular, in person, in place, in prison, in question, in reality, in response, in
    return, in school, in shape, in sight, in step, in stock, in tears, in time, in touch, in town, in trouble, in
    turn, in use, lose weight, lost weight, made sense, make sense, make sure, makes sense, of age, of course, of
    interest, on average, on board, on camera, on campus, on duty, on earth, on file, on fire, on foot, on hand, on
    holiday, on line, on purpose, on sale, on schedule, on stage, on television, on time, on top, on track, on
    trial, on tv, on vacation, pay attention, play part, take advantage, take care, take part, take place, taken
    place, takes care, takes part, takes place, taking advantage, taking care, taking part, taking place, to bed, to
    church, to class, to college, to school, to sleep, to university, to work, took advantage, took care, took part,
    took place
    """
_FIXED = frozenset(" ".join(phrase.split()) for phrase in _PHRASES.split(","))

A_WHY = "A singular countable noun needs a determiner, such as 'a' or 'the'."


def _bare_share(noun: str) -> float:
    """How often ``noun`` follows a determiner or an adjective-like word directly, of all its places, by the n-gram model."""
    total = 10 ** log10_p(noun)
    return (
        sum(
            joint(d, noun)
            for d in ("a", "an", "the", "my", "your", "his", "her", "this", "that", "our", "their", "another", "every", "each")
        )
        / total
    )


def countable(noun: str, alone: bool = True) -> bool:
    """Whether a singular noun hardly ever stands without a determiner; ``alone``: without an adjective."""
    if noun in ALONE:
        return not alone
    return (
        noun not in MASS
        and noun not in SAME_IN_PLURAL
        and knows(noun)
        and inflect(noun, "NNS") != noun
        and not noun.endswith(("ing", "ness", "ism", "ity", "ics"))
    )


def missing_article(s: Sentence) -> Iterator[Candidate]:
    """ "He is engineer", "in small company"."""
    if not any(t in ("VBP", "VBZ", "VBD", "MD", "VB") for t in s.tags):
        return
    for i in range(len(s)):
        begins = (
            s.t(i) in ("JJ", "NN", "JJS")
            or (s.t(i) == "RB" and s.w(i) in ("very", "really") and s.t(i + 1) == "JJ")
            or (s.t(i) in ("VBN", "VBG") and s.t(i + 1) == "NN" and s.t(i - 1) == "IN")
        )
        if (
            not begins
            or s.t(i - 1) in (*_DETERMINED, "JJ", "JJR", "JJS", "NN", "NNS", "RB", "VBN", "NOT", "CC", "RBS", "RBR")
            or s.w(i - 1) in _BARE_AFTER - {"as"}
        ):
            continue
        if s.w(i) in (
            "many",
            "few",
            "several",
            "much",
            "more",
            "most",
            "less",
            "own",
            "other",
            "such",
            "enough",
            "next",
            "last",
            "little",
            "half",
            "home",
            "same",
            "first",
        ):
            continue
        if (s.text(i)[:1].isupper() and i > 0) or s.t(i - 1) == "PUNCT" or i == 0:
            continue  # names, and what stands for itself: titles, additions
        head = s.phrase_end(i)
        if (
            head is None
            or s.t(head) != "NN"
            or s.t(head + 1) in ("POS", "CD", "NNP", "VBG")
            or not countable(s.w(head), i == head)
        ):
            continue
        if s.w(head) == s.w(head + 2) or s.w(head - 2) == s.w(head) or s.w(head + 1) in ("-", "/") or s.w(i - 1) in ("-", "/"):
            continue  # "hand in hand", "face to face"
        if i == head and f"{s.w(i - 1)} {s.w(i)}" in _FIXED:
            continue
        if s.t(head + 1) == "CC" and s.t(s.skip(head + 2, ("JJ",))) in NOUNS:
            continue  # "between husband and wife"
        if (
            s.w(i - 1) in ("of", "in", "with", "without", "for", "on", "at", "to")
            and i == head
            and _bare_share(s.w(head)) < 0.25
        ):
            continue
        before = s.w(i - 1)
        a = article(s.w(i))
        strong = s.w(head) in PROFESSIONS and (s.lemma(i - 1) in ("be", "become") or before == "as")
        if before == "as" and not strong:
            continue
        need = -1.0 if strong else 1.0 + (0.7 if _bare_share(s.w(head)) < 0.3 else 0.0)
        yield Candidate(i, i, (a,), "M:DET", A_WHY, need)
        yield Candidate(i, i, ("the",), "M:DET", A_WHY, need + 0.3)
        plural = inflect(s.w(head), "NNS")
        if plural and not strong and s.t(head + 1) not in ("VBZ",) and s.lemma(i - 1) != "be":
            yield Candidate(
                head,
                head + 1,
                (plural,),
                "R:NOUN:NUM",
                "A countable noun needs a determiner in the singular; in general one says the plural.",
                need + 0.2,
            )


def missing_the(s: Sentence) -> Iterator[Candidate]:
    """ "best player in our team", "same problem"."""
    for i in range(len(s)):
        if (
            s.w(i) == "same"
            and s.w(i - 1) not in ("the", "this", "that", "these", "those", "very", "exact", "one", "not")
            and s.t(i - 1)
            in (
                "VBP",
                "VBZ",
                "VBD",
                "VB",
                "VBN",
                "VBG",
                "IN",
                "TO",
                "NOT",
            )
        ):
            yield Candidate(i, i, ("the",), "M:DET", "'Same' goes with 'the': the same …", -0.5)
        superlative = s.t(i) == "JJS" and s.w(i) not in ("most", "least") and s.t(s.skip(i + 1, ("JJ",))) in NOUNS
        most = (
            s.w(i) == "most"
            and s.t(i + 1) == "JJ"
            and s.t(i + 2) in NOUNS
            and s.w(i + 1) not in ("other", "young", "old", "big", "small", "new", "good", "people")
        )
        if (superlative or (most and s.lemma(i - 1) == "be")) and (
            s.lemma(i - 1) in ("be", "become") or (s.t(i - 1) == "IN" and s.w(i - 1) in ("of", "in", "with", "to"))
        ):
            if s.seq(i - 1, "at best") or s.w(i + 1) in ("friends", "friend"):
                continue
            yield Candidate(i, i, ("the",), "M:DET", "A superlative before a noun goes with 'the': the best …", 0.0)


def few_and_lot(s: Sentence) -> Iterator[Candidate]:
    """ "in few minutes", "lot of people", "little bit"."""
    for i in range(len(s)):
        if s.w(i) == "few" and s.w(i - 1) in ("in", "for", "after", "within") and s.w(i + 1).rstrip("s") in UNITS:
            yield Candidate(i, i, ("a",), "M:DET", "'A few' means some; 'few' alone means hardly any.", SURE)
        if s.w(i) == "few" and s.w(i + 2) == "ago" and s.t(i - 1) not in ("DT", "PRPS", "RB"):
            yield Candidate(i, i, ("a",), "M:DET", "'A few' means some; 'few' alone means hardly any.", SURE)
        if (
            s.w(i) == "lot"
            and s.w(i + 1) == "of"
            and s.t(i - 1) not in ("DT", "JJ", "PRPS")
            and s.w(i - 1) not in ("whole", "the")
        ):
            yield Candidate(i, i, ("a",), "M:DET", "The phrase is 'a lot of'.", SURE)
        if s.seq(i, "little bit") and s.t(i - 1) not in ("DT", "PRPS", "JJ", "CC") and s.w(i - 1) not in ("every", "the"):
            yield Candidate(i, i, ("a",), "M:DET", "The phrase is 'a little bit'.", SURE)
        if s.seq(i, "couple of") and s.t(i - 1) not in ("DT", "JJ", "PRPS"):
            yield Candidate(i, i, ("a",), "M:DET", "The phrase is 'a couple of'.", SURE)


def needless_article(s: Sentence) -> Iterator[Candidate]:
    """ "a good advice", "the tennis", "the English", "to the bed"."""
    for i in range(len(s)):
        word = s.w(i)
        if word in ("a", "an"):
            head = s.phrase_end(i)
            if (
                (
                    head is not None
                    and s.w(head) in NEVER_A
                    and s.t(head + 1) not in NOUNS
                    and not (s.w(head) in ("research", "traffic", "news", "money") and s.t(head + 1) in ("VBG", "NN"))
                )
                and s.tags[i + 1 : head].count("CD") == 0
                and not s.has(frozenset(("piece", "bit")), i, head)
            ):
                yield Candidate(i, i + 1, (), "U:DET", f"'{s.text(head)}' is uncountable: it takes no 'a'.", SURE)
            if (
                (
                    head is not None
                    and s.t(head) == "NNS"
                    and s.w(head) not in SAME_IN_PLURAL
                    and not s.has(
                        frozenset(
                            (
                                "few",
                                "lot",
                                "couple",
                                "dozen",
                                "hundred",
                                "thousand",
                                "million",
                                "number",
                                "many",
                                "great",
                                "good",
                                "series",
                                "mere",
                                "further",
                                "additional",
                            )
                        ),
                        i,
                        head + 1,
                    )
                )
                and s.tags[i + 1 : head].count("CD") == 0
                and s.t(head + 1) not in ("POS", "NN")
                and knows(s.w(head))
            ):
                singular = s.lemma(head)
                if singular != s.w(head) and s.t(head + 1) not in ("VBP",):
                    yield Candidate(head, head + 1, (singular,), "R:NOUN:NUM", "After 'a' the noun is singular.", 0.3)
                yield Candidate(i, i + 1, (), "U:DET", "A plural takes no 'a'.", 0.3)
        if word == "the":
            nxt = s.w(i + 1)
            if (
                nxt in LANGUAGES
                and s.lemma(i - 1) in ("speak", "learn", "study", "understand", "teach", "in")
                and s.t(i + 2) not in (*NOUNS, "JJ", "NNP", "VBG")
                and s.w(i + 2) not in ("of", "that", "and")
            ):
                yield Candidate(i, i + 1, (), "U:DET", "The name of a language takes no article.", SURE)
            if (
                nxt in SPORTS
                and s.lemma(i - 1) in ("play", "watch", "like", "love")
                and s.t(i + 2) not in NOUNS
                and s.w(i + 2) not in ("that", "of", "which")
            ):
                need = SURE if s.lemma(i - 1) == "play" else 0.6
                yield Candidate(i, i + 1, (), "U:DET", "The name of a sport or game takes no article.", need)
            if nxt == "bed" and s.lemma(i - 2) == "go" and s.w(i - 1) == "to" and s.t(i + 2) not in NOUNS:
                yield Candidate(i, i + 1, (), "U:DET", "To sleep, one goes to bed, without an article.", SURE)
            if (
                (
                    nxt == "home"
                    and s.w(i - 1) in ("at", "to", "from")
                    and s.t(i + 2) not in NOUNS
                    and s.w(i + 2) not in ("of", "page", "where", "that")
                )
                and s.w(i - 1) == "at"
                and s.lemma(i - 2) in ("arrive", "stay", "be", "eat", "work", "live", "sleep")
            ):
                yield Candidate(i, i + 1, (), "U:DET", "The phrase is 'at home', without an article.", SURE)
            if s.t(i + 1) == "PRPS":
                yield Candidate(i, i + 1, (), "U:DET", "Before 'my', 'your' and the like stands no article.", SURE)
            if (
                nxt in ("breakfast", "lunch", "dinner", "supper")
                and (s.lemma(i - 1) in ("have", "eat") or s.w(i - 1) in ("for", "at", "after", "before"))
                and s.t(i + 2) not in NOUNS
                and s.w(i + 2) not in ("that", "of", "which", "we", "i", "she", "he", "they", "you")
            ):
                yield Candidate(i, i + 1, (), "U:DET", "Meals take no article.", 0.0)
            if (
                s.w(i - 1) == "all"
                and nxt in ("day", "night", "morning", "afternoon", "evening", "week")
                and s.t(i + 2) in ("PUNCT", "")
            ):
                yield Candidate(i, i + 1, (), "U:DET", "The phrase is 'all day', without an article.", SURE)
        if word in ("a", "an") and s.t(i + 1) == "PRPS":
            yield Candidate(i, i + 1, (), "U:DET", "Before 'my', 'your' and the like stands no article.", SURE)
        if word in ("a", "an") and s.w(i + 1) in ("the", "a", "an", "this", "some") and s.text(i + 1) != "A":
            yield Candidate(i, i + 1, (), "U:DET", "Only one article stands before a noun.", 0.0)


def a_or_an(s: Sentence) -> Iterator[Candidate]:
    """ "a hour", "an university": only before words whose sound is known."""
    for i in range(len(s)):
        nxt = s.w(i + 1)
        if (s.w(i) in ("a", "an") and s.text(i) != "A") or (i == 0 and s.w(i) in ("a", "an")):
            sound = known_article(nxt) if len(nxt) > 2 and not s.text(i + 1).isupper() else None
            if sound and sound != s.w(i) and s.tagged[i].token.end + 1 == s.tagged[i + 1].token.start:
                yield Candidate(i, i + 1, (sound,), "R:DET", f"Before the sound of '{nxt}' one says '{sound}'.", SURE)


def much_and_many(s: Sentence) -> Iterator[Candidate]:
    """ "many money", "much people"."""
    for i in range(len(s)):
        word = s.w(i)
        if word not in ("many", "much") or (s.t(i - 1) == "RB" and s.w(i - 1) in ("very",) and s.t(i + 1) in ("PUNCT", "")):
            continue
        head = s.phrase_end(i + 1)
        if head is None:
            continue
        noun = s.w(head)
        if (
            word == "many"
            and s.t(head) == "NN"
            and s.w(i + 1) not in ("a", "an", "of")
            and noun in _UNCOUNTED
            and s.t(head + 1) not in NOUNS
        ):
            better = (
                ("much",)
                if s.w(i - 1) in ("how", "so", "too", "not", "n't", "very") or s.t(i - 1) == "NOT"
                else ("a", "lot", "of")
            )
            yield Candidate(i, i + 1, better, "R:DET", f"'{s.text(head)}' is uncountable: much, or a lot of.", SURE)
            if better != ("much",):
                yield Candidate(i, i + 1, ("much",), "R:DET", f"'{s.text(head)}' is uncountable: much, or a lot of.", 0.8)
        if (
            word == "much"
            and s.t(head) == "NNS"
            and head == s.skip(i + 1, ("JJ",))
            and s.w(i - 1) not in ("pretty", "very")
            and s.t(i + 1) != "JJR"
        ):
            if noun in ("thanks", "goods", "means", "savings", "earnings"):
                continue
            yield Candidate(i, i + 1, ("many",), "R:DET", "With a plural one says 'many'.", -0.5)


_UNCOUNTED = NEVER_A | wordset(
    """
    water time coffee tea milk rice food sugar salt bread help fun work noise snow rain oil energy love meat hair
    pressure stress respect attention trouble
    """
)


def this_and_these(s: Sentence) -> Iterator[Candidate]:
    """ "these book", "this books", "every days", "another problems"."""
    for i in range(len(s)):
        word = s.w(i)
        if word in ("this", "that") and s.t(i) == "DT":
            head = s.phrase_end(i)
            if (
                head is not None
                and head > i
                and s.t(head) == "NNS"
                and s.w(head) not in SAME_IN_PLURAL - {"people"}
                and s.t(i + 1) in ("NNS", "JJ")
                and s.t(head + 1) != "POS"
                and s.w(head)
                not in (
                    "news",
                    "series",
                    "politics",
                    "physics",
                    "economics",
                    "mathematics",
                    "thanks",
                    "means",
                    "lots",
                    "sports",
                    "works",
                )
            ):
                if s.w(i - 1) in ("of", "is", "was") and head == i + 1 and word == "that":
                    continue
                if word == "that" and (
                    s.t(i - 1) in (*NOUNS, "VBP", "VBZ", "VBD", "VB", "VBN", "JJ", "RB") or s.w(i - 1) in ("so", "is", "know")
                ):
                    continue  # "I think that people …" is a conjunction
                if s.t(s.skip(head + 1)) in ("VBZ",):
                    yield Candidate(head, head + 1, (s.lemma(head),), "R:NOUN:NUM", f"'{s.text(i)}' goes with a singular.", 0.0)
                else:
                    yield Candidate(
                        i,
                        i + 1,
                        ({"this": "these", "that": "those"}[word],),
                        "R:DET",
                        f"With a plural one says '{ {'this': 'these', 'that': 'those'}[word] }'.",
                        -0.3,
                    )
        if word in ("these", "those"):
            head = s.phrase_end(i)
            if (
                head is not None
                and head > i
                and s.t(head) == "NN"
                and s.w(head) not in SAME_IN_PLURAL
                and s.t(head + 1) not in ("CC", "POS", "NNP")
                and head - i <= 2
                and s.t(head - 1) != "NN"
            ):
                if s.w(head) in ("kind", "type", "sort", "one", "day") and s.w(head + 1) == "of":
                    yield Candidate(
                        head, head + 1, (str(inflect(s.w(head), "NNS")),), "R:NOUN:NUM", "'These' goes with a plural.", -0.3
                    )
                    continue
                after = s.t(s.skip(head + 1))
                singular = {"these": "this", "those": "that"}[word]
                plural = inflect(s.w(head), "NNS")
                verb = s.w(s.skip(head + 1))
                if s.w(head) in MASS and verb not in ("are", "were"):
                    yield Candidate(i, i + 1, (singular,), "R:DET", "With a singular one says 'this' or 'that'.", -0.5)
                elif plural and (after != "VBZ" and verb not in ("is", "was", "has")) and plural != s.w(head):
                    if s.w(head + 1) in ("over", "there", "here") and s.has(frozenset(("is", "was")), head):
                        yield Candidate(i, i + 1, (singular,), "R:DET", "With a singular one says 'this' or 'that'.", SURE)
                    else:
                        yield Candidate(head, head + 1, (plural,), "R:NOUN:NUM", f"'{s.text(i)}' goes with a plural.", -0.5)
                else:
                    yield Candidate(i, i + 1, (singular,), "R:DET", "With a singular one says 'this' or 'that'.", -0.5)
        if word in ("every", "each", "another") and s.t(i + 1) in ("NNS", "JJ"):
            head = s.phrase_end(i + 1)
            if (
                head is not None
                and s.t(head) == "NNS"
                and head <= i + 2
                and s.lemma(head) != s.w(head)
                and s.w(i + 1) not in ("few", "other")
            ):
                yield Candidate(head, head + 1, (s.lemma(head),), "R:NOUN:NUM", f"After '{word}' the noun is singular.", -0.5)


RULES = (a_or_an, missing_article, missing_the, few_and_lot, needless_article, much_and_many, this_and_these)
