"""How a guided conversation goes on: a fold over the learner's turns, which knows no level until it is put into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from zlib import crc32

from agent.lessons.common import Common
from agent.lessons.heard import Heard
from agent.lessons.listen import Understood, fill, understand
from agent.lessons.mistaken import mistaken
from agent.lessons.schema import MAX_EXPECTED, Conversation, Lines, Question, Step
from agent.record import Correction, Level
from agent.tutor import TutorReply

MAX_MISSES = 3
"""Turns without an answer after which the tutor goes on to its next question."""
MAX_REPEATS = 4
"""Requests to repeat one question before the tutor offers another one."""
_TO_LEARNER = {
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "us": "you",
    "our": "your",
    "ours": "yours",
}


@dataclass(frozen=True, slots=True)
class Beat:
    """Where the conversation stands, and what the tutor says there.

    ``said`` are the parts of the tutor's turn, in order, in all levels. ``follow_up`` is the open question, where it is not the
    step's own. ``seed`` comes from the learner's first words: calls differ in their variants, a replayed call does not.
    """

    turn: int = 0
    step: int = 0
    follow_up: Question | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    misses: int = 0
    repeats: int = 0
    done: bool = False
    said: tuple[Lines, ...] = ()
    corrections: tuple[Correction, ...] = ()
    seed: int = 0


class ConversationCourse:
    """The course of one ``Conversation``."""

    def __init__(self, lesson: Conversation, common: Common) -> None:
        self._lesson = lesson
        self._common = common
        self._goodbyes = [text for text in common.always_expected if common.intent(Heard.of(text)) == "goodbye"]
        self._always = [text for text in common.always_expected if text not in self._goodbyes]
        self._pairs: dict[tuple[int, Level], tuple[tuple[str, str], ...]] = {}  # by question; the lesson keeps these alive

    def start(self) -> Beat:
        """The greeting and the first question."""
        return Beat(said=(self._lesson.greeting, self._lesson.steps[0].ask))

    def after(self, beat: Beat, text: str) -> Beat:
        """The beat that answers the learner's ``text``; ``""`` is speech that was not understood."""
        seed = beat.seed if beat.turn else crc32(text.encode(errors="replace"))
        beat = replace(beat, turn=beat.turn + 1, corrections=(), seed=seed)
        if beat.done:
            return replace(beat, said=(self._common.after_end,))
        question = self._question(beat)
        understood = understand(text, question, beat.step, self._lesson, self._common)
        beat = replace(beat, corrections=understood.corrections, slots={**beat.slots, **understood.slots})
        match understood.kind:
            case "goodbye":
                return replace(beat, said=(self._lesson.goodbye,), done=True)
            case "answer":
                return self._answered(beat, question, understood)
            case "repeat" | "slower":
                return self._repeated(beat, question, slower=understood.kind == "slower")
            case "small_talk":
                assert understood.small_talk is not None
                return replace(beat, said=(understood.small_talk.answer, question.simpler))
            case "ask_back":
                assert question.me is not None
                return replace(beat, said=(question.me, question.simpler))
            case "revisit":
                return replace(beat, said=(self._common.corrected, question.simpler))
            case _:
                return self._missed(beat, question, understood)

    def nudge(self, beat: Beat) -> Beat:
        """The learner said nothing since ``beat``: the tutor asks again in other words."""
        beat = replace(beat, turn=beat.turn + 1, corrections=())
        if beat.done:
            return replace(beat, said=(self._common.after_end,))
        return replace(beat, said=(self._common.nudge, self._question(beat).simpler))

    def say(self, beat: Beat, level: Level, salt: int) -> TutorReply:
        """Put ``beat`` into words; another ``salt`` chooses other variants."""
        text = " ".join(self._pick(lines, beat, level, salt) for lines in beat.said)
        if beat.done:
            return TutorReply(text, corrections=beat.corrections, done=True)
        question = self._question(beat)
        pairs = self._mistaken(question, level)
        mended = (right for _, right in pairs)
        expected = dict.fromkeys((*question.expected(level)[: MAX_EXPECTED - len(self._always)], *self._always, *mended))
        careful = (*(wrong for wrong, _ in pairs), *self._goodbyes)
        suggestions = tuple(filled for line in question.suggestions[level] if (filled := self._fill(line, beat)) is not None)
        return TutorReply(text, tuple(expected), suggestions, beat.corrections, careful=careful)

    def _mistaken(self, question: Question, level: Level) -> tuple[tuple[str, str], ...]:
        key = (id(question), level)
        if key not in self._pairs:
            self._pairs[key] = mistaken(question, level, self._lesson.values)
        return self._pairs[key]

    def _question(self, beat: Beat) -> Question:
        return beat.follow_up or self._lesson.steps[beat.step]

    def _answered(self, beat: Beat, question: Question, understood: Understood) -> Beat:
        reply = understood.reply
        if understood.recast is not None and understood.recast.recast is not None:
            said = [understood.recast.recast]
        else:
            said = [(reply.react if reply else None) or question.react]
        if understood.asks_back and question.me is not None:
            said.append(question.me)
        said += [step.noted or self._common.noted for step in self._lesson.steps if step.id in understood.ahead]
        if reply is not None and reply.follow_up is not None:
            return replace(beat, said=(*said, reply.follow_up.ask), follow_up=reply.follow_up, misses=0, repeats=0)
        return self._advance(beat, said)

    def _missed(self, beat: Beat, question: Question, understood: Understood) -> Beat:
        # "I don't know" needs no second try before it is helped.
        misses = max(beat.misses + 1, 2 if understood.kind == "dont_know" else 1)
        if misses >= MAX_MISSES:
            return self._advance(beat, [self._common.move_on])
        beat = replace(beat, misses=misses)
        if misses == 2:
            return replace(beat, said=(self._common.offer_model, question.model))
        if understood.kind == "unclear":
            return replace(beat, said=(self._common.unclear, question.hint))
        return replace(beat, said=(question.way_back or self._lesson.way_back, question.simpler))

    def _repeated(self, beat: Beat, question: Question, *, slower: bool) -> Beat:
        beat = replace(beat, repeats=beat.repeats + 1)
        preface = self._common.slower_lines if slower else self._common.repeat_lines
        if beat.repeats > MAX_REPEATS:
            return self._advance(beat, [self._common.move_on])
        if beat.repeats > 2:
            return replace(beat, said=(preface, question.hint, self._common.offer_model, question.model))
        return replace(beat, said=(preface, question.simpler))

    def _advance(self, beat: Beat, said: list[Lines]) -> Beat:
        """Go to the next step that is not answered already, or to the end."""
        rest = (i for i, step in enumerate(self._lesson.steps) if i > beat.step and not self._known(step, beat))
        step = next(rest, None)
        if step is None:
            return replace(beat, said=(*said, self._lesson.closing), done=True)
        return replace(beat, said=(*said, self._lesson.steps[step].ask), step=step, follow_up=None, misses=0, repeats=0)

    @staticmethod
    def _known(step: Step, beat: Beat) -> bool:
        return step.fills is not None and step.fills in beat.slots

    def _pick(self, lines: Lines, beat: Beat, level: Level, salt: int) -> str:
        """A variant of ``lines`` at ``level``: of those that say most of what is known, the next one each turn."""
        values = self._lesson.values
        slots = {name: value if values[name].proper else _to_learner(value) for name, value in beat.slots.items()}
        filled = [(line.count("{"), text) for line in lines[level] if (text := fill(line, slots, values)) is not None]
        most = max(count for count, _ in filled)
        best = [text for count, text in filled if count == most]
        text = best[(beat.seed + beat.turn + salt) % len(best)]
        return text[:1].upper() + text[1:]

    def _fill(self, line: str, beat: Beat) -> str | None:
        return fill(line, beat.slots, self._lesson.values)


def _to_learner(value: str) -> str:
    """What the learner said, as the tutor says it back: "my friends" is "your friends"."""
    return " ".join(_TO_LEARNER.get(word, word) for word in value.split())
