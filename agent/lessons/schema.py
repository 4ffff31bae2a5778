"""What a lesson file may hold. The models check everything that can be checked before a learner meets the lesson.

A conversation is a list of steps; a step is a question with the replies that answer it. Wording comes in three levels: a
``Lines`` field takes one line, a list of variants, or one of both for each of ``beginner``, ``intermediate`` and ``advanced``.
``{slot}`` in a line is replaced by what the learner said; a variant whose slots are not known yet is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from agent.lessons.heard import normal
from agent.lessons.patterns import Pattern, PatternError, SlotValues, expand_all
from agent.record import LEVELS, Level
from agent.tutor import FREE_TALK

MAX_EXPECTED = 60
"""Most sentences that a turn may expect: a recogniser's grammar grows less sure with every sentence beside the true one."""
MAX_SENTENCE_WORDS: Mapping[Level, int] = {"beginner": 10, "intermediate": 16, "advanced": 28}
"""Longest sentence that the tutor says at a level, in words: our own rule of thumb, so that a lesson keeps to its level."""

_OPEN = re.compile(r"…|\.\.\.|\{")
"""A sentence that the learner is to finish, or that takes a slot."""
_MARKS = re.compile(r"[^\w' ]")
PLACEHOLDER = re.compile(r"\{((?:a )?[a-z_]+)\}")


def _lines(value: Any) -> Any:
    """Bring the short forms of ``Lines`` to the full one: level → variants."""
    if isinstance(value, dict):
        if set(value) != set(LEVELS):
            raise ValueError(f"levels are {', '.join(LEVELS)}, all three; found: {', '.join(map(str, value)) or 'none'}")
        return {level: [one] if isinstance(one, str) else one for level, one in value.items()}
    variants = [value] if isinstance(value, str) else value
    return dict.fromkeys(LEVELS, variants)


Line = Annotated[str, Field(min_length=1, max_length=400)]
Lines = Annotated[dict[Level, Annotated[tuple[Line, ...], Field(min_length=1)]], BeforeValidator(_lines)]
Patterns = Annotated[tuple[Line, ...], Field(min_length=1), BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]


class Part(BaseModel):
    """A part of a lesson; an unknown key is an error that names the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [str(key) for key in data if key not in cls.model_fields]
            if unknown:
                raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(cls.model_fields)}")
        return data


class Slot(Part):
    """What may stand in ``{slot}``: known values, and perhaps up to ``free_words`` words of any other kind."""

    values: Annotated[tuple[Line, ...], Field(min_length=1)]
    free_words: Annotated[int, Field(ge=0, le=5)] = 0
    proper: bool = Field(False, description="Free words are written back with capitals, as names are.")

    def patterns_view(self) -> SlotValues:
        """The slot as the pattern compiler takes it."""
        return SlotValues(self.values, self.free_words, self.proper)


class Mistake(Part):
    """A mistake that learners make here: the words, what they should be, why, and perhaps how a teacher answers.

    ``recast`` takes the answer up in right words instead of the usual reaction; a mistake with a recast counts as an answer.
    """

    heard: Patterns
    fix: Line
    why: Line
    recast: Lines | None = None
    _patterns: tuple[Pattern, ...] = PrivateAttr(default=())

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """``heard``, compiled."""
        return self._patterns


class Reply(Part):
    """One kind of answer: what may be said, how the tutor takes it, and what it asks about it."""

    say: Patterns
    react: Lines | None = None
    errors: tuple[Mistake, ...] = ()
    follow_up: Question | None = None
    levels: tuple[Level, ...] = Field(LEVELS, description="Levels at which the recogniser is told to expect it.")
    _patterns: tuple[Pattern, ...] = PrivateAttr(default=())

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """``say``, compiled."""
        return self._patterns


class Question(Part):
    """One question of the tutor.

    ``simpler`` asks the same in easier words; ``model`` is an answer that a learner could give; ``me`` is the tutor's own
    answer, if it is asked back. Any reply of ``accept_words`` words or more is taken as an answer, with the reaction ``react``;
    a value of the slot ``listen_for`` anywhere in a reply is taken as an answer too.
    """

    ask: Lines
    simpler: Lines
    hint: Lines
    model: Lines
    replies: Annotated[tuple[Reply, ...], Field(min_length=1)]
    react: Lines
    suggestions: Lines
    me: Lines | None = None
    way_back: Lines | None = None
    listen_for: str | None = None
    accept_words: Annotated[int, Field(ge=1)] | None = None
    _expected: dict[Level, tuple[str, ...]] = PrivateAttr(default_factory=dict)

    def expected(self, level: Level) -> tuple[str, ...]:
        """The sentences that answer it, lower case, at most ``MAX_EXPECTED``: first those that the learner is shown."""
        return self._expected[level]

    def shown(self, level: Level) -> tuple[str, ...]:
        """The whole sentences of ``model`` and ``suggestions``, as they are spoken: lower case, without marks."""
        lines = (line for line in (*self.model[level], *self.suggestions[level]) if not _OPEN.search(line))
        return tuple(" ".join(_MARKS.sub(" ", line.lower()).split()) for line in lines)


class Step(Question):
    """A question of the lesson's own course. It is passed over when the slot ``fills`` is known already.

    ``noted`` says that the learner's answer to it was heard before it was asked.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    fills: str | None = None
    noted: Lines | None = None


class Conversation(Part):
    """A guided conversation. ``id`` is its file's name, given by the loader."""

    id: str
    kind: Literal["conversation"] = "conversation"
    title: Line
    goal: Line
    level: Level | None = Field(None, description="The level that it is made for; it can be had at each.")
    slots: dict[Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")], Slot] = Field(default_factory=dict)
    greeting: Lines
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    errors: tuple[Mistake, ...] = ()
    way_back: Lines
    closing: Lines
    goodbye: Lines
    _values: dict[str, SlotValues] = PrivateAttr(default_factory=dict)

    @property
    def values(self) -> Mapping[str, SlotValues]:
        """The slots as patterns take them."""
        return self._values

    @model_validator(mode="after")
    def _compile(self) -> Conversation:
        if len({step.id for step in self.steps}) != len(self.steps):
            raise ValueError("steps: two steps have the same id")
        self._values.update({name: slot.patterns_view() for name, slot in self.slots.items()})
        for number, step in enumerate(self.steps):
            where = f"steps.{number} ({step.id})"
            if step.fills is not None and step.fills not in self.slots:
                raise ValueError(f"{where}.fills: unknown slot {step.fills!r}, allowed: {', '.join(self.slots) or 'none'}")
            self._compile_question(step, where)
        for number, mistake in enumerate(self.errors):
            self._compile_mistake(mistake, f"errors.{number}")
        for name in ("greeting", "closing", "goodbye", "way_back"):
            self._check_lines(getattr(self, name), name, frozenset())
        return self

    def _compile_question(self, question: Question, where: str) -> None:
        if question.listen_for is not None and question.listen_for not in self.slots:
            allowed = ", ".join(self.slots) or "none"
            raise ValueError(f"{where}.listen_for: unknown slot {question.listen_for!r}, allowed: {allowed}")
        for number, reply in enumerate(question.replies):
            at = f"{where}.replies.{number}"
            reply._patterns = self._patterns(reply.say, f"{at}.say")
            always = frozenset.intersection(*(frozenset(p.slot_names) for p in reply._patterns))
            if reply.react is not None:
                self._check_lines(reply.react, f"{at}.react", always)
            for k, mistake in enumerate(reply.errors):
                self._compile_mistake(mistake, f"{at}.errors.{k}")
            if reply.follow_up is not None:
                if any(r.follow_up for r in reply.follow_up.replies):
                    raise ValueError(f"{at}.follow_up: a follow-up cannot have a follow-up of its own")
                self._compile_question(reply.follow_up, f"{at}.follow_up")
        for name in ("ask", "simpler", "hint", "model", "react", "suggestions", "me", "way_back", "noted"):
            lines = getattr(question, name, None)
            # "noted" is said only when its slot is known.
            known = frozenset({str(getattr(question, "fills", ""))}) if name == "noted" else frozenset()
            if lines is not None:
                self._check_lines(lines, f"{where}.{name}", known)
        for level in LEVELS:
            if set(question.ask[level]) & set(question.simpler[level]):
                raise ValueError(f"{where}.simpler: {level}: must differ from 'ask'")
            patterns = [p for reply in question.replies if level in reply.levels for p in reply.patterns]
            answers = expand_all(patterns, MAX_EXPECTED)
            if not answers:
                raise ValueError(f"{where}.replies: nothing is expected of {level}")
            # What the page offers to say must be heard when it is said, however many answers there are.
            question._expected[level] = tuple(dict.fromkeys((*question.shown(level), *answers)))[:MAX_EXPECTED]

    def _compile_mistake(self, mistake: Mistake, where: str) -> None:
        mistake._patterns = self._patterns(mistake.heard, f"{where}.heard")
        always = frozenset.intersection(*(frozenset(p.slot_names) for p in mistake._patterns))
        missing = {_slot_of(found) for found in PLACEHOLDER.findall(mistake.fix)} - always
        if missing:
            raise ValueError(f"{where}.fix: {{{min(missing)}}} is not in every 'heard' pattern")
        if mistake.recast is not None:
            self._check_lines(mistake.recast, f"{where}.recast", always)

    def _patterns(self, sources: tuple[str, ...], where: str) -> tuple[Pattern, ...]:
        try:
            return tuple(Pattern(source, self._values) for source in sources)
        except PatternError as e:
            raise ValueError(f"{where}: {e}") from None

    def _check_lines(self, lines: Mapping[Level, tuple[str, ...]], where: str, known: frozenset[str]) -> None:
        for level, variants in lines.items():
            for line in variants:
                for name in map(_slot_of, PLACEHOLDER.findall(line)):
                    if name not in self.slots:
                        allowed = ", ".join(self.slots) or "none"
                        raise ValueError(f"{where}.{level}: unknown slot {{{name}}}, allowed: {allowed}")
                too_long = next((s for s in sentences(line) if len(s.split()) > MAX_SENTENCE_WORDS[level]), None)
                if too_long:
                    allowed = f"at most {MAX_SENTENCE_WORDS[level]} words in a sentence"
                    raise ValueError(f"{where}.{level}: {allowed}, found {len(too_long.split())}: {too_long!r}")
            if not any({_slot_of(found) for found in PLACEHOLDER.findall(line)} <= known for line in variants):
                raise ValueError(f"{where}.{level}: needs a variant whose slots are surely known (or one without slots)")


class ReadAloud(Part):
    """Sentences to be read aloud, one after the other; the tutor says how much of each it heard."""

    id: str
    kind: Literal["read_aloud"] = "read_aloud"
    title: Line
    goal: Line
    level: Level | None = Field(None, description="The level that it is made for.")
    sentences: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=300)], ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _readable(self) -> ReadAloud:
        for number, sentence in enumerate(self.sentences):
            if not normal(sentence):
                raise ValueError(f"sentences.{number}: no words in {sentence!r}")
        return self


class FreeTalk(Part):
    """No lesson: the learner says what it is about. Not to be had as a file, and not from the scripted tutor."""

    id: str = FREE_TALK
    kind: Literal["free_talk"] = "free_talk"
    title: Line = "Free talk"
    goal: Line = "Talk about whatever you like."
    level: Level | None = None


Lesson = Annotated[Conversation | ReadAloud, Field(discriminator="kind")]


def sentences(line: str) -> Iterator[str]:
    """The sentences of a tutor's line."""
    return (part for part in re.split(r"(?<=[.!?])\s+", line) if part)


def _slot_of(placeholder: str) -> str:
    return placeholder.rpartition(" ")[2]


Reply.model_rebuild()
