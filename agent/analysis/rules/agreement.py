"""Subject and verb."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import inflect
from agent.analysis.english.tagging import SAME_IN_PLURAL
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import MASS
from agent.analysis.rules.sentence import FINITE, SURE, Candidate, Sentence

_SINGULAR = wordset("he she it")
_PLURAL = wordset("i we you they")
_BODIES = wordset(
    """
    everybody everyone somebody someone nobody anybody anyone everything something nothing anything
    """
)
_S_WHY = "With he, she or it the verb takes -s."
_NO_S_WHY = "The verb takes -s only with he, she or it."
_PLURAL_HEADS = wordset("people children men women police")
_COLLECTIVE = wordset(
    """
    family team class group staff government company police audience crowd couple majority number lot rest half percent
    variety range pair band data media
    """
)
# Before a bare infinitive, and before a subjunctive.
_CAUSES = wordset(
    """
    make let see hear watch help have feel notice suggest recommend insist demand require ask propose bid advise request
    prefer wish lest
    """
)


_DOUBTS = frozenset(("if", "though", "unless"))
_DEMANDS = wordset("suggest suggested recommend recommended insist demand require essential important necessary ensure wish")
"""Words after which the subjunctive may stand: "I suggest that he go"."""


def _agreeing(word: str, lemma: str, singular: bool, first: bool = False) -> str | None:
    """The form of the verb ``word`` that agrees, or ``None`` where it does or cannot tell."""
    if lemma == "be":
        table = {
            ("are", True): "is",
            ("'re", True): "'s",
            ("were", True): "was",
            ("am", True): "is",
            ("is", False): "are",
            ("was", False): "were",
            ("am", False): "are",
        }
        if first:
            return {"is": "am", "are": "am", "were": "was"}.get(word)
        return table.get((word, singular))
    if word.startswith("'"):
        return None
    if word in ("do", "does", "have", "has"):
        right = {"do": "does", "have": "has"}[lemma] if singular else lemma
        return None if right == word else right
    right_form = inflect(lemma, "VBZ") if singular else lemma
    return None if right_form in (None, word) else right_form


def _inverted(s: Sentence, i: int) -> bool:
    """Whether an auxiliary before the subject at ``i`` takes the verb's endings: "does he go", "can she come", "let him be"."""
    k = i - 1
    if s.w(k) in ("not", "n't"):
        k -= 1
    return (
        s.t(k) == "MD"
        or (s.w(k) in ("do", "does", "did", "if", "whether", "that", "and") and s.w(k) in ("do", "does", "did"))
        or s.lemma(k) in _CAUSES
    )


def pronouns(s: Sentence) -> Iterator[Candidate]:
    """ "she go", "they goes", "he don't", "we was"."""
    for i in range(len(s)):
        word = s.w(i)
        if s.t(i) != "PRP" or (word not in _SINGULAR and word not in _PLURAL):
            continue
        v = s.skip(i + 1)
        if s.t(v) not in ("VBP", "VBZ", "VB", "VBD", "NNS") or v - i > 2:
            continue
        if (
            s.w(v) in ("'s", "'d")
            or s.w(i - 1) in ("and", "or", "nor", "than", "as", "like", "between", "but")
            or _inverted(s, i)
        ):
            # "my wife and he", "taller than he is"; but "and he go" at the beginning of a clause
            if not (
                s.w(i - 1) in ("and", "or", "but")
                and word != "i"
                and (i == 1 or s.t(i - 2) in ("PUNCT", "RB", "VBG", "RP", "VB") or any(t in FINITE for t in s.tags[: i - 1]))
            ) or s.w(v) in ("'s", "'d"):
                continue
        if s.t(i - 1) in ("IN",) and s.w(i - 1) not in (
            "that",
            "because",
            "if",
            "when",
            "although",
            "though",
            "since",
            "until",
            "before",
            "after",
            "so",
            "while",
            "as",
            "than",
            "unless",
            "where",
            "whether",
            "for",
        ):
            continue  # the pronoun is an object: "to you is"
        if word in ("it", "you") and (
            s.t(i - 1) in ("VB", "VBG", "VBN", "TO")
            or (
                s.t(i - 1) in ("VBP", "VBD", "VBZ")
                and s.lemma(i - 1) not in ("think", "say", "know", "hope", "believe", "guess", "be", "feel", "mean")
            )
        ):
            continue  # an object: "I like it very much", "make you feel"
        if s.lemma(v) == "be" and s.has(_DOUBTS, max(0, i - 3), i):
            continue
        if s.has(_DEMANDS | {"insisted", "demanded", "requires", "lest"}, max(0, i - 3), i):
            continue
        if _question_aux(s, i):
            continue
        first = word == "i"
        lemma = s.lemma(v)
        if s.t(v) == "NNS" and word in _PLURAL:
            continue
        if s.t(v) == "NNS":
            continue
        if s.t(v) == "VBD" and lemma != "be":
            continue
        if s.t(v) == "VB" and word in _PLURAL:
            continue
        if lemma in ("can", "may") or s.w(v) in ("need", "dare", "ought", "let", "let's"):
            continue
        right = _agreeing(s.w(v), lemma, word in _SINGULAR, first)
        if s.t(v) in ("VBP", "VB") and word in _SINGULAR and s.w(v) == inflect(lemma, "VBD"):
            continue  # "he put", "she read": may be the past
        if right:
            need = SURE if lemma in ("be", "do", "have") else -1.0
            yield Candidate(v, v + 1, (right,), "R:VERB:SVA", _S_WHY if word in _SINGULAR else _NO_S_WHY, need)


def _question_aux(s: Sentence, i: int) -> bool:
    """Whether "do", "does" or "did" opens the question that the subject at ``i`` stands in."""
    return any(
        s.w(k) in ("do", "does", "did") or s.t(k) == "MD" for k in range(max(0, i - 2), i) if s.t(k) != "PUNCT"
    ) and not s.opens(i)


def subjects(s: Sentence) -> Iterator[Candidate]:
    """ "my brother have", "the people is", "everybody like", "the childs goes"."""
    for i in range(len(s)):
        if not s.opens(i):
            continue
        if s.t(i) not in ("DT", "PRPS", "NN", "NNS", "JJ", "NNP", "CD"):
            continue
        head = s.phrase_end(i)
        if head is None:
            continue
        if s.t(i) == "CD" or (
            s.w(i) in ("half", "all", "both", "many", "more", "most", "some", "any", "no", "such", "what", "a")
            and s.w(head) in _COLLECTIVE
        ):
            continue
        at = head
        v = s.skip(head + 1)
        if s.w(v) in ("here", "there"):
            v = s.skip(v + 1)
        # One prepositional phrase between: "everybody in my class like".
        if s.w(head + 1) in ("in", "of", "from", "at", "with", "on", "near") and s.w(head) not in (
            "lot",
            "number",
            "kind",
            "type",
            "sort",
            "majority",
            "group",
            "couple",
            "variety",
            "pair",
            "rest",
            "half",
            "part",
            "series",
            "set",
            "range",
        ):
            end = s.phrase_end(head + 2)
            if end is None:
                continue
            v = s.skip(end + 1)
            if s.w(v) == "like" and s.w(head) in _BODIES and not any(t in FINITE for t in s.tags[v:]):
                yield Candidate(v, v + 1, ("likes",), "R:VERB:SVA", _S_WHY, SURE)
                continue
            if s.t(v) not in ("VBP", "VBZ", "VBD") or s.w(head + 1) == "with":
                continue
        if i > 0 and s.w(i - 1) in ("and", "or", "but", "so", "then") and s.t(i - 2) != "PUNCT" and s.w(i - 1) in ("and", "or"):
            continue
        if (
            s.t(i - 1) == "PUNCT"
            and s.w(i - 1) == ","
            and i > 1
            and s.t(i - 2) in ("NN", "NNS", "NNP", "JJ")
            and not s.has(frozenset(("yesterday", "today", "now")), i - 2, i - 1)
        ) and (s.t(head + 1) == "CC" or s.w(i - 3) == ","):
            continue  # a list
        if s.t(v) not in ("VBP", "VBZ", "VB", "VBD") or v - head > 5:
            continue
        if s.w(v) in ("'s", "'d", "let") or s.has(frozenset(("and", "or")), i, v):
            continue
        lemma, word = s.lemma(v), s.w(v)
        k = i - 1
        if s.t(k) == "MD" or s.w(k) in ("do", "does", "did", "if", "whether", "than", "who", "which") or s.lemma(k) in _CAUSES:
            continue
        if s.has(_DEMANDS | {"if"}, max(0, i - 4), i):
            continue
        if any(s.w(x) in ("do", "does", "did") or s.t(x) == "MD" for x in range(max(0, i - 2), i)):
            continue
        noun = s.w(head)
        tag = s.t(head)
        if (
            tag == "NNP"
            or noun in SAME_IN_PLURAL - {"people"}
            or noun
            in (
                "which",
                "politics",
                "economics",
                "physics",
                "news",
                "mathematics",
                "series",
                "means",
                "headquarters",
                "works",
                "united states",
                "plenty",
                "rest",
                "majority",
                "lot",
                "lots",
                "thanks",
                "percent",
                "number",
                "data",
                "media",
                "half",
            )
        ):
            continue
        plural = tag == "NNS" or noun in _PLURAL_HEADS
        if not plural and (noun in _COLLECTIVE or s.w(i) in ("these", "those")):
            continue
        if plural and s.w(i) in ("this", "that", "a", "an", "every", "each", "one", "another") and noun not in _PLURAL_HEADS:
            continue
        if s.t(v) == "VB" and (plural or s.t(v - 1) in ("TO", "MD")):
            continue
        if s.t(v) == "VBD" and lemma != "be":
            continue
        if not plural and s.t(v) in ("VBP", "VB") and lemma != "be":
            if word == inflect(lemma, "VBD"):
                continue
            if head + 1 == v and tag == "NN" and i == head and noun not in _BODIES:
                continue  # "Water run" may be a noun; a bare noun is too little
            if at + 1 != v and s.t(v) == "VB":
                continue
        right = _agreeing(word, lemma, not plural)
        if right is None:
            continue
        if lemma == "be" and word in ("were",) and not plural and s.has(frozenset(("if", "though", "wish")), 0, i):
            continue
        if not plural and lemma == "be" and word in ("are", "were") and (s.w(i) in ("what", "all") or False):
            continue
        need = 0.0 if lemma in ("be", "do", "have") else 0.3
        if s.t(v + 1) == "NOT" and lemma == "do" and v == head + 1 and s.t(i) in ("DT", "PRPS") and head == i + 1:
            need = SURE
        if noun in _BODIES or noun == "people":
            need = -1.0
        yield Candidate(
            v, v + 1, (right,), "R:VERB:SVA", _S_WHY if not plural else "With a plural subject the verb has no -s.", need
        )


def one_of_verb(s: Sentence) -> Iterator[Candidate]:
    """ "one of the windows are", "each of them have"."""
    for i in range(len(s)):
        if s.w(i) in ("one", "each", "neither", "either") and s.w(i + 1) == "of" and s.opens(i) and s.t(i - 1) != "CD":
            head = s.phrase_end(i + 2) if s.t(i + 2) != "PRP" else i + 2
            if head is None:
                continue
            v = s.skip(head + 1)
            if (s.t(v) in ("VBP", "VBD") and s.w(v) in ("are", "were", "have", "do")) or (
                s.t(v) == "VBP" and s.w(i) in ("one", "each")
            ):
                right = _agreeing(s.w(v), s.lemma(v), True)
                if right:
                    yield Candidate(
                        v,
                        v + 1,
                        (right,),
                        "R:VERB:SVA",
                        f"The subject is '{s.w(i)}': the verb is singular.",
                        SURE if s.t(head) in ("NNS", "PRP") and v == head + 1 else -1.0,
                    )


def there_is(s: Sentence) -> Iterator[Candidate]:
    """ "there is many shops", "there are a park", "there have"."""
    for i in range(len(s)):
        if s.w(i) != "there":
            continue
        v = s.skip(i + 1, ("RB", "NOT"))
        if (
            s.w(v) in ("have", "has")
            and s.w(v + 1) not in ("been", "to", "always", "never", "also", "not", "recently")
            and (s.opens(i) or s.t(i) == "EX")
            and s.t(v + 1) in ("DT", "JJ", "NN", "NNS", "CD", "RB")
        ):
            if s.t(v + 1) == "RB" and s.w(v + 1) not in ("so", "very", "too"):
                continue
            end = s.phrase_end(v + 1)
            plural = (end is not None and s.t(end) == "NNS") or s.w(v + 1) in ("many", "several")
            yield Candidate(
                v, v + 1, ("are" if plural else "is",), "R:VERB", "What exists is said with 'there is' or 'there are'.", SURE
            )
            continue
        if s.w(v) not in ("is", "are", "was", "were", "'s"):
            continue
        k = v + 1
        if s.t(k) in ("RB", "NOT"):
            k = s.skip(k, ("RB", "NOT"))
        singular = s.w(v) in ("is", "was", "'s")
        plain = {"is": "are", "was": "were", "are": "is", "were": "was", "'s": "are"}[s.w(v)]
        end = s.phrase_end(k)
        if s.w(k) in ("many", "several", "few") and singular:
            if end is not None and s.t(end) == "NN" and s.w(end) in MASS:
                continue
            yield Candidate(v, v + 1, (plain,), "R:VERB:SVA", "Before a plural one says 'there are'.", SURE)
            continue
        if end is None:
            continue
        if s.seq(k, "a lot of") or s.seq(k, "lots of") or s.seq(k, "plenty of"):
            end2 = s.phrase_end(k + (3 if s.w(k) == "a" else 2))
            if end2 is None:
                continue
            noun_plural = s.t(end2) == "NNS"
            if noun_plural and singular and s.w(v) != "'s":
                yield Candidate(v, v + 1, (plain,), "R:VERB:SVA", "Before a plural one says 'there are'.", -0.3)
            elif not noun_plural and not singular and s.w(end2) in MASS and s.t(end2 + 1) != "CC":
                yield Candidate(v, v + 1, (plain,), "R:VERB:SVA", "Before an uncountable noun one says 'there is'.", 0.0)
            continue
        if (
            s.t(end) == "NNS"
            and singular
            and s.w(k) not in ("a", "an", "no", "nothing", "another", "one", "this")
            and s.t(end + 1) != "POS"
            and s.w(end) not in ("lots", "news")
        ):
            if s.w(v) == "'s":
                continue  # usual in speech
            yield Candidate(v, v + 1, (plain,), "R:VERB:SVA", "Before a plural one says 'there are'.", 0.0)
        if (
            s.t(end) == "NN"
            and not singular
            and s.w(k) in ("a", "an")
            and s.w(end)
            not in (
                "lot",
                "number",
                "couple",
                "few",
                "variety",
                "majority",
                "dozen",
                "hundred",
                "handful",
                "range",
                "series",
                "bunch",
                "total",
            )
            and s.t(end + 1) != "CC"
            and s.w(end + 1) != ","
        ):
            yield Candidate(v, v + 1, (plain,), "R:VERB:SVA", "Before a singular one says 'there is'.", 0.0)


RULES = (pronouns, subjects, one_of_verb, there_is)
