"""Turns of phrase that learners carry over from their own languages."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect, lemmas, verb_lemma
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import MONTHS, PROFESSIONS
from agent.analysis.rules.sentence import NOUNS, SURE, VERBS, Candidate, Sentence

_BE = {"i": "am", "he": "is", "she": "is", "it": "is", "we": "are", "you": "are", "they": "are"}
_OBJECT = {"i": "me", "he": "him", "she": "her", "it": "it", "we": "us", "you": "you", "they": "them"}
_SUBJECT = {"me": "I", "him": "he", "her": "she", "us": "we", "you": "you", "them": "they"}
_COUNTRIES = wordset(
    """
    italy france germany spain china japan korea russia england britain canada mexico brazil argentina chile peru
    colombia india pakistan iran iraq turkey greece egypt poland ukraine portugal sweden norway finland denmark
    austria switzerland hungary romania vietnam thailand indonesia malaysia australia africa asia europe america
    """
)
_FELT = wordset("hungry thirsty tired afraid sleepy sad happy angry")
_ADJECTIVE_OF = {
    "deliciously": "delicious",
    "sadly": "sad",
    "nicely": "nice",
    "strangely": "strange",
    "beautifully": "beautiful",
    "happily": "happy",
    "easily": "easy",
    "quickly": "quick",
    "slowly": "slow",
    "carefully": "careful",
    "angrily": "angry",
    "dangerously": "dangerous",
    "perfectly": "perfect",
    "politely": "polite",
}
_PAIRS = wordset("trousers pants jeans glasses scissors shorts pyjamas pajamas tights sunglasses clothes")
_UNCOUNTED_SUBJECTS = wordset(
    """
    news weather information homework furniture advice hair money traffic luggage music food water knowledge equipment
    """
)


def age_and_feelings(s: Sentence) -> Iterator[Candidate]:
    """ "I have 25 years old", "I have hungry", "I feel me tired"."""
    for i in range(len(s)):
        if s.t(i) == "PRP" and s.w(i) in _BE and s.w(i + 1) in ("have", "has"):
            if s.t(i + 2) == "CD" and s.w(i + 3) in ("years", "year") and s.w(i + 4) in ("old", ".", ""):
                yield Candidate(i + 1, i + 2, (_BE[s.w(i)],), "R:VERB", "Age is said with 'be': I am … years old.", SURE)
            if s.w(i + 2) in _FELT and s.t(i + 3) not in NOUNS:
                yield Candidate(i + 1, i + 2, (_BE[s.w(i)],), "R:VERB", f"One is {s.w(i + 2)}; one does not have it.", SURE)
        if (
            s.lemma(i) == "feel"
            and s.t(i) in VERBS
            and s.w(i + 1) in ("me", "myself")
            and s.t(s.skip(i + 2)) in ("JJ", "VBN")
            and s.w(i - 1) == "i"
        ):
            yield Candidate(i + 1, i + 2, (), "U:PRON", "One feels tired, without 'me'.", SURE)


def call_and_lend(s: Sentence) -> Iterator[Candidate]:
    """ "How do you call this?", "Can you borrow me your pen?", "Do you can help?"."""
    for i in range(len(s)):
        if (
            s.w(i) == "how"
            and s.w(i + 1) in ("do", "does", "did")
            and s.t(i + 2) == "PRP"
            and s.w(i + 3) == "call"
            and s.w(i + 4) in ("this", "that", "it", "these")
        ):
            if s.w(i + 5) in ("in", "?", ""):
                yield Candidate(i, i + 1, ("what",), "R:PRON", "One asks: What do you call this?", SURE)
        if (
            s.w(i) in ("borrow", "borrowed")
            and s.w(i + 1) in ("me", "him", "us", "them")
            and s.t(i + 2) in ("DT", "PRPS", "CD")
        ):
            yield Candidate(
                i,
                i + 1,
                ({"borrow": "lend", "borrowed": "lent"}[s.w(i)],),
                "R:VERB",
                "Who gives lends; who takes borrows.",
                SURE,
            )
        if s.w(i) in ("do", "does", "did") and s.t(i + 1) == "PRP" and s.w(i + 2) in ("can", "must", "should"):
            word = "could" if s.w(i) == "did" and s.w(i + 2) == "can" else s.w(i + 2)
            yield Candidate(
                i, i + 3, (word, s.text(i + 1)), "R:WO", f"'{s.w(i + 2).capitalize()}' asks by itself: {word} you …?", SURE
            )
        if s.w(i) in ("do", "does", "did") and s.t(i + 1) == "NOT" and s.w(i + 2) in ("can", "must", "should"):
            yield Candidate(i, i + 3, (s.w(i + 2), "not"), "R:VERB", f"'{s.w(i + 2).capitalize()}' is negated by itself.", SURE)


def purposes(s: Sentence) -> Iterator[Candidate]:
    """ "for to learn", "I came here for study English"."""
    for i in range(len(s)):
        if s.w(i) != "for":
            continue
        if s.w(i + 1) == "to" and s.t(i + 2) == "VB":
            yield Candidate(i, i + 1, (), "U:PREP", "A purpose is said with 'to' and the verb.", SURE)
            continue
        word = s.w(i + 1)
        if verb_lemma(word) != word or s.t(i + 1) not in ("VB", "VBP", "NN") or i == 0:
            continue
        thanks = s.lemma(s.skip(i - 1, ("PRP", "RB", "UH", "DT", "NN"), -1)) in ("thank", "sorry", "blame") or s.w(i - 1) in (
            "thanks",
            "sorry",
            "responsible",
        )
        follows = s.t(i + 2) in ("PRP", "PRPS", "NNP") or s.w(i + 2) in ("english", "the", "a", "an", "in", "at", "with")
        if (
            not follows
            or s.w(i + 2) in ("i", "he", "she", "we", "they")
            or ("ADJ" in lemmas(word) and word not in ("live", "learn"))
        ):
            continue
        if thanks and s.t(i + 2) in ("PRP", "PRPS"):
            ing = inflect(word, "VBG")
            if (ing and word not in ("help",)) or (ing and s.w(i + 2) in ("me", "us")):
                yield Candidate(i + 1, i + 2, (ing,), "R:VERB:FORM", "After 'for' the verb takes -ing.", SURE)
        elif (
            word
            in (
                "study",
                "learn",
                "buy",
                "see",
                "eat",
                "find",
                "get",
                "make",
                "meet",
                "speak",
                "improve",
                "live",
                "visit",
                "help",
                "take",
                "become",
                "travel",
            )
            and not thanks
        ):
            if (
                word in ("study", "help", "visit", "travel", "live")
                and s.t(i + 2) not in ("PRP", "PRPS", "NNP")
                and s.w(i + 2) != "english"
            ):
                continue
            yield Candidate(i, i + 1, ("to",), "R:PART", "A purpose is said with 'to' and the verb.", SURE)


def want_that(s: Sentence) -> Iterator[Candidate]:
    """ "I want that you help me", "She suggested me to take a taxi"."""
    for i in range(len(s)):
        if (
            s.lemma(i) == "want"
            and s.t(i) in VERBS
            and s.w(i + 1) == "that"
            and s.w(i + 2) in _OBJECT
            and s.t(i + 3) in ("VBP", "VBZ", "VB", "VBD")
        ):
            base = s.lemma(i + 3)
            yield Candidate(
                i + 1, i + 4, (_OBJECT[s.w(i + 2)], "to", base), "R:VERB:FORM", "One wants somebody to do something.", SURE
            )
        if (
            s.lemma(i) in ("suggest", "recommend")
            and s.t(i) in VERBS
            and s.w(i + 1) in _SUBJECT
            and s.w(i + 2) == "to"
            and s.t(i + 3) == "VB"
        ):
            if s.lemma(i) == "suggest":
                yield Candidate(
                    i + 1,
                    i + 3,
                    ("that", _SUBJECT[s.w(i + 1)]),
                    "R:VERB:FORM",
                    "One suggests that somebody do something.",
                    SURE,
                )


def to_and_ing(s: Sentence) -> Iterator[Candidate]:
    """ "interested to learn", "thinking to buy", "important to learning", "before go to bed", "he is used to get up"."""
    for i in range(len(s)):
        if (
            s.w(i) == "interested"
            and s.w(i + 1) == "to"
            and s.t(i + 2) == "VB"
            and s.w(i + 2)
            not in (
                "know",
                "hear",
                "see",
                "find",
            )
        ):
            yield Candidate(
                i + 1,
                i + 3,
                ("in", str(inflect(s.lemma(i + 2), "VBG"))),
                "R:VERB:FORM",
                "One is interested in doing something.",
                SURE,
            )
        if s.w(i) == "thinking" and s.w(i + 1) == "to" and s.t(i + 2) == "VB" and s.lemma(i - 1) == "be":
            yield Candidate(
                i + 1, i + 3, ("of", str(inflect(s.lemma(i + 2), "VBG"))), "R:VERB:FORM", "One thinks of doing something.", SURE
            )
        if (
            s.w(i)
            in (
                "important",
                "easy",
                "difficult",
                "hard",
                "necessary",
                "possible",
                "impossible",
                "better",
                "nice",
                "good",
                "dangerous",
            )
            and s.w(i + 1) == "to"
            and s.t(i + 2) == "VBG"
            and s.lemma(i - 1) in ("be", "very", "so", "more", "not")
        ):
            yield Candidate(i + 2, i + 3, (s.lemma(i + 2),), "R:VERB:FORM", "After 'to' stands the base form.", 0.0)
        if (
            s.w(i) in ("before", "after")
            and s.w(i + 1) in ("go", "eat", "leave", "come", "take", "do", "have", "see", "make", "buy")
            and s.t(i - 1) not in ("NN", "NNS")
            and s.w(i + 2) in ("to", "home", "the", "my", "a", "breakfast", "lunch", "dinner", "it")
        ):
            yield Candidate(
                i + 1, i + 2, (str(inflect(s.w(i + 1), "VBG")),), "R:VERB:FORM", f"After '{s.w(i)}' the verb takes -ing.", SURE
            )
        if (
            s.w(i) == "used"
            and s.w(i + 1) == "to"
            and s.t(i + 2) == "VB"
            and s.w(i - 1) in ("am", "'m", "are", "'re", "is", "not")
            and s.t(s.skip(i - 2, ("NOT", "VBZ", "VBP"), -1)) == "PRP"
        ):
            if s.w(s.skip(i - 2, ("NOT", "VBZ", "VBP"), -1)) in ("i", "he", "she", "we"):
                yield Candidate(
                    i + 2, i + 3, (str(inflect(s.lemma(i + 2), "VBG")),), "R:VERB:FORM", "One is used to doing something.", SURE
                )
        if (
            s.lemma(i) == "stop"
            and s.t(i) in VERBS
            and s.w(i + 1) == "to"
            and s.w(i + 2) in ("smoke", "drink")
            and s.t(i + 3) not in ("DT", "PRPS", "NN")
        ):
            yield Candidate(
                i + 1,
                i + 3,
                (str(inflect(s.w(i + 2), "VBG")),),
                "R:VERB:FORM",
                "Who gives it up stops smoking; who stops to smoke begins.",
                SURE,
            )
        if (
            s.w(i) in ("like", "likes", "love", "loves", "hate", "hates", "prefer", "prefers")
            and s.t(i - 1) in ("PRP", "NN", "NNP", "NNS")
            and s.t(i + 1) == "VB"
            and verb_lemma(s.w(i + 1)) == s.w(i + 1)
        ):
            if (
                s.w(i + 1) not in ("be", "like", "better") and not s.has(frozenset(("do", "does", "did")), max(0, i - 3), i)
            ) or s.w(i - 2) in ("that",):
                yield Candidate(
                    i + 1, i + 1, ("to",), "M:PART", f"After '{s.lemma(i)}' stands 'to' and the verb, or the -ing form.", -0.5
                )


def most_and_almost(s: Sentence) -> Iterator[Candidate]:
    """ "most of people", "the most people", "almost students", "the taller boy in the class"."""
    for i in range(len(s)):
        if (
            s.w(i) == "most"
            and s.w(i + 1) == "of"
            and s.w(i + 2) in ("people", "students", "women", "men", "children", "countries")
        ):
            yield Candidate(i + 1, i + 2, (), "U:PREP", "One says 'most people', or 'most of the people'.", SURE)
        if s.seq(i, "the most people") and s.t(i + 3) in ("VBP", "MD", "VBD", "RB"):
            yield Candidate(i, i + 1, (), "U:DET", "One says 'most people', without an article.", SURE)
        if s.w(i) == "almost" and s.t(i + 1) == "NNS" and s.opens(i):
            yield Candidate(i, i + 1, ("almost", "all"), "M:DET", "'Almost' needs 'all' before a noun.", SURE)
        if (
            s.w(i) == "the"
            and s.t(i + 1) == "JJR"
            and s.t(i + 2) == "NN"
            and s.w(i + 3) in ("in", "of")
            and s.w(i + 4) in ("the", "my", "our", "all", "world", "class")
            and s.w(i + 1)
            not in ("more", "less", "better", "lower", "upper", "inner", "outer", "later", "earlier", "former", "latter")
        ):
            if (s.w(i + 3) == "of" and s.w(i + 5) == "two") or s.w(i + 2) in ("part", "end", "side", "half"):
                continue
            best = inflect(lemmas(s.w(i + 1)).get("ADJ", (s.w(i + 1),))[0], "JJS")
            if best and s.lemma(i - 1) == "be":
                yield Candidate(i + 1, i + 2, (best,), "R:ADJ:FORM", "Among more than two one says the superlative.", SURE)
        if (
            s.w(i) == "more"
            and s.t(i + 1) == "JJ"
            and s.w(i + 2) in ("that", "then")
            and s.t(i + 3) in ("PRPS", "PRP", "NNP", "DT")
        ):
            k = s.phrase_end(i + 3) if s.t(i + 3) != "PRP" else i + 3
            if k is not None and s.t(k + 1) in ("PUNCT", "") and s.w(i + 3) not in ("i", "he", "she", "we", "they"):
                yield Candidate(i + 2, i + 3, ("than",), "R:IN", "After a comparative stands 'than'.", SURE)
        if (
            s.w(i) == "less"
            and s.t(i + 1) == "NNS"
            and s.t(i - 1) not in ("CD", "RB")
            and s.w(i - 1) not in ("or", "no", "much")
            and s.w(i + 1)
            in (
                "problems",
                "people",
                "friends",
                "books",
                "cars",
                "students",
                "mistakes",
                "things",
                "questions",
                "words",
                "children",
                "opportunities",
                "jobs",
            )
        ):
            yield Candidate(i, i + 1, ("fewer",), "R:DET", "With a plural one says 'fewer'.", SURE)


def negations(s: Sentence) -> Iterator[Candidate]:
    """ "haven't never", "nobody don't know", "I am not agree"."""
    for i in range(len(s)):
        if (
            s.w(i) == "n't"
            and s.w(i + 1) == "never"
            and s.w(i - 1) in ("have", "has", "had", "do", "does", "did", "is", "are", "was", "were")
        ):
            if s.w(i - 1) in ("do", "does", "did"):
                continue
            yield Candidate(i, i + 1, (), "U:ADV", "One negation is enough.", SURE)
        if (
            s.w(i) in ("nobody", "nothing")
            and s.w(i + 1) in ("do", "does")
            and s.t(i + 2) == "NOT"
            and s.t(i + 3) in ("VB", "VBP")
        ):
            third = inflect(s.lemma(i + 3), "VBZ")
            if third:
                yield Candidate(i + 1, i + 4, (third,), "R:VERB", "One negation is enough.", SURE)
        if s.w(i) in ("am", "'m", "are", "'re", "is") and s.t(i + 1) == "NOT" and s.w(i + 2) == "agree" and s.t(i - 1) == "PRP":
            do = "does" if s.w(i) == "is" else "do"
            yield Candidate(
                i,
                i + 2,
                (do, "n't") if s.w(i + 1) == "n't" else (do, "not"),
                "R:VERB",
                "'Agree' is a verb: I do not agree.",
                SURE,
            )
        if s.w(i) == "'s" and s.w(i + 1) == "depend" and s.w(i - 1) == "it":
            yield Candidate(i, i + 2, ("depends",), "R:VERB:SVA", "One says 'it depends'.", SURE)


def hardly_and_well(s: Sentence) -> Iterator[Candidate]:
    """ "He works hardly.", "The food was deliciously."."""
    for i in range(len(s)):
        if (
            s.w(i) == "hardly"
            and s.lemma(i - 1) in ("work", "study", "try", "train", "practise", "practice")
            and s.t(i - 1) in VERBS
            and (s.t(i + 1) in ("PUNCT", "", "DT", "IN") and s.w(i + 1) not in ("any", "at"))
        ):
            yield Candidate(i, i + 1, ("hard",), "R:MORPH", "The adverb is 'hard'; 'hardly' means almost not.", SURE)
        if (
            s.w(i) in _ADJECTIVE_OF
            and s.t(i + 1) in ("PUNCT", "")
            and s.lemma(s.skip(i - 1, ("RB",), -1)) in ("be", "look", "taste", "smell", "seem")
        ):
            if (
                s.lemma(s.skip(i - 1, ("RB",), -1)) == "be"
                and s.w(i) in ("perfectly", "easily", "quickly", "slowly", "carefully")
            ) or (s.lemma(i - 1) == "look" and s.w(i) in ("carefully", "quickly", "angrily")):
                continue
            yield Candidate(i, i + 1, (_ADJECTIVE_OF[s.w(i)],), "R:MORPH", "After 'be' and 'look' stands an adjective.", SURE)


def uncounted_subjects(s: Sentence) -> Iterator[Candidate]:
    """ "The news are bad", "The informations are here"."""
    for i in range(len(s)):
        word = s.w(i)
        noun = {
            "informations": "information",
            "advices": "advice",
            "furnitures": "furniture",
            "homeworks": "homework",
            "musics": "music",
        }.get(word, word)
        if (
            noun not in _UNCOUNTED_SUBJECTS
            or s.w(i + 1) not in ("are", "were", "have")
            or s.has(frozenset(("and", "of", "like", "or")), max(0, i - 3), i)
        ):
            continue
        if (
            s.t(i - 1) not in ("DT", "PRPS", "JJ", "")
            or s.w(i - 1) in ("these", "those")
            or (s.t(i - 1) == "JJ" and s.t(i - 2) not in ("DT", "PRPS"))
        ):
            continue
        if s.w(i + 1) == "have" and s.t(i + 2) not in ("VBN", "TO"):
            continue
        begin = i - 1 if s.t(i - 1) != "JJ" else i - 2
        if (not s.opens(begin) and s.t(begin - 1) not in ("NN", "CD", "NNP")) or s.t(begin - 1) in ("VBD", "VBZ", "VBP", "VB"):
            continue
        verb = {"are": "is", "were": "was", "have": "has"}[s.w(i + 1)]
        words = (noun, verb) if noun != word else (verb,)
        yield Candidate(
            i if noun != word else i + 1, i + 2, words, "R:VERB:SVA", f"'{noun.capitalize()}' is singular.", SURE - 0.5
        )


def places_and_dates(s: Sentence) -> Iterator[Candidate]:
    """ "at Italy", "in 5 May", "three times in a week", "a new trousers", "works like a doctor"."""
    for i in range(len(s)):
        if (
            s.w(i) == "at"
            and s.w(i + 1) in _COUNTRIES
            and s.t(i + 2) not in (*NOUNS, "POS", "NNP")
            and s.lemma(i - 1) not in ("look", "angry", "mad", "aim", "laugh")
        ):
            yield Candidate(i, i + 1, ("in",), "R:PREP", "Countries go with 'in'.", SURE)
        if (
            s.w(i) in ("in", "at")
            and s.t(i + 1) == "CD"
            and s.w(i + 2) in MONTHS - {"may", "march"} | ({"may", "march"} if s.text(i + 2)[:1].isupper() else frozenset())
            and s.w(i + 1).rstrip("stndrh").isdecimal()
        ):
            yield Candidate(i, i + 1, ("on",), "R:PREP", "Dates go with 'on'.", SURE)
        if (
            s.w(i) in ("times", "once", "twice")
            and s.w(i + 1) in ("in", "at")
            and s.w(i + 2) == "a"
            and s.w(i + 3) in ("week", "day", "month", "year")
        ):
            yield Candidate(i + 1, i + 2, (), "U:PREP", f"One says '{s.w(i)} a {s.w(i + 3)}'.", SURE)
        if s.w(i) in ("a", "an") and (s.w(i + 1) in _PAIRS or (s.t(i + 1) == "JJ" and s.w(i + 2) in _PAIRS)):
            head = i + 1 if s.w(i + 1) in _PAIRS else i + 2
            if s.t(head + 1) not in NOUNS:
                yield Candidate(i, i + 1, (), "U:DET", f"'{s.text(head).capitalize()}' is plural: no 'a'.", SURE)
        if (
            s.lemma(i) == "work"
            and s.t(i) in VERBS
            and s.w(i + 1) == "like"
            and s.w(i + 2) in ("a", "an")
            and s.w(i + 3) in PROFESSIONS
        ):
            yield Candidate(i + 1, i + 2, ("as",), "R:PREP", "For a job one says 'as'.", SURE)
        if (
            s.lemma(i) in ("respect", "protect", "destroy", "love", "save")
            and s.seq(i + 1, "the nature")
            and s.t(i + 3) in ("PUNCT", "", "CC", "IN")
            and s.w(i + 3) != "of"
        ):
            yield Candidate(i + 1, i + 2, (), "U:DET", "Nature in general takes no article.", SURE)
        if (
            s.w(i) == "if"
            and s.t(i + 1) == "PRP"
            and s.w(i + 2) in ("would", "'d")
            and s.w(i + 3) == "be"
            and s.has(frozenset(("would", "'d")), i + 4)
        ):
            yield Candidate(i + 2, i + 4, ("were",), "R:VERB:TENSE", "After 'if' stands the past, not 'would'.", SURE)


def places_of_adverbs(s: Sentence) -> Iterator[Candidate]:
    """ "He always is late", "I get up usually", "I yesterday met"."""
    for i in range(len(s)):
        if (
            s.t(i) == "PRP"
            and s.opens(i)
            and s.w(i + 1) in ("always", "often", "usually", "sometimes", "never")
            and s.w(i + 2) in ("am", "is", "are", "was", "were")
            and s.t(i + 3) in ("JJ", "RB", "IN", "VBG", "DT")
        ):
            yield Candidate(
                i + 1,
                i + 3,
                (s.w(i + 2), s.w(i + 1)),
                "R:WO",
                f"'{s.w(i + 1).capitalize()}' stands after a form of 'be'.",
                SURE,
            )
        if (
            s.t(i) == "PRP"
            and s.t(i + 1) in ("VBP", "VBZ")
            and s.t(i + 2) == "RP"
            and s.w(i + 3) in ("usually", "always", "often")
            and s.t(i + 4) in ("IN", "RB")
        ):
            yield Candidate(
                i + 1,
                i + 4,
                (s.w(i + 3), s.text(i + 1), s.text(i + 2)),
                "R:WO",
                f"'{s.w(i + 3).capitalize()}' stands before the verb.",
                SURE,
            )


RULES = (
    age_and_feelings,
    call_and_lend,
    purposes,
    want_that,
    to_and_ing,
    most_and_almost,
    negations,
    hardly_and_well,
    uncounted_subjects,
    places_and_dates,
    places_of_adverbs,
)
