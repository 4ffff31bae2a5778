"""What a learner's turn means, given the tutor's question: an answer, a request, a courtesy, or something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from agent.lessons.common import Common, SmallTalk
from agent.lessons.heard import Heard, normal
from agent.lessons.patterns import Match, Pattern, SlotValues, with_article
from agent.lessons.schema import PLACEHOLDER, Conversation, Mistake, Question, Reply, Step
from agent.record import Correction

Kind = Literal[
    "unclear", "goodbye", "repeat", "slower", "dont_know", "small_talk", "ask_back", "revisit", "answer", "off_script"
]


@dataclass(frozen=True, slots=True)
class Understood:
    """A learner's turn, understood. ``slots`` are in normal form; ``ahead`` are later steps that it answers as well."""

    kind: Kind
    reply: Reply | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    recast: Mistake | None = None
    small_talk: SmallTalk | None = None
    asks_back: bool = False
    ahead: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()


def understand(text: str, question: Question, step: int, lesson: Conversation, common: Common) -> Understood:
    """Read ``text`` as said to ``question`` in the step number ``step``. Never raises, whatever ``text`` is."""
    heard = Heard.of(text)
    if not heard.line:
        return Understood("unclear")
    intent = common.intent(heard)
    if intent == "goodbye":
        return Understood("goodbye")
    if intent == "slower":
        return Understood("slower")
    if intent == "repeat":
        return Understood("repeat")
    if intent == "dont_know":
        return Understood("dont_know")

    own = [mistake for reply in question.replies for mistake in reply.errors]
    corrections = tuple(_corrections(heard, [*own, *lesson.errors, *common.errors], lesson.values))
    back = common.asks_back(heard)
    answer = _answer(heard, question, lesson)
    if answer is not None:
        reply, mistake, match = answer
        slots = dict(match.slots)
        ahead = []
        for later in lesson.steps[step + 1 :]:
            found = _fills(heard, later)
            if found is not None and later.fills not in slots and (found.start >= match.end or found.end <= match.start):
                slots.update(found.slots)
                ahead.append(later.id)
        return Understood("answer", reply, slots, mistake, None, back, tuple(ahead), corrections)
    for talk in common.small_talk:
        if any(p.match(heard) for p in talk.patterns):
            return Understood("small_talk", small_talk=talk, corrections=corrections)
    for earlier in lesson.steps[:step]:
        found = _fills(heard, earlier)
        if found is not None and lesson.values[str(earlier.fills)].proper:
            return Understood("revisit", slots=dict(found.slots), corrections=corrections)
    if question.accept_words is not None and len(heard.words) >= question.accept_words:
        return Understood("answer", asks_back=back, corrections=corrections)
    return Understood("ask_back" if back and question.me else "off_script", corrections=corrections)


def fill(line: str, slots: Mapping[str, str], values: Mapping[str, SlotValues]) -> str | None:
    """``line`` with its slots filled in, or ``None`` where one is not known."""
    out, at = [], 0
    for found in PLACEHOLDER.finditer(line):
        prefix, _, name = found.group(1).rpartition(" ")
        if name not in slots:
            return None
        value = values[name].display(slots[name])
        out += [line[at : found.start()], with_article(value) if prefix else value]
        at = found.end()
    return "".join([*out, line[at:]])


def _answer(heard: Heard, question: Question, lesson: Conversation) -> tuple[Reply | None, Mistake | None, Match] | None:
    for reply in question.replies:
        for mistake in reply.errors:
            found = _first(mistake.patterns, heard) if mistake.recast else None
            if found is not None:
                return reply, mistake, found
    for bare in (False, True):
        for reply in question.replies:
            found = _first((p for p in reply.patterns if p.bare is bare), heard)
            if found is not None:
                return reply, None, found
    name = question.listen_for
    if name is not None:
        found = _anywhere(name, lesson.values[name]).match(heard)
        if found is not None:
            like = (reply for reply in question.replies if all(name in p.slot_names for p in reply.patterns))
            return next(like, None), None, found
    return None


def _fills(heard: Heard, step: Step) -> Match | None:
    """A match of ``step`` that gives its own slot, in a whole sentence (not the bare value)."""
    if step.fills is None:
        return None
    patterns = (p for reply in step.replies for p in reply.patterns if step.fills in p.slot_names and not p.bare)
    return _first(patterns, heard)


def _first(patterns: Iterable[Pattern], heard: Heard) -> Match | None:
    return next((found for p in patterns if (found := p.match(heard)) is not None), None)


def _corrections(heard: Heard, mistakes: Iterable[Mistake], values: Mapping[str, SlotValues]) -> Iterator[Correction]:
    taken: list[tuple[int, int]] = []
    for mistake in mistakes:
        found = _first(mistake.patterns, heard)
        if found is None or any(found.start < end and found.end > start for start, end in taken):
            continue
        original = heard.quote(found.start, found.end)
        right = fill(mistake.fix, found.slots, values)
        if right is not None and normal(right) != normal(original):
            taken.append((found.start, found.end))
            yield Correction(original, right, mistake.why)


@cache
def _anywhere(name: str, slot: SlotValues) -> Pattern:
    return Pattern(f"{{known {name}}}", {name: slot}, anywhere=True)
