"""A grammar checker for learners of English: what is wrong in a text, what it should be, and why.

Candidates come from rules of our own (``agent.analysis.rules``) and from the Harper checker; what a rule is not sure of is
believed only if a trigram model of English finds the sentence likelier with the change by as much as the rule asks for.
Spelling, punctuation and capitals are not looked at: in speech nobody makes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import harper

from agent.analysis.english.closed import CLOSED
from agent.analysis.english.spelling import linter, meant, misspelt
from agent.analysis.english.tagging import tag
from agent.analysis.english.tokens import Token, sentences
from agent.analysis.english.usage import knows
from agent.analysis.rules import RULES
from agent.analysis.rules.sentence import Sentence

MAX_CHARACTERS = 20_000
"""Longer texts are looked at up to here."""
_ENDS_WORD = re.compile(r"[.,!?;:)\"']*(?:\s|\Z)")
MAX_TOKENS = 120
"""Sentences with more tokens than this are no sentences; they are passed over."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake. ``original`` is ``text[start:end]`` (code points); put ``correction`` there and the text is mended.

    Where only a word is missing, ``original`` is the word after the gap. ``type`` is an ERRANT type such as ``R:VERB:SVA``
    (Bryant, Felice and Briscoe 2017): M missing, U unnecessary, R replacement.
    """

    original: str
    correction: str
    explanation: str
    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The tokens ``start:end`` become ``words``; of two that collide, the one of lower ``rank`` wins."""

    start: int
    end: int
    words: tuple[str, ...]
    type: str
    why: str
    rank: tuple[float, ...]


def check(text: str, *, spelling: bool = False) -> list[Finding]:
    """The mistakes in ``text``, in their order. They do not overlap, so all of them can be applied.

    With ``spelling`` also misspelt words of which it is sure what was meant: for what was typed.

    The first call loads the language data: some 0.6 s and 150 MB.
    """
    text = text[:MAX_CHARACTERS]
    if not spelling:
        return _checked(text, _sentence)
    # Grammar is looked for in the text as it should have been spelt.
    spelt = _checked(text, _misspelt)
    return _merged(text, spelt, _checked(apply(text, spelt), _sentence))


def _checked(text: str, look: Callable[[str, list[Token]], list[Finding]]) -> list[Finding]:
    return [one for tokens in sentences(text) if len(tokens) <= MAX_TOKENS for one in look(text, tokens)]


def _merged(text: str, spelt: list[Finding], later: list[Finding]) -> list[Finding]:
    """``spelt``, which were found in ``text``, and ``later``, found in what it became, as findings of ``text``."""
    edges: list[tuple[int, int]] = []  # of each misspelt word in the mended text
    shift = 0
    for one in spelt:
        edges.append((one.start + shift, one.start + shift + len(one.correction)))
        shift += len(one.correction) - (one.end - one.start)

    def back(at: int, *, end: bool) -> int:
        moved = 0
        for one, (first, last) in zip(spelt, edges, strict=True):
            if first < at < last or (at == first and not end) or (at == last and end):
                return one.end if end else one.start
            if at >= last:
                moved += len(one.correction) - (one.end - one.start)
        return at - moved

    out = []
    for one in later:
        start, end = back(one.start, end=False), back(one.end, end=True)
        out.append(Finding(text[start:end], one.correction, one.explanation, one.type, start, end))
    out += [one for one in spelt if not any(o.start < one.end and one.start < o.end for o in out)]
    return sorted(out, key=lambda f: f.start)


def warm() -> None:
    """Load what ``check`` needs."""
    check("She go to school since two years, because they was there.")


def apply(text: str, findings: Iterable[Finding]) -> str:
    """``text`` with the findings' corrections in their places."""
    for finding in sorted(findings, key=lambda f: f.start, reverse=True):
        after = text[finding.end :]
        if not finding.correction:
            after = after.lstrip(" ") if text[: finding.start].endswith(" ") or not finding.start else after
        text = text[: finding.start] + finding.correction + after
    return text


def _sentence(text: str, tokens: list[Token]) -> list[Finding]:
    sentence = Sentence(tag(tokens))
    proposals: list[_Chosen] = []
    for order, rule in enumerate(RULES):
        for candidate in rule(sentence):
            # What rests on the words alone comes first, then what the model is surest of.
            if candidate.is_sure:
                rank: tuple[float, ...] = (0.0, candidate.need, order)
            elif (gain := sentence.gain(candidate)) >= candidate.need:
                rank = (1.0, candidate.need - gain, order)
            else:
                continue
            proposals.append(_Chosen(candidate.start, candidate.end, candidate.words, candidate.type, candidate.why, rank))
    proposals += _harper(text, tokens)
    chosen: list[_Chosen] = []
    for proposal in sorted(proposals, key=lambda p: p.rank):
        if not any(_collide(proposal, other) for other in chosen):
            chosen.append(proposal)
    return [_finding(text, tokens, one) for one in sorted(chosen, key=lambda c: c.start)]


def _misspelt(text: str, tokens: list[Token]) -> list[Finding]:
    found = []
    words = [token.lower for token in tokens]
    for i, token in enumerate(tokens):
        name = token.text[:1].isupper() and (i > 0 or token.text.isupper())
        # Parts of addresses stand close to marks: "www.example.com".
        glued = text[token.start - 1 : token.start].strip() not in ("", "(", '"') or not _ENDS_WORD.match(text, token.end)
        if glued or token.kind != "word" or name or not misspelt(token.lower):
            continue
        word = meant(words, i)
        if word is not None and word != token.lower:
            words[i] = word
            written = word[:1].upper() + word[1:] if token.text[:1].isupper() else word
            found.append(Finding(token.text, written, f"It is spelt '{word}'.", "R:SPELL", token.start, token.end))
    return found


def _collide(a: _Chosen, b: _Chosen) -> bool:
    """Whether two changes touch: they share a token, or stand side by side, where each may be another cure of one mistake.

    A plural that does not exist is a mistake of its own, whatever its verb is like: "the peoples works".
    """
    if {a.type, b.type} == {"R:NOUN:INFL", "R:VERB:SVA"}:
        return a.start < b.end and b.start < a.end
    return a.start <= b.end and b.start <= a.end


def _finding(text: str, tokens: list[Token], c: _Chosen) -> Finding:
    words = list(c.words)
    start, end = c.start, c.end
    if start == end:  # an insertion is shown on the word that follows, or, at the end, on the one before
        if end < len(tokens) and tokens[end].kind != "mark":
            words.append(tokens[end].text)
            end += 1
        else:
            start -= 1
            words.insert(0, tokens[start].text)
    elif not words:  # a deletion too: nobody could point to nothing
        if end < len(tokens) and tokens[end].kind != "mark":
            words.append(tokens[end].text)
            end += 1
        elif start > 0:
            start -= 1
            words.insert(0, tokens[start].text)
    # A contraction is one word to whoever reads it.
    while end < len(tokens) and tokens[end].kind == "word" and tokens[end].start == tokens[end - 1].end:
        words.append(tokens[end].text)
        end += 1
    while start > 0 and tokens[start].kind == "word" and tokens[start].start == tokens[start - 1].end:
        start -= 1
        words.insert(0, tokens[start].text)
    if start == 0 and words and tokens[0].text[:1].isupper():
        if (
            tokens[end - 1 if end > c.end else 0].text == words[-1]
            and c.start == 0
            and words[-1] not in ("I",)
            and len(words) > 1
            and not _proper(tokens[end - 1])
        ):
            words[-1] = words[-1][0].lower() + words[-1][1:]
        words[0] = words[0][:1].upper() + words[0][1:]
    replacement = ""
    for word in words:
        glued = word.startswith(("'", "n't")) or not replacement
        replacement += word if glued else " " + word
    first, last = tokens[start], tokens[end - 1]
    return Finding(text[first.start : last.end], replacement, c.why, c.type, first.start, last.end)


def _proper(token: Token) -> bool:
    return (
        token.lower in ("i", "i'm")
        or (token.lower not in CLOSED and not knows(token.lower))
        or CLOSED.get(token.lower, {}).get("NNP", 0) > 0.4
    )


# Harper


def _harper(text: str, tokens: list[Token]) -> list[_Chosen]:
    """What Harper finds in one sentence, of the rules that concern grammar and were found trustworthy."""
    begin, end = tokens[0].start, tokens[-1].end
    by_start = {t.start: i for i, t in enumerate(tokens)}
    by_end = {t.end: i + 1 for i, t in enumerate(tokens)}
    chosen = []
    for name, lints in linter(harper.Dialect.AMERICAN).organized_lints(text[begin:end]).items():
        if name not in HARPER_RULES:
            continue
        for lint in lints:
            first, last = by_start.get(lint.span.start + begin), by_end.get(lint.span.end + begin)
            if first is None or last is None or not lint.suggestions:
                continue
            suggestion = lint.suggestions[0]
            old = text[tokens[first].start : tokens[last - 1].end]
            if suggestion.kind == harper.SuggestionKind.REMOVE:
                words: tuple[str, ...] = ()
            elif suggestion.kind == harper.SuggestionKind.REPLACE:
                words = tuple(suggestion.replacement_text.split())
            else:
                words = (*old.split(), *suggestion.replacement_text.split())
            chosen.append(_Chosen(first, last, words, HARPER_RULES[name], lint.message, (0.5,)))
    return chosen


HARPER_RULES: dict[str, str] = {
    "AdjectiveDoubleDegree": "R:ADJ:FORM",
    "AmountsFor": "R:PREP",
    "AnAnother": "U:DET",
    "AnotherOnes": "R:NOUN:NUM",
    "AnotherThings": "R:NOUN:NUM",
    "ArriveOnWeekday": "R:PREP",
    "AskNoPreposition": "U:PREP",
    "AspireTo": "R:VERB:FORM",
    "AwareOf": "R:PREP",
    "BewareOf": "R:PREP",
    "CapitalizeOn": "R:PREP",
    "ComfortableWith": "R:PREP",
    "ComprisesOf": "U:PREP",
    "CraveFor": "U:PREP",
    "CuriousAbout": "R:PREP",
    "DespiteItIs": "R:OTHER",
    "DespiteOf": "U:PREP",
    "DidPast": "R:VERB:FORM",
    "Discuss": "U:PREP",
    "DontCan": "R:VERB",
    "DoubleModal": "U:VERB",
    "FascinatedBy": "R:PREP",
    "FeelFell": "R:VERB",
    "FondOn": "R:PREP",
    "FriendOfMe": "R:PRON",
    "GetUsedTo": "R:VERB:FORM",
    "GoodAt": "R:PREP",
    "HeDos": "R:VERB:SVA",
    "HelpedPast": "R:VERB:FORM",
    "HowItLooksLike": "R:PRON",
    "IAmAgreement": "R:VERB:SVA",
    "InterestedIn": "R:PREP",
    "InspiredBy": "R:PREP",
    "JealousOf": "R:PREP",
    "LessWorse": "R:ADJ:FORM",
    "LookForwardTo": "R:VERB:FORM",
    "LookingForwardTo": "R:VERB:FORM",
    "MoreBetter": "R:ADJ:FORM",
    "MostOfTheTimes": "R:NOUN:NUM",
    "MultipleFrequencyAdverbs": "U:ADV",
    "PassionateAbout": "R:PREP",
    "Payed": "R:VERB:INFL",
    "PluralWrongWordOfPhrase": "R:NOUN:NUM",
    "RegularIrregulars": "R:NOUN:INFL",
    "ResponsibilityFor": "R:PREP",
    "ResponsibleFor": "R:PREP",
    "SimplePastToPastParticiple": "R:VERB:FORM",
    "SinceDuration": "R:PREP",
    "TakePrideIn": "R:PREP",
    "TheAnother": "R:DET",
    "TheyToThem": "R:PRON",
    "ThriveOn": "R:PREP",
    "TillDate": "R:PREP",
    "VeryLess": "R:ADV",
    "WasAloud": "R:VERB",
    "WorthToDo": "R:VERB:FORM",
    "WorseOrWorst": "R:ADJ:FORM",
}
"""Harper's rules that are believed, with the ERRANT type of what they find."""
