"""Foreseen mistakes as a recogniser should hear them: each beside its right form, so that the two can be told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.lessons.heard import Heard, normal
from agent.lessons.listen import fill
from agent.lessons.patterns import Pattern, SlotValues
from agent.lessons.schema import Mistake, Question
from agent.record import Level

MAX_MISTAKEN = 30
"""Most sentences with a mistake that a turn expects; each has its right form beside it."""


def mistaken(question: Question, level: Level, values: Mapping[str, SlotValues]) -> tuple[tuple[str, str], ...]:
    """Pairs of a sentence with a mistake of ``question`` and the same without it, at most ``MAX_MISTAKEN``.

    One sentence of each pattern in turn. A sentence that is right as an answer, or stays the same when mended, is left out.
    """
    mistakes = [mistake for reply in question.replies if level in reply.levels for mistake in reply.errors]
    rows = [
        [(pattern, mistake, one) for one in pattern.expand(MAX_MISTAKEN)]
        for mistake in mistakes
        for pattern in mistake.patterns
    ]
    right = {normal(sentence) for sentence in question.expected(level)}
    pairs: dict[str, tuple[str, str]] = {}
    for pattern, mistake, sentence in _in_turn(rows):
        if len(pairs) == MAX_MISTAKEN:
            break
        mended = _mended(pattern, mistake, sentence, values)
        key = normal(sentence)
        if mended is not None and normal(mended) != key and key not in right:
            pairs.setdefault(key, (sentence, mended))
    return tuple(pairs.values())


def _in_turn(rows: list[list[tuple[Pattern, Mistake, str]]]) -> Iterator[tuple[Pattern, Mistake, str]]:
    for at in range(max(map(len, rows), default=0)):
        yield from (row[at] for row in rows if at < len(row))


def _mended(pattern: Pattern, mistake: Mistake, sentence: str, values: Mapping[str, SlotValues]) -> str | None:
    heard = Heard.of(sentence)
    found = pattern.match(heard)
    right = fill(mistake.fix, found.slots, values) if found is not None else None
    if found is None or right is None:
        return None
    before, after = heard.quote(0, found.start) if found.start else "", heard.quote(found.end, len(heard.line))
    return " ".join(part for part in (before, right.lower(), after) if part)
