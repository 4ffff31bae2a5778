"""Prepositions that a verb, an adjective or a time asks for."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect, verb_lemma
from agent.analysis.rules.lists import DAYS, MONTHS, PLACE_ADVERBS
from agent.analysis.rules.sentence import NOUNS, SURE, VERBS, Candidate, Sentence

# lemma of the verb: wrong preposition -> right one ("" = none)
_VERB = {
    "depend": {"of": "on", "from": "on", "in": "on", "by": "on", "to": "on", "at": "on", "with": "on"},
    "discuss": {"about": "", "on": ""},
    "marry": {"with": ""},
    "enter": {"in": "", "to": ""},
    "reach": {"to": "", "at": ""},
    "attend": {"in": "", "at": ""},
    "approach": {"to": ""},
    "contact": {"with": "", "to": ""},
    "resemble": {"to": "", "with": ""},
    "lack": {"of": ""},
    "emphasize": {"on": ""},
    "consist": {"from": "of", "by": "of"},
    "listen": {"at": "to"},
    "belong": {"for": "to"},
    "participate": {"at": "in", "to": "in", "on": "in"},
    "believe": {"on": "in"},
    "arrive": {"to": "at"},
    "concentrate": {"in": "on", "at": "on"},
    "congratulate": {"for": "on"},
    "graduate": {"of": "from"},
    "suffer": {"of": "from"},
    "divorce": {"with": ""},
    "phone": {"to": ""},
    "telephone": {"to": ""},
    "visit": {"to": ""},
    "mention": {"about": ""},
    "describe": {"about": ""},
    "rely": {"in": "on", "of": "on", "to": "on"},
    "insist": {"in": "on", "to": "on"},
    "differ": {"than": "from"},
    "prefer": {"than": "to"},
    "accuse": {"for": "of"},
}
_ADJECTIVE = {
    "married": {"with": "to"},
    "good": {"in": "at", "on": "at"},
    "bad": {"in": "at"},
    "interested": {"on": "in", "about": "in", "for": "in", "with": "in", "of": "in", "at": "in"},
    "afraid": {"from": "of"},
    "responsible": {"of": "for"},
    "proud": {"for": "of", "on": "of"},
    "famous": {"with": "for", "about": "for"},
    "similar": {"with": "to", "as": "to", "than": "to"},
    "capable": {"to": "of"},
    "full": {"with": "of"},
    "fond": {"about": "of"},
    "aware": {"about": "of"},
    "jealous": {"with": "of"},
    "different": {"with": "from", "of": "from"},
    "scared": {"from": "of"},
    "satisfied": {"of": "with"},
    "dependent": {"of": "on", "from": "on"},
    "addicted": {"of": "to", "with": "to"},
    "ashamed": {"for": "of"},
    "excited": {"of": "about"},
    "covered": {"of": "with"},
    "superior": {"than": "to"},
    "inferior": {"than": "to"},
    "senior": {"than": "to"},
    "allergic": {"with": "to", "against": "to", "of": "to"},
}
_NEEDS = {"listen": "to", "wait": "for", "belong": "to", "depend": "on"}
_OBJECTS = ("PRP", "DT", "PRPS")


def after_verb(s: Sentence) -> Iterator[Candidate]:
    """ "depends of", "discuss about"."""
    for i in range(len(s)):
        if s.t(i) not in VERBS and not (s.t(i) in ("NN", "JJ") and s.lemma(i) in ("depend", "discuss", "discussed")):
            continue
        lemma = s.lemma(i) if s.t(i) in VERBS else (verb_lemma(s.w(i)) or "")
        table = _VERB.get(lemma)
        k = i + 1
        if not table:
            continue
        wrong = s.w(k)
        if wrong not in table:
            continue
        right = table[wrong]
        if lemma == "arrive" and wrong == "to":
            if s.t(k + 1) == "VB":
                continue
            right = "in" if s.t(k + 1) == "NNP" and s.t(k + 2) != "NNP" else "at"
            if s.w(k + 1) == "home":
                right = ""
        if (
            lemma
            in (
                "reach",
                "phone",
                "telephone",
                "enter",
                "visit",
                "approach",
                "resemble",
                "rely",
                "insist",
                "prefer",
                "depend",
                "participate",
            )
            and wrong == "to"
            and s.t(k + 1) in ("VB",)
        ):
            continue
        if (
            (lemma == "enter" and wrong == "in" and s.t(i) == "NN")
            or (lemma == "lack" and s.t(i - 1) in ("DT", "JJ", "PRPS"))
            or (lemma == "visit" and s.t(i - 1) in ("DT", "PRPS", "JJ"))
            or (lemma in ("contact", "approach", "divorce", "attend") and s.t(i - 1) in ("DT", "JJ", "PRPS", "IN"))
        ):
            continue
        if (
            lemma in ("attend", "reach", "enter")
            and wrong in ("in", "at")
            and (
                s.t(k + 1) in ("CD",)
                or (
                    s.w(k + 1) in DAYS | MONTHS | {"the"}
                    and s.w(k + 2) in ("morning", "evening", "end", "same", "last", "first", "future")
                )
                or (s.t(i) == "VBN" and s.lemma(i - 1) in ("be",))
            )
        ):
            continue
        if (
            lemma in ("describe", "discuss", "mention", "marry", "enter", "reach")
            and s.t(i) in ("VBN",)
            and s.lemma(s.skip(i - 1, ("RB", "NOT"), -1)) in ("be", "get")
            and lemma != "marry"
        ):
            continue
        if lemma == "marry" and s.lemma(i - 1) in ("be", "get", "'s"):
            yield Candidate(k, k + 1, ("to",), "R:PREP", "One is married to somebody.", SURE)
            continue
        if lemma == "suffer" and s.t(k + 1) == "":
            continue
        why = f"One says '{lemma} {right}'." if right else f"'{lemma.capitalize()}' takes its object without a preposition."
        yield Candidate(
            k,
            k + 1,
            (right,) if right else (),
            "R:PREP" if right else "U:PREP",
            why,
            SURE if lemma in ("depend", "discuss", "consist", "participate", "listen") else -0.3,
        )


def after_adjective(s: Sentence) -> Iterator[Candidate]:
    """ "married with", "good in"."""
    for i in range(len(s)):
        table = _ADJECTIVE.get(s.w(i))
        if not table or s.w(i + 1) not in table:
            continue
        right = table[s.w(i + 1)]
        word = s.w(i)
        if s.t(i) not in ("JJ", "VBN", "VBD", "RB") or s.t(i + 2) in ("PUNCT", ""):
            continue
        if word in ("good", "bad"):
            if (
                s.lemma(s.skip(i - 1, ("RB", "NOT"), -1)) != "be"
                or s.t(i + 2) not in ("NN", "VBG", "NNS", "NNP")
                or s.w(i + 2)
                not in (
                    "english",
                    "math",
                    "maths",
                    "mathematics",
                    "physics",
                    "chemistry",
                    "sports",
                    "sport",
                    "cooking",
                    "swimming",
                    "dancing",
                    "singing",
                    "drawing",
                    "painting",
                    "football",
                    "tennis",
                    "chess",
                    "music",
                    "languages",
                    "french",
                    "german",
                    "spanish",
                    "chinese",
                    "basketball",
                    "science",
                    "history",
                    "writing",
                    "speaking",
                    "reading",
                    "playing",
                )
            ):
                continue
        if (word == "full" and (s.t(i - 1) in ("DT", "PRPS") or s.t(i + 2) not in (*NOUNS, "JJ", "DT"))) or (
            word in ("capable",) and s.t(i + 2) != "VB"
        ):
            continue
        if word == "capable":
            yield Candidate(
                i + 1, i + 3, ("of", str(inflect(s.lemma(i + 2), "VBG"))), "R:PREP", "One is capable of doing something.", SURE
            )
            continue
        if (
            word in ("different", "similar") and s.w(i + 1) in ("of", "as") and s.t(i + 2) not in ("PRP", "PRPS", "DT", "NNP")
        ) or (word == "different" and s.w(i + 1) == "with" and s.t(i + 2) not in ("PRP", "PRPS", "NNP", "DT")):
            continue
        if (
            word == "married"
            and s.w(i + 2) in ("two", "three", "four", "no", "children", "kids", "a", "one")
            and s.has(frozenset(("child", "children", "kids", "kid", "sons", "daughters")), i + 2, i + 5)
        ):
            continue
        yield Candidate(
            i + 1, i + 2, (right,), "R:PREP", f"One says '{word} {right}'.", SURE if word in ("married", "interested") else -0.3
        )


def missing(s: Sentence) -> Iterator[Candidate]:
    """ "listen music", "wait the bus", "explain me", "agree him"."""
    for i in range(len(s)):
        lemma = s.lemma(i)
        verb = s.t(i) in VERBS
        nxt, tag = s.w(i + 1), s.t(i + 1)
        objectish = tag in (*_OBJECTS, *NOUNS, "NNP", "JJ") and nxt not in (
            "that",
            "all",
            "i",
            "we",
            "he",
            "she",
            "they",
            "how",
        )
        if (
            verb
            and lemma == "listen"
            and (objectish and nxt not in ("up", "carefully", "please", "people", "guys"))
            and tag not in ("JJ",)
        ) or (verb and lemma == "listen" and tag == "JJ" and s.t(i + 2) in NOUNS):
            yield Candidate(i + 1, i + 1, ("to",), "M:PREP", "One listens to something.", 0.0 if tag != "PRP" else -0.5)
        if (
            verb
            and lemma == "wait"
            and nxt not in ("a", "an", "my", "all", "your", "until", "this")
            and (tag in ("PRP", "PRPS") or nxt in ("the", "him", "her", "them", "us", "me"))
        ):
            if (nxt in ("my", "your") and s.w(i + 2) == "turn") or nxt == "it":
                continue
            yield Candidate(i + 1, i + 1, ("for",), "M:PREP", "One waits for somebody or something.", 0.0)
        if (
            verb
            and lemma == "explain"
            and nxt in ("me", "him", "us", "them", "you", "her")
            and s.t(i + 2) in ("DT", "PRPS", "WH", "NN", "JJ", "IN")
            and s.w(i + 2) not in ("to",)
        ):
            if (nxt == "her" and s.t(i + 2) == "NN") or (s.t(i + 2) == "IN" and s.w(i + 2) not in ("about", "that")):
                continue
            end = s.phrase_end(i + 2)
            if s.t(i + 2) in ("DT", "PRPS") and end is not None and s.t(end + 1) in ("PUNCT", ""):
                yield Candidate(
                    i + 1,
                    end + 1,
                    (*(s.text(k) for k in range(i + 2, end + 1)), "to", nxt),
                    "R:WO",
                    "One explains something to somebody.",
                    SURE,
                )
            else:
                yield Candidate(i + 1, i + 1, ("to",), "M:PREP", "One explains something to somebody.", SURE)
        if (
            verb
            and lemma == "agree"
            and (
                nxt in ("me", "him", "her", "them", "us", "you")
                or tag == "PRPS"
                or (nxt in ("this", "the") and s.w(i + 2) in ("opinion", "statement", "idea", "view"))
            )
        ):
            yield Candidate(i + 1, i + 1, ("with",), "M:PREP", "One agrees with somebody.", SURE)
        if (
            verb
            and lemma == "look"
            and nxt in ("me", "him", "them", "us", "this", "these")
            and s.w(i) != "looks"
            and s.t(i + 2) not in ("JJ",)
        ):
            yield Candidate(i + 1, i + 1, ("at",), "M:PREP", "One looks at somebody or something.", 0.0)
        if (
            verb
            and lemma == "go"
            and tag in ("NN", "DT", "PRPS")
            and nxt
            not in (
                "home",
                "that",
                "this",
                "all",
                "shopping",
                "fishing",
                "a",
                "an",
                "no",
                "back",
                "today",
                "crazy",
                "insane",
                "mad",
                "bankrupt",
                "online",
                "public",
                "both",
                "south",
                "north",
                "east",
                "west",
                "every",
                "each",
                "some",
                "overseas",
                "wrong",
                "another",
                "any",
                "abroad",
                "alone",
                "once",
                "backpacking",
                "camping",
                "viral",
                "natural",
            )
        ) and (
            nxt in ("school", "work", "church", "college", "university", "bed")
            or (
                nxt in ("the", "my")
                and s.w(i + 2)
                not in (
                    "way",
                    "same",
                    "other",
                    "whole",
                    "extra",
                    "distance",
                    "day",
                    "night",
                    "next",
                    "first",
                    "last",
                    "right",
                    "wrong",
                    "hard",
                    "full",
                    "route",
                    "long",
                    "most",
                    "more",
                    "entire",
                )
            )
        ):
            if nxt in ("the", "my") and (s.phrase_end(i + 1) is None or s.t(i) in ("VBN",)):
                continue
            yield Candidate(i + 1, i + 1, ("to",), "M:PREP", "One goes to a place.", 0.0)
        if (
            verb
            and lemma in ("arrive",)
            and (
                tag == "NNP"
                or (nxt in ("the", "my") and s.w(i + 2) in ("station", "airport", "school", "hotel", "office", "house"))
            )
        ):
            if nxt in DAYS | MONTHS:
                continue
            yield Candidate(
                i + 1, i + 1, ("in" if tag == "NNP" else "at",), "M:PREP", "One arrives in a city, and at a place.", 0.3
            )
        if s.w(i) == "because" and nxt == "of" and s.t(i + 2) == "PRP" and s.t(i + 3) in ("VBP", "VBD", "VBZ", "MD"):
            yield Candidate(i + 1, i + 2, (), "U:PREP", "Before a clause stands 'because' alone.", SURE)


def needless(s: Sentence) -> Iterator[Candidate]:
    """ "going to there", "go to home", "in last week", "told to me"."""
    for i in range(len(s)):
        if (
            s.w(i) == "to"
            and s.w(i + 1) in PLACE_ADVERBS
            and s.lemma(i - 1) in ("go", "come", "return", "travel", "get", "move", "went", "back", "drive", "walk", "arrive")
            and s.t(i + 2) not in NOUNS
        ):
            yield Candidate(i, i + 1, (), "U:PREP", f"'{s.text(i + 1).capitalize()}' says where to, without 'to'.", SURE)
        if (
            s.w(i) in ("in", "on", "at")
            and s.w(i + 1) in ("last", "next", "every", "this")
            and s.w(i + 2)
            in (
                "week",
                "month",
                "year",
                "night",
                "weekend",
                "monday",
                "tuesday",
                "wednesday",
                "thursday",
                "friday",
                "saturday",
                "sunday",
                "morning",
                "summer",
                "winter",
                "evening",
                "afternoon",
                "day",
            )
        ):
            if (
                s.w(i + 1) == "this"
                and s.w(i) in ("on", "in")
                and s.w(i + 2) in ("day", "week", "month", "year", "morning", "night")
            ):
                continue
            if (
                s.t(i + 3) in NOUNS
                or s.w(i + 3) in ("'s", "of")
                or (s.t(i - 1) in ("VB", "VBG") and s.lemma(i - 1) in ("look", "participate", "believe"))
            ):
                continue
            if s.w(i + 1) == "every" and s.w(i) == "in":
                continue
            yield Candidate(i, i + 1, (), "U:PREP", f"Before '{s.w(i + 1)} {s.w(i + 2)}' stands no preposition.", -0.3)
        if (
            s.w(i) == "to"
            and s.w(i + 1) in ("me", "him", "her", "us", "them", "you")
            and s.lemma(i - 1) in ("tell", "ask")
            and s.t(i - 1) in VERBS
            and s.w(i + 2) not in ("to",)
        ):
            if s.t(i + 2) in ("VB",):
                continue
            yield Candidate(i, i + 1, (), "U:PREP", f"One {s.lemma(i - 1)}s somebody something, without 'to'.", -0.3)
        if (
            s.lemma(i) == "call"
            and s.t(i) in VERBS
            and s.w(i + 1) == "to"
            and s.w(i + 2) in ("me", "him", "her", "us", "them", "my")
            and s.t(i + 3) != "VB"
        ):
            yield Candidate(i + 1, i + 2, (), "U:PREP", "One calls somebody, without 'to'.", 0.0)
        if (
            s.lemma(i) == "say"
            and s.t(i) in VERBS
            and s.w(i + 1) in ("me", "him", "us", "them")
            and s.t(i + 2) not in ("PUNCT", "", "VBP", "VBD")
        ):
            told = {"say": "tell", "says": "tells", "said": "told", "saying": "telling"}.get(s.w(i))
            if told:
                yield Candidate(i, i + 1, (told,), "R:VERB", "One tells somebody something, or says it to somebody.", SURE)


def times(s: Sentence) -> Iterator[Candidate]:
    """ "in Monday", "at the morning", "on July", "in 5 o'clock", "at 1995"."""
    for i in range(len(s)):
        word = s.w(i)
        if s.t(i) != "IN" or word not in ("in", "on", "at"):
            continue
        k = i + 1
        nxt = s.w(k)
        if nxt == "the":
            k += 1
            nxt2 = s.w(k)
            if (
                nxt2 in ("morning", "afternoon", "evening")
                and word in ("at", "on")
                and s.w(k + 1) not in ("of", "news", "shift", "after", "before", "session", "show", "service", "prayer")
                and s.t(k + 1) not in NOUNS
                and s.w(k + 1) != "that"
            ):
                yield Candidate(i, i + 1, ("in",), "R:PREP", f"One says 'in the {nxt2}'.", SURE)
            if nxt2 in ("weekend", "weekends") and word == "in" and s.t(k + 1) not in NOUNS:
                yield Candidate(
                    i, i + 1, ("on",), "R:PREP", "One says 'at the weekend' (British) or 'on the weekend' (American).", SURE
                )
                yield Candidate(
                    i, i + 1, ("at",), "R:PREP", "One says 'at the weekend' (British) or 'on the weekend' (American).", SURE - 1
                )
            if (
                nxt2 == "night"
                and word == "in"
                and s.t(k + 1) not in NOUNS
                and s.w(k + 1) not in ("of", "when", "sky", "that", "before")
            ):
                yield Candidate(i, k + 1, ("at", "night"), "R:PREP", "One says 'at night'.", 0.3)
            continue
        if nxt in DAYS and word in ("in", "at") and s.w(k + 1) not in ("'s", "school"):
            yield Candidate(i, i + 1, ("on",), "R:PREP", "Days of the week go with 'on'.", SURE)
        if (
            nxt in MONTHS
            and nxt not in ("march", "may")
            and word in ("on", "at")
            and s.t(k + 1) != "CD"
            and s.w(k + 1) not in ("the", "first", "second", "third")
        ):
            yield Candidate(i, i + 1, ("in",), "R:PREP", "Months go with 'in'.", SURE)
        year = nxt.isdecimal() and len(nxt) == 4 and 1500 <= int(nxt) <= 2100
        if year and word in ("at", "on") and s.t(k + 1) not in (*NOUNS, "NNP", "JJ", "CD"):
            yield Candidate(i, i + 1, ("in",), "R:PREP", "Years go with 'in'.", SURE)
        if (word in ("in", "on") and s.t(k) == "CD" and s.w(k + 1) in ("o'clock", "am", "pm", "a.m", "p.m")) or (
            word in ("in", "on") and s.t(k) == "CD" and s.seq(k + 1, "o ' clock")
        ):
            yield Candidate(i, i + 1, ("at",), "R:PREP", "Times of the clock go with 'at'.", SURE)
        if False:
            continue
        if word in ("in", "on") and nxt == "night" and s.t(k + 1) in ("PUNCT", "", "PRP", "IN"):
            yield Candidate(i, i + 1, ("at",), "R:PREP", "One says 'at night'.", SURE)
        if word == "in" and nxt == "home" and s.t(k + 1) in ("PUNCT", "", "IN", "CC", "RB", "PRP"):
            yield Candidate(i, i + 1, ("at",), "R:PREP", "One is at home.", SURE)
        if word in ("in", "on") and s.t(k) == "PRPS" and s.w(k + 1) == "opinion" and word == "on":
            yield Candidate(i, i + 1, ("in",), "R:PREP", "One says 'in my opinion'.", SURE)
        if word in ("in", "at") and s.w(k) in ("foot",):
            yield Candidate(i, i + 1, ("on",), "R:PREP", "One goes on foot.", SURE)
    for i in range(len(s)):
        if (
            s.w(i) == "with"
            and s.w(i + 1) in ("car", "bus", "train", "plane", "taxi", "bicycle", "bike", "metro", "subway")
            and s.t(i + 2) not in NOUNS
            and any(s.lemma(k) in ("go", "come", "travel", "get", "arrive") for k in range(i))
        ):
            yield Candidate(i, i + 1, ("by",), "R:PREP", f"One goes by {s.w(i + 1)}.", SURE)
        if s.w(i) == "according" and s.w(i + 1) in ("with", "for"):
            yield Candidate(i + 1, i + 2, ("to",), "R:PREP", "One says 'according to'.", SURE)


RULES = (after_verb, after_adjective, missing, needless, times)
