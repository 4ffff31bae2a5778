"""What every lesson shares: requests that are no answers ("can you repeat that?"), and the words around the questions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PrivateAttr, model_validator

from agent.lessons.heard import Heard
from agent.lessons.patterns import Pattern, PatternError
from agent.lessons.schema import Lines, Mistake, Part, Patterns


class SmallTalk(Part):
    """A courtesy and its answer; the tutor then comes back to its question."""

    say: Patterns
    answer: Lines
    _patterns: tuple[Pattern, ...] = PrivateAttr(default=())

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """``say``, compiled; each must be all of what was said."""
        return self._patterns


class ReadAloudLines(Part):
    """The tutor's words in a read-aloud lesson; ``{heard}``, ``{words}``, ``{missed}`` and ``{sentence}`` are filled in."""

    greeting: Lines
    please_read: Lines
    all_heard: Lines
    some_heard: Lines
    try_again: Lines
    move_on: Lines
    closing: Lines


class Common(Part):
    """``common.yaml``. ``repeat``, ``slower``, ``dont_know`` and ``goodbye`` patterns must be all of what was said."""

    repeat: Patterns
    slower: Patterns
    dont_know: Patterns
    goodbye: Patterns
    ask_back: Patterns = Field(description="These may stand anywhere in an answer.")
    always_expected: Patterns = Field(description="What a learner may say to any question, for the recogniser.")
    small_talk: tuple[SmallTalk, ...]
    errors: tuple[Mistake, ...]
    repeat_lines: Lines
    slower_lines: Lines
    unclear: Lines
    offer_model: Lines
    move_on: Lines
    noted: Lines
    corrected: Lines
    nudge: Lines
    after_end: Annotated[Lines, Field(description="At least two variants, since it may be said twice in a row.")]
    read_aloud: ReadAloudLines
    _intents: dict[str, tuple[Pattern, ...]] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _compile(self) -> Common:
        for name in ("repeat", "slower", "dont_know", "goodbye"):
            self._intents[name] = _compiled(getattr(self, name), name, whole=True)
        self._intents["ask_back"] = _compiled(self.ask_back, "ask_back", whole=False)
        for number, talk in enumerate(self.small_talk):
            talk._patterns = _compiled(talk.say, f"small_talk.{number}.say", whole=True)
        for number, mistake in enumerate(self.errors):
            mistake._patterns = _compiled(mistake.heard, f"errors.{number}.heard", whole=False)
        for level, variants in self.after_end.items():
            if len(variants) < 2:
                raise ValueError(f"after_end.{level}: needs two variants or more")
        return self

    def intent(self, heard: Heard) -> str | None:
        """Which of "goodbye", "slower", "repeat", "dont_know" all of what was said is, if any."""
        for name in ("goodbye", "slower", "repeat", "dont_know"):
            if any(p.match(heard) for p in self._intents[name]):
                return name
        return None

    def asks_back(self, heard: Heard) -> bool:
        """Whether the learner returns the question ("and you?")."""
        return any(p.match(heard) for p in self._intents["ask_back"])


def _compiled(sources: tuple[str, ...], where: str, *, whole: bool) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern(source, {}, whole=whole) for source in sources)
    except PatternError as e:
        raise ValueError(f"{where}: {e}") from None
