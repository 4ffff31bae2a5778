"""What the grammar checker may say of a learner's turn: only what rests on words that were typed or heard well."""

from __future__ import annotations

import re

from agent.analysis.grammar import Finding, check
from agent.analysis.words import Said, said
from agent.record import Correction, Turn

_BEFORE = re.compile(r"[^\W_]+(?:['’][^\W_]+)* \Z")
_AFTER = re.compile(r" [^\W_]+(?:['’][^\W_]+)*")
NEIGHBOURS = 1
"""How many words on either side of a mistake must be sure too: a misheard "a" makes its neighbours wrong."""
MAX_FINDINGS_SHARE = 0.25
"""Mistakes in a spoken turn, in proportion to its words, above which it was misheard rather than wrong: it is left alone."""


def findings(turn: Turn) -> list[Finding]:
    """The mistakes in a learner's turn, places counted in ``turn.text`` if it was typed, else in its words joined by blanks.

    Misspelt words are mistakes only in what was typed.

    Of a spoken turn only those of whose words, and of one word on each side, the recogniser was sure; none where it was unsure
    of most words, or where there is a mistake in every fourth word.
    """
    if turn.typed or not turn.words:
        return check(turn.text, spelling=True) if turn.typed else []
    words, text = said(turn), _text(turn)
    found = [one for one in check(text) if _stands(one, words, text)]
    if len(found) > max(1, MAX_FINDINGS_SHARE * len(words)) or sum(word.sure for word in words) * 2 < len(words):
        return []
    return found


def corrections(turn: Turn) -> list[Correction]:
    """``findings`` as the record keeps them, each with a word on either side: "I go to", "I went to"."""
    found = findings(turn)
    text = _text(turn)
    return [_quoted(one, text, [other for other in found if other is not one]) for one in found]


def _text(turn: Turn) -> str:
    return turn.text if turn.typed else " ".join(word.text for word in said(turn))


def _quoted(finding: Finding, text: str, others: list[Finding]) -> Correction:
    before = _BEFORE.search(text, 0, finding.start)
    after = _AFTER.match(text, finding.end)
    start = before.start() if before else finding.start
    end = after.end() if after else finding.end
    # What another correction changes is not quoted as if it were right.
    if any(other.start < finding.start and other.end > start for other in others):
        start = finding.start
    if any(other.end > finding.end and other.start < end for other in others):
        end = finding.end
    left, right = text[start : finding.start], text[finding.end : end]
    return Correction(left + finding.original + right, left + finding.correction + right, finding.explanation)


def _stands(finding: Finding, words: list[Said], text: str) -> bool:
    first = text[: finding.start].count(" ")
    last = first + text[finding.start : finding.end].count(" ")
    return all(word.sure for word in words[max(0, first - NEIGHBOURS) : last + 1 + NEIGHBOURS])
