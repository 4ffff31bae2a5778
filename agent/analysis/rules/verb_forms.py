"""Verb forms after auxiliaries, verbs and prepositions."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis.english.forms import all_forms, inflect, lemmas, verb_lemma
from agent.analysis.english.wordset import wordset
from agent.analysis.rules.lists import WRONG_PASTS
from agent.analysis.rules.sentence import SURE, VERBS, Candidate, Sentence

_MODALS = wordset("can could will would shall should must may might 'll ca wo")
_GERUND = wordset(
    """
    enjoy finish avoid mind practise practice suggest keep imagine dislike quit consider recommend admit deny miss
    postpone risk
    """
)
_INFINITIVE = wordset(
    """
    want need decide hope plan promise refuse agree expect learn offer manage seem tend wish afford intend choose
    """
)
_BARE_CAUSE = wordset("make let")
_GERUND_AFTER_TO = (
    ("look", "forward"),
    ("used",),
    ("accustomed",),
    ("object",),
    ("addicted",),
    ("dedicated",),
    ("devoted",),
    ("committed",),
    ("opposed",),
)
_PREPOSITIONS = wordset("for of without by about before after in at from on instead despite")
_SINGULAR_OBJECT = wordset("me you him her us them it")
_NOT_BASE = wordset("better like please thank let")


def _is_verb(s: Sentence, i: int) -> bool:
    return s.t(i) in VERBS


def after_modal(s: Sentence) -> Iterator[Candidate]:
    """ "can sings", "must to pay", "will going", "should went"."""
    for i in range(len(s)):
        if s.t(i) != "MD" or s.w(i) not in _MODALS or (s.w(i) == "will" and s.t(i - 1) in ("DT", "PRPS", "JJ")):
            continue
        v = s.skip(i + 1, ("RB", "NOT"))
        if (
            s.t(v) == "PRP"
            and s.w(v) in ("i", "you", "he", "she", "it", "we", "they")
            and (i == 0 or s.t(i - 1) in ("PUNCT", "WH", "UH"))
            and s.words[-1:] == ["?"]
        ):
            v = s.skip(v + 1, ("RB",))
        if (
            s.w(v) == "to"
            and s.t(v + 1) in ("VB", "VBP", "NN")
            and verb_lemma(s.w(v + 1)) == s.w(v + 1)
            and s.w(i) not in ("may", "might")
        ) or (s.w(v) == "to" and s.w(v + 1) in ("be", "have", "do", "go")):
            if s.w(i) in ("will", "can") and s.t(i) != "MD":
                continue
            yield Candidate(v, v + 1, (), "U:PART", f"After '{s.text(i)}' the verb stands without 'to'.", SURE)
            continue
        if s.t(v) not in ("VBZ", "VBD", "VBG", "VBN") and not (
            s.t(v) in ("NNS", "NN")
            and s.w(i) in ("can", "should", "must", "could", "would")
            and v == i + 1
            and verb_lemma(s.w(v))
            and s.w(v) != verb_lemma(s.w(v))
        ):
            continue
        word = s.w(v)
        base = verb_lemma(word)
        if (
            not base
            or base == word
            or word in ("'s", "'re", "'d", "found", "left", "lay", "saw", "felt", "fell", "being", "ground", "wound", "bound")
            or s.w(v - 1) in ("and", "or")
        ):
            continue
        if s.t(v) == "NNS" and s.t(i) == "MD" and s.w(i) in ("can", "will") and s.t(i - 1) not in ("PRP", "NN", "NNP", "NNS"):
            continue
        need = -0.3 if s.t(v) in ("VBZ", "VBD") else 0.5
        yield Candidate(v, v + 1, (base,), "R:VERB:FORM", f"After '{s.text(i)}' the verb stands in its base form.", need)


def after_do(s: Sentence) -> Iterator[Candidate]:
    """ "didn't went", "does she goes", "don't likes"."""
    for i in range(len(s)):
        if s.w(i) not in ("do", "does", "did"):
            continue
        v = s.skip(i + 1, ("NOT", "RB"))
        negated = s.t(i + 1) == "NOT"
        if not negated:
            if not (s.opens(i) or s.t(i - 1) == "WH"):
                continue
            if s.t(v) == "PRP":
                v = s.skip(v + 1)
            else:
                end = s.phrase_end(v)
                if end is None or s.words[-1:] != ["?"]:
                    continue
                v = s.skip(end + 1)
        if s.t(v) in ("VBD", "VBZ", "VBN", "VBG") or (negated and s.t(v) == "NNS" and v == i + 2 and verb_lemma(s.w(v))):
            base = verb_lemma(s.w(v))
            if base and base != s.w(v) and s.w(v) not in ("'s", "'re", "'d", "been"):
                need = -0.5 if s.t(v) in ("VBD", "VBZ") else 0.3
                yield Candidate(
                    v, v + 1, (base,), "R:VERB:FORM", f"After '{s.text(i)}' the verb stands in its base form.", need
                )
        if s.w(v) == "to" and negated and s.t(v + 1) == "VB" and s.w(i) != "do":
            yield Candidate(v, v + 1, (), "U:PART", f"After '{s.text(i)}n't' the verb stands without 'to'.", 0.5)


def after_have(s: Sentence) -> Iterator[Candidate]:
    """ "have went", "has ate", "have see"."""
    for i in range(len(s)):
        if s.w(i) not in ("have", "has", "had", "'ve") or s.t(i) not in ("VBP", "VBZ", "VBD", "VB", "MD"):
            continue
        v = s.skip(i + 1, ("RB", "NOT"))
        word = s.w(v)
        lemma = verb_lemma(word)
        if not lemma or s.t(v) not in ("VBD", "VB", "VBP", "VBN"):
            continue
        part = inflect(lemma, "VBN")
        past = inflect(lemma, "VBD")
        if s.t(v) == "VBD" or word == past != part:
            if (
                part
                and word not in (part, "got", "had", "read", "put", "cut", "let", "set", "hit", "cost", "left")
                and word == past
                and word not in all_forms(lemma, "VBN")
            ):
                yield Candidate(
                    v, v + 1, (part,), "R:VERB:FORM", f"After '{s.text(i)}' stands the past participle: {part}.", SURE
                )
        elif (
            s.t(v) in ("VB", "VBP")
            and s.t(v - 1) in ("RB", "NOT")
            and s.w(v - 1) in ("never", "not", "n't", "already", "just", "ever")
            and part
            and part != word
            and s.w(i) in ("have", "has", "'ve")
        ):
            yield Candidate(v, v + 1, (part,), "R:VERB:FORM", f"After '{s.text(i)}' stands the past participle: {part}.", 0.3)


def after_be(s: Sentence) -> Iterator[Candidate]:
    """ "I am agree", "she is work"."""
    for i in range(len(s)):
        if s.w(i) not in ("am", "is", "are", "'m", "'re", "was", "were") or s.t(i + 1) not in ("VB", "VBP", "NN", "JJ"):
            continue
        v = i + 1
        if s.t(i - 1) not in ("PRP", "NN", "NNS", "NNP"):
            continue
        word = s.w(v)
        if word == "agree" and s.t(i - 1) == "PRP":
            present = s.w(i) in ("am", "is", "are", "'m", "'re")
            verb = ("agrees" if s.w(i) == "is" else "agree") if present else "agreed"
            yield Candidate(i, v + 1, (verb,), "U:VERB", "'Agree' is a verb: I agree.", SURE)
            continue
        found = lemmas(word)
        if (
            s.t(i - 1) != "PRP"
            or s.w(i - 1) not in ("i", "he", "she", "we", "they", "it", "you")
            or "VERB" not in found
            or verb_lemma(word) != word
        ):
            continue
        if word not in _CLEAR_VERBS:
            continue
        ing = inflect(word, "VBG")
        plain = {
            "am": word,
            "'m": word,
            "are": word,
            "'re": word,
            "is": inflect(word, "VBZ"),
            "was": inflect(word, "VBD"),
            "were": inflect(word, "VBD"),
        }[s.w(i)]
        if ing and plain:
            habitual = s.has(frozenset(("every", "always", "usually", "often", "sometimes", "never")))
            yield Candidate(
                i,
                v + 1,
                (plain,),
                "U:VERB:TENSE",
                "Either 'be' with the -ing form, or the verb alone.",
                SURE + (0 if habitual or s.lemma(v) in ("like", "want", "know", "think", "live", "have") else 0.5),
            )
            yield Candidate(v, v + 1, (ing,), "R:VERB:FORM", "Either 'be' with the -ing form, or the verb alone.", SURE + 0.2)


_CLEAR_VERBS = wordset(
    """
    go eat write speak learn live think want know like study work play make take buy see meet teach cook agree
    listen watch wait talk walk
    """
)


def after_verb(s: Sentence) -> Iterator[Candidate]:
    """ "enjoy to cook", "want go", "made me to clean", "decided going"."""
    for i in range(len(s)):
        lemma = s.lemma(i)
        if not _is_verb(s, i):
            continue
        if (
            lemma in _GERUND
            and s.w(i + 1) == "to"
            and s.t(i + 2) in ("VB", "VBP")
            and not (lemma in ("mind", "practice", "finish", "keep", "risk", "miss") and s.t(i) not in VERBS)
            and s.w(i) != "considered"
        ):
            ing = inflect(s.lemma(i + 2), "VBG")
            if (ing and s.lemma(i + 2) != "be") or lemma in ("avoid", "enjoy"):
                yield Candidate(i + 1, i + 3, (str(ing),), "R:VERB:FORM", f"After '{lemma}' stands the -ing form.", -0.3)
        if (
            lemma in _GERUND - {"practice", "practise", "suggest", "recommend", "risk", "deny", "admit", "quit", "keep"}
            and s.t(i + 1) == "VB"
            and s.w(i + 1) not in _NOT_BASE
        ):
            ing = inflect(s.lemma(i + 1), "VBG")
            if ing:
                yield Candidate(i + 1, i + 2, (ing,), "R:VERB:FORM", f"After '{lemma}' stands the -ing form.", 0.0)
        if lemma in _INFINITIVE and s.t(i) in ("VB", "VBP", "VBZ", "VBD"):
            nxt = s.w(i + 1)
            verbish = s.t(i + 1) in ("VB", "VBP") and verb_lemma(nxt) == nxt and nxt not in _NOT_BASE
            if (
                (
                    verbish
                    and ("NOUN" not in lemmas(nxt) or s.t(i + 2) in ("DT", "PRPS", "PRP", "IN", "TO", "NNP"))
                    and lemma in ("want", "need", "decide", "hope", "plan", "promise", "refuse", "expect", "wish", "afford")
                )
                and not ((lemma == "need" and s.t(i - 1) == "NOT") or (lemma == "need" and s.t(i) == "MD"))
                and not (lemma in ("hope", "wish", "expect", "promise") and s.t(i + 1) == "VBP")
            ):
                yield Candidate(i + 1, i + 1, ("to",), "M:PART", f"After '{lemma}' stands 'to' and the verb.", -0.3)
            if (
                s.t(i + 1) == "VBG"
                and lemma
                in ("want", "decide", "hope", "plan", "promise", "refuse", "agree", "expect", "wish", "afford", "manage")
                and s.t(i + 2) != "NN"
            ):
                base = s.lemma(i + 1)
                yield Candidate(i + 1, i + 2, ("to", base), "R:VERB:FORM", f"After '{lemma}' stands 'to' and the verb.", 0.0)
            if nxt == "to" and s.t(i + 2) in ("VBD", "VBZ", "VBG") and (verb_lemma(s.w(i + 2)) or s.w(i + 2)) != s.w(i + 2):
                yield Candidate(
                    i + 2, i + 3, (str(verb_lemma(s.w(i + 2))),), "R:VERB:FORM", "After 'to' stands the base form.", -0.5
                )
        if lemma in _BARE_CAUSE and s.t(i) in VERBS:
            k = i + 1
            if s.w(k) in _SINGULAR_OBJECT or (s.t(k) in ("PRPS", "DT", "NNP", "NNS")):
                end = k if s.w(k) in _SINGULAR_OBJECT else s.phrase_end(k)
                if (
                    end is not None
                    and s.w(end + 1) == "to"
                    and s.t(end + 2) in ("VB",)
                    and (s.w(i) != "made" or s.t(i - 1) not in ("VBD", "VBZ", "VBP", "VB", "VBN"))
                    and end - k <= 1
                ):
                    if (
                        s.t(k) in ("PRPS", "DT", "NNS")
                        and lemma == "make"
                        and ((end == k and s.t(k) != "NNS") or s.w(end) not in _ANIMATE)
                    ):
                        continue
                    yield Candidate(
                        end + 1, end + 2, (), "U:PART", f"After '{lemma}' and its object the verb stands without 'to'.", 0.0
                    )
        if (
            lemma in ("make", "let", "help", "see", "hear", "watch")
            and s.w(i + 1) in ("me", "him", "us", "them")
            and s.t(i + 2) in ("VBZ",)
            and lemma in ("make", "let")
        ):
            yield Candidate(
                i + 2, i + 3, (s.lemma(i + 2),), "R:VERB:FORM", f"After '{lemma}' and its object stands the base form.", 0.0
            )


_ANIMATE = wordset(
    """
    mother father brother sister children child parents friend friends son daughter students student people kids boss
    teacher wife husband women men boy girl boys girls
    """
)


def after_to(s: Sentence) -> Iterator[Candidate]:
    """ "to went", "to goes", "to buying", "look forward to see"."""
    for i in range(len(s)):
        if s.w(i) != "to":
            continue
        word = s.w(i + 1)
        base = verb_lemma(word)
        if s.t(i + 1) in ("VBD", "VBZ") and base and base != word and s.t(i + 2) != "NN" and "NOUN" not in lemmas(word):
            yield Candidate(i + 1, i + 2, (base,), "R:VERB:FORM", "After 'to' stands the base form.", 0.0)
        if (
            (
                s.seq(i - 2, "look forward to")
                or (s.w(i - 1) == "forward" and s.lemma(i - 2) == "look")
                or s.w(i - 1) in ("addicted", "accustomed", "devoted")
                or (s.w(i - 1) == "used" and s.lemma(i - 2) in ("be", "get") and s.t(s.skip(i - 3, ("RB",), -1)) == "PRP")
            )
            and s.t(i + 1) == "VB"
            and (s.w(i - 1) != "used")
        ):
            ing = inflect(s.lemma(i + 1), "VBG")
            if ing:
                yield Candidate(i + 1, i + 2, (ing,), "R:VERB:FORM", "Here 'to' is a preposition: the -ing form follows.", SURE)
        if (
            s.lemma(i - 1)
            in ("want", "need", "decide", "have", "try", "like", "go", "able", "going", "used", "how", "where", "what", "order")
            and s.t(i + 1) == "VBG"
            and s.w(i + 1) != "being"
        ):
            if s.lemma(i - 1) in ("go", "used") and s.w(i - 1) != "going":
                continue
            if base and s.t(i + 2) not in ("NN", "NNS"):
                yield Candidate(i + 1, i + 2, (base,), "R:VERB:FORM", "After 'to' stands the base form.", 0.3)


def after_preposition(s: Sentence) -> Iterator[Candidate]:
    """ "Thank you for help me", "interested in learn"."""
    for i in range(len(s)):
        if s.t(i) != "IN" or s.w(i) not in _PREPOSITIONS:
            continue
        word = s.w(i + 1)
        if verb_lemma(word) != word or word in ("let", "like", "please"):
            continue
        object_follows = s.t(i + 2) in ("PRP", "PRPS", "DT") and s.w(i + 2) not in (
            "i",
            "he",
            "she",
            "we",
            "they",
            "that",
            "all",
            "both",
        )
        noun_too = "NOUN" in lemmas(word)
        if s.t(i + 1) not in ("VB", "VBP", "NN") or (s.t(i + 1) == "NN" and not object_follows):
            continue
        if noun_too and not (
            object_follows
            and s.w(i + 2) in ("me", "him", "us", "them", "my", "your", "our", "their", "his", "her", "the", "a", "an")
        ):
            continue
        if noun_too and (
            s.w(i) not in ("for", "of", "without", "by", "about")
            or (s.w(i + 2) in ("the", "a", "an", "you", "it") and s.w(i) in ("for", "by", "of"))
        ):
            continue
        if "ADJ" in lemmas(word) or "ADV" in lemmas(word) or (s.w(i) in ("before", "after") and s.t(i + 1) == "NN"):
            continue
        if s.w(i) in ("on", "in", "at") and s.t(i - 1) in ("VB", "VBP", "VBD", "VBZ", "RB") and s.t(i + 1) == "VBP":
            continue
        ing = inflect(word, "VBG")
        if ing:
            yield Candidate(i + 1, i + 2, (ing,), "R:VERB:FORM", f"After the preposition '{s.w(i)}' the verb takes -ing.", 0.0)


def wrong_pasts(s: Sentence) -> Iterator[Candidate]:
    """ "goed", "buyed"; the participle after "have"."""
    for i in range(len(s)):
        word = s.w(i)
        if word not in WRONG_PASTS or (word == "seed" and s.t(i - 1) != "PRP") or False:
            continue
        right = WRONG_PASTS[word]
        before = s.skip(i - 1, ("RB", "NOT"), -1)
        lemma = verb_lemma(right)
        if s.lemma(before) in ("have", "be") and lemma:
            right = inflect(lemma, "VBN") or right
        elif s.w(before) in ("did", "to") or s.t(before) == "MD":
            right = lemma or right
        yield Candidate(i, i + 1, (right,), "R:VERB:INFL", f"The form is irregular: {right}.", SURE)


def go_shopping(s: Sentence) -> Iterator[Candidate]:
    """ "go to shopping", "go for swimming"."""
    for i in range(len(s)):
        if (
            s.lemma(i) == "go"
            and s.t(i) in VERBS
            and s.w(i + 1) in ("to", "for")
            and s.w(i + 2)
            in (
                "shopping",
                "swimming",
                "fishing",
                "hiking",
                "camping",
                "skiing",
                "dancing",
                "jogging",
                "cycling",
                "running",
                "sightseeing",
                "skating",
                "climbing",
                "bowling",
            )
            and s.t(i + 3) not in ("NN", "NNS")
        ):
            if s.w(i) == "going" and s.w(i + 1) == "for":
                continue
            yield Candidate(i + 1, i + 2, (), "U:PREP", f"One goes {s.w(i + 2)}, without 'to'.", SURE)


RULES = (after_modal, after_do, after_have, after_be, after_verb, after_to, after_preposition, wrong_pasts, go_shopping)
