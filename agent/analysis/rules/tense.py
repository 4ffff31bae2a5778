"""Verb tenses that contradict the time said beside them."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect, verb_lemma
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import DAYS, MONTHS, STATIVE, UNITS
from agent.analysis.rules.sentence import SURE, Candidate, Sentence

_UNITS = UNITS | frozenset(u + "s" for u in UNITS)
_DAYS = wordset("monday tuesday wednesday thursday friday saturday sunday")
_SUBJECTS = ("PRP", "NN", "NNS", "NNP", "EX")


def _past_marker(s: Sentence) -> tuple[int, int] | None:
    """Where a word of the finished past stands: "yesterday", "last week", "two years ago"; ``None`` if there is none."""
    for i in range(len(s)):
        if s.w(i) == "yesterday" and s.w(i - 1) not in ("since", "until", "from", "'s", "of") and s.w(i + 1) != "'s":
            return i, i + 1
        if (
            s.w(i) == "last"
            and s.w(i + 1) in _UNITS | _DAYS
            and s.w(i - 1) not in ("the", "since", "until", "from", "of", "for", "over", "in", "'s", "than")
        ):
            return i, i + 2
        if s.seq(i, "this morning") and "VBD" in s.tags and s.w(i + 2) not in ("'s",) and i == 0:
            return i, i + 2
        if (
            s.w(i) == "ago"
            and i >= 2
            and s.w(i - 1) in _UNITS | {"time"}
            and not s.has(frozenset(("since",)), max(0, i - 4), i)
        ):
            return i - 2, i + 1
    return None


def present_with_past_time(s: Sentence) -> Iterator[Candidate]:
    """ "Yesterday I go", "She has called me yesterday", "When I was a child, I play"."""
    marker = _past_marker(s)
    child = next(
        (
            i
            for i in range(len(s))
            if s.w(i) == "when"
            and s.w(i + 1) in ("i", "he", "she", "we", "they")
            and s.w(i + 2) in ("was", "were")
            and s.has(
                frozenset(("child", "kid", "young", "little", "boy", "girl", "student", "teenager", "baby", "years", "school")),
                i + 3,
                i + 7,
            )
        ),
        None,
    )
    if marker is None and child is None:
        return
    if s.has(
        frozenset(
            (
                "if",
                "wish",
                "would",
                "said",
                "told",
                "says",
                "say",
                "tell",
                "tells",
                "think",
                "know",
                "remember",
                "believe",
                "hope",
                "sorry",
                "mean",
                "guess",
                "seems",
                "feel",
                "suppose",
                "find",
            )
        )
    ):
        present_allowed = False
    else:
        present_allowed = True
    for v in range(len(s)):
        # "have" + participle with a finished time
        if marker and s.w(v) in ("have", "has", "'ve") and s.t(v) in ("VBP", "VBZ", "MD"):
            p = s.skip(v + 1, ("RB", "NOT"))
            if (
                s.t(p) in ("VBN", "VBD")
                and s.w(p) != "had"
                and not s.has(frozenset(("since", "already")), 0)
                and _same_clause(s, v, marker[0])
            ):
                past = inflect(s.lemma(p), "VBD")
                if s.lemma(p) == "be":
                    past = "was" if s.w(v) == "has" or s.w(v - 1) == "i" else "were"
                if past and p == v + 1:
                    yield Candidate(
                        v,
                        p + 1,
                        (past,),
                        "R:VERB:TENSE",
                        "With a finished time (yesterday, last …, … ago) the past simple is used.",
                        SURE,
                    )
                continue
        if not present_allowed or (s.t(v) not in ("VBP", "VBZ") and not (s.t(v) == "VB" and s.t(v - 1) in ("PRP", "NNS"))):
            continue
        if s.w(v) in ("'s", "'re", "'m", "'ve") or s.lemma(v) in STATIVE | {"do", "think"}:
            continue
        subject = s.skip(v - 1, step=-1)
        if s.t(subject) not in _SUBJECTS or (s.lemma(v) == "be" and s.t(s.skip(v + 1, ("RB", "NOT"))) == "VBG"):
            continue
        if s.t(v - 1) in ("MD", "TO") or any(
            s.w(k) in ("do", "does", "did") or s.t(k) == "MD" or s.lemma(k) in ("make", "let", "help", "see", "hear", "watch")
            for k in range(max(0, v - 3), v)
        ):
            continue
        near = marker[0] if marker else (child or 0)
        if (
            not _same_clause(s, v, near)
            and child is None
            and not (
                v > near
                and s.lemma(v) != "be"
                and s.t(s.skip(v + 1, ("RB", "NOT"))) not in ("VBN", "VBG")
                and s.w(s.clause_start(v) - 1) in ("and", "but", "so", "then", ",")
            )
        ):
            continue
        if (
            child is not None
            and marker is None
            and (s.has(frozenset(("now", "today", "still")), 0) or s.has(frozenset(("which", "that", "who")), max(0, v - 2), v))
        ):
            continue
        if s.w(s.clause_start(v)) in ("which", "who", "that", "where") or s.w(s.clause_start(v) - 1) in (
            "which",
            "who",
            "that",
            "where",
            "because",
            "as",
            "since",
            "than",
        ):
            continue
        past = inflect(s.lemma(v), "VBD")
        if s.lemma(v) == "be":
            past = {"is": "was", "am": "was", "are": "were"}.get(s.w(v))
        if s.w(v) in ("have", "has") and s.t(s.skip(v + 1, ("RB", "NOT"))) in ("VBN", "VBD"):
            continue
        if past and past != s.w(v):
            yield Candidate(
                v, v + 1, (past,), "R:VERB:TENSE", "The time is past, so the verb stands in the past.", -0.7 if marker else 0.0
            )


def _same_clause(s: Sentence, v: int, marker: int) -> bool:
    """Whether no conjunction or relative stands between a verb and a time."""
    low, high = sorted((v, marker))
    if "that" in s.words[low + 1 : high]:
        k = s.words.index("that", low + 1)
        if s.t(k + 1) not in ("NN", "JJ") or s.t(s.skip(k + 2, ("NN", "NNS"))) in ("VBP", "VBZ", "VBD", "MD"):
            return False
    return not any(
        s.w(k)
        in ("because", "but", "and", "which", "who", "when", "while", "so", "where", "if", "than", "as", ";", "-", "since")
        for k in range(low + 1, high)
    )


def past_with_future_time(s: Sentence) -> Iterator[Candidate]:
    """ "Tomorrow I visited"."""
    for i in range(len(s)):
        tomorrow = s.w(i) == "tomorrow" and s.w(i + 1) not in ("'s",)
        coming = s.w(i) == "next" and s.w(i + 1) in _UNITS and s.w(i - 1) not in ("the",) and i == 0
        if not (tomorrow or coming) or s.has(
            frozenset(
                (
                    "said",
                    "told",
                    "thought",
                    "wanted",
                    "decided",
                    "planned",
                    "hoped",
                    "was",
                    "were",
                    "knew",
                    "asked",
                    "promised",
                    "agreed",
                )
            )
        ):
            continue
        for v in range(len(s)):
            if (
                s.t(v) == "VBD"
                and s.t(v - 1) in ("PRP", "NN", "NNS", "NNP")
                and s.w(v) not in ("had", "'d", "did", "could", "would")
                and _same_clause(s, v, i)
                and s.lemma(v) != "be"
            ):
                yield Candidate(v, v + 1, ("will", s.lemma(v)), "R:VERB:TENSE", "The time is to come: will …", -0.5)


def since_and_for(s: Sentence) -> Iterator[Candidate]:
    """ "I live here since 2015", "I am living here for ten years", "since six years", "I didn't see him since Monday"."""
    for i in range(len(s)):
        if s.w(i) == "since" and s.t(i) == "IN":
            span = _duration(s, i + 1)
            if span and s.w(span) != "ago":
                yield Candidate(
                    i, i + 1, ("for",), "R:PREP", "For a length of time one says 'for'; 'since' names its beginning.", SURE
                )
            began = s.t(i + 1) == "PRP" and (
                s.w(i + 2) in ("was", "were")
                or (s.lemma(i + 2) in ("start", "begin", "move", "leave", "meet", "arrive") and s.t(i + 2) == "VBD")
            )
            moment = s.t(i + 1) in ("PRPS", "DT") and s.has(
                wordset(
                    """
    beginning start birth birthday childhood morning end day time moment week month year graduation wedding
    """
                ),
                i + 2,
                i + 4,
            )
            year = s.w(i + 1).isdecimal() and len(s.w(i + 1)) == 4
            point = (
                span is not None
                or year
                or began
                or moment
                or s.w(i + 1) in MONTHS | DAYS | {"then", "last", "childhood", "yesterday", "morning"}
            )
            if not point or i == 0:
                continue
            length = span if span is not None else None
            yield from _perfect(s, i, "since" if length is None else "for")
        elif s.w(i) == "for":
            span = _duration(s, i + 1)
            if (span and i > 0 and s.t(s.skip(span)) in ("PUNCT", "")) or (span and s.w(span) in ("now", "already")):
                be = next((k for k in range(s.clause_start(i), i) if s.lemma(k) == "be" and s.t(k) in ("VBP", "VBZ")), None)
                if (
                    be is not None
                    and s.t(s.skip(be + 1, ("RB", "NOT"))) == "VBG"
                    and s.lemma(s.skip(be + 1, ("RB", "NOT")))
                    in ("live", "work", "study", "learn", "wait", "play", "teach", "stay", "drive", "smoke")
                ):
                    yield from _perfect(s, i, "for")


def _perfect(s: Sentence, i: int, word: str) -> Iterator[Candidate]:
    """The verb before ``since`` or ``for`` at ``i``, put into the present perfect."""
    start = s.clause_start(i)
    why = f"What began in the past and still goes on stands in the present perfect: have … {word} …"
    for v in range(start, i):
        if s.t(v) not in ("VBP", "VBZ", "VBD") or s.t(s.skip(v - 1, ("RB",), -1)) not in _SUBJECTS:
            continue
        subject = s.w(s.skip(v - 1, ("RB",), -1))
        single = (
            s.t(v) == "VBZ" or subject in ("he", "she", "it") or (s.t(v) == "VBD" and s.t(s.skip(v - 1, ("RB",), -1)) == "NN")
        )
        have = "has" if single else "have"
        if s.w(v) in ("have", "has", "had", "'ve", "'s", "'d") and s.t(s.skip(v + 1, ("RB", "NOT"))) in ("VBN", "VBD"):
            return
        if s.w(v) in ("did", "do", "does") and s.t(v + 1) == "NOT":
            p = s.skip(v + 2)
            part = inflect(s.lemma(p), "VBN") if s.t(p) in ("VB", "VBP") else None
            if part and p == v + 2:
                yield Candidate(v, p + 1, (have, s.w(v + 1), part), "R:VERB:TENSE", why, SURE)
            return
        if s.t(v) == "VBD":
            return
        if s.lemma(v) == "be":
            nxt = s.skip(v + 1, ("RB", "NOT"))
            if (s.t(nxt) == "VBN" and nxt == v + 1) or s.w(v) == "'s":
                return
            if nxt == v + 1 or s.t(v + 1) == "RB":
                yield Candidate(v, v + 1, (have, "been"), "R:VERB:TENSE", why, SURE)
            return
        part = inflect(s.lemma(v), "VBN")
        if part and s.lemma(v) not in ("do",):
            yield Candidate(v, v + 1, (have, part), "R:VERB:TENSE", why, SURE)
        return


def _duration(s: Sentence, i: int) -> int | None:
    """The index after "three years", "a long time", "many months" from ``i`` on, or ``None``."""
    k = i
    while s.w(k) in ("about", "almost", "more", "than", "over", "nearly", "around", "the", "last", "past"):
        k += 1
    number = (s.t(k) == "CD" and not (s.w(k).isdecimal() and len(s.w(k)) == 4)) or s.w(k) in (
        "many",
        "several",
        "few",
        "a",
        "an",
        "some",
    )
    if not number:
        return None
    k += 1
    if s.w(k) in ("few", "couple", "long", "of", "lot"):
        k += 1 if s.w(k) != "couple" else 2
    if s.w(k) in (
        "years",
        "months",
        "weeks",
        "days",
        "hours",
        "minutes",
        "year",
        "month",
        "week",
        "day",
        "hour",
        "time",
        "decades",
    ) and (s.w(k) != "time" or s.w(k - 1) in ("long", "some")):
        if s.w(k - 1) in ("a", "an") and s.w(k) == "time":
            return None
        return k + 1
    return None


def will_after_when(s: Sentence) -> Iterator[Candidate]:
    """ "when I will arrive", "if it will rain"."""
    for i in range(len(s)):
        if s.w(i) not in ("when", "if", "before", "after", "until", "unless") or s.t(i + 1) not in (
            "PRP",
            "NNP",
            "DT",
            "PRPS",
            "NN",
            "NNS",
        ):
            continue
        subject = i + 1 if s.t(i + 1) == "PRP" else s.phrase_end(i + 1)
        if subject is None or s.w(subject + 1) not in ("will", "'ll") or s.t(subject + 2) != "VB":
            continue
        if (
            (
                i > 0
                and s.lemma(i - 1)
                in (
                    "know",
                    "wonder",
                    "ask",
                    "tell",
                    "remember",
                    "say",
                    "see",
                    "sure",
                    "care",
                    "doubt",
                    "me",
                    "you",
                    "decide",
                    "guess",
                    "and",
                    "or",
                    "day",
                    "time",
                    "matter",
                    "question",
                )
            )
            or (s.t(i - 1) == "PRP" and s.lemma(i - 2) in ("tell", "ask", "show", "let", "remind"))
            or "?" in s.words
        ):
            continue
        if s.t(i - 1) in ("NN", "NNS") and s.w(i) == "when":
            continue
        main = any(s.w(k) in ("will", "'ll") or s.t(k) == "VB" for k in [*range(i), *range(subject + 3, len(s))])
        if not main:
            continue
        verb = s.lemma(subject + 2)
        third = s.w(subject) in ("he", "she", "it") or s.t(subject) in ("NN", "NNP")
        form = (
            inflect(verb, "VBZ") if third else ("am" if verb == "be" and s.w(subject) == "i" else {"be": "are"}.get(verb, verb))
        )
        if form:
            yield Candidate(
                subject + 1, subject + 3, (form,), "R:VERB:TENSE", f"After '{s.w(i)}' the future is said in the present.", SURE
            )


def stative_progressive(s: Sentence) -> Iterator[Candidate]:
    """ "I am knowing him"."""
    for i in range(len(s)):
        if s.t(i) == "VBG" and s.lemma(i) in (
            "know",
            "believe",
            "own",
            "belong",
            "need",
            "understand",
            "contain",
            "prefer",
            "own",
        ):
            be = s.skip(i - 1, ("RB", "NOT"), -1)
            if (
                s.w(be) in ("am", "is", "are", "'m", "'s", "'re")
                and s.t(s.skip(be - 1, ("RB",), -1)) in ("PRP", "NN", "NNS", "NNP")
                and be == i - 1
            ):
                subject = s.w(be - 1)
                third = s.w(be) in ("is", "'s")
                if (s.w(be) == "'s" and subject not in ("he", "she", "it")) or (s.w(i + 1) in ("to",) and s.lemma(i) == "need"):
                    continue
                form = inflect(s.lemma(i), "VBZ") if third else s.lemma(i)
                if form:
                    yield Candidate(
                        be, i + 1, (form,), "R:VERB:TENSE", f"'{s.lemma(i)}' names a state and takes no -ing form here.", SURE
                    )


def did_ever_been(s: Sentence) -> Iterator[Candidate]:
    """ "Did you ever been", "Do you have ever been"."""
    for i in range(len(s)):
        if s.w(i) in ("did", "do") and s.t(i + 1) == "PRP":
            p = s.skip(i + 2)
            if s.w(p) in ("been", "gone", "seen", "done", "eaten", "written"):
                have = "has" if s.w(i + 1) in ("he", "she", "it") else "have"
                yield Candidate(i, i + 1, (have,), "R:VERB:TENSE", "With a participle the question begins with 'have'.", SURE)
            if s.w(p) == "have" and s.w(p + 1) == "ever":
                yield Candidate(
                    i, p + 1, ("have", s.w(i + 1)), "R:VERB:TENSE", "Experience is asked for with 'Have you ever …?'", SURE
                )


def already_left(s: Sentence) -> Iterator[Candidate]:
    """ "When we arrived, the train already left"."""
    if s.w(0) not in ("when", "before") and not s.has(frozenset(("when",))):
        return
    when = s.words.index("when") if "when" in s.words else 0
    has_past = any(s.t(k) == "VBD" for k in range(when, min(len(s), when + 5)))
    for i in range(len(s)):
        if (
            s.w(i) == "already"
            and (s.t(i + 1) == "VBD" or s.w(i + 1) in ("left", "gone", "begun"))
            and s.t(i - 1) in ("NN", "PRP", "NNS", "NNP")
            and has_past
            and s.lemma(i + 1) != "be"
            and s.w(i + 1) not in ("had", "knew")
        ):
            part = inflect(verb_lemma(s.w(i + 1)) or s.lemma(i + 1), "VBN")
            if part:
                yield Candidate(
                    i,
                    i + 2,
                    ("had", "already", part),
                    "R:VERB:TENSE",
                    "What was over before a past moment stands in the past perfect: had …",
                    SURE,
                )


RULES = (
    present_with_past_time,
    past_with_future_time,
    since_and_for,
    will_after_when,
    stative_progressive,
    did_ever_been,
    already_left,
)
