"""What a tutor is: text in, a reply out. Pure, so any engine can stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

from agent.record import Correction, Level

FREE_TALK = "free_talk"
"""What stands for a lesson's name where there is none, which takes a tutor that can talk about anything."""


class Message(TypedDict):
    """One message of a conversation, in the shape of OpenAI's chat completions."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class TutorReply:
    """What the tutor says next, and what it expects to hear after it.

    ``expected`` are whole replies that the recogniser may be told to expect; ``careful`` are further ones that it must not take
    by mistake: foreseen mistakes, which would be corrected, and goodbyes, which end the call. ``suggestions`` are what the page
    offers to a learner who does not know what to say; ``corrections`` concern the learner's last turn; ``done`` marks the
    lesson's end.
    """

    text: str
    expected: Sequence[str] = field(default_factory=tuple)
    suggestions: Sequence[str] = field(default_factory=tuple)
    corrections: Sequence[Correction] = field(default_factory=tuple)
    done: bool = False
    careful: Sequence[str] = field(default_factory=tuple)


class Tutor(Protocol):
    """A tutor is a pure function of the conversation so far, so that an interruption or a resumed call needs no other state."""

    def respond(self, messages: Sequence[Message], *, lesson: str, level: Level) -> TutorReply:
        """The reply to ``messages``; an empty conversation asks for the greeting."""
        ...
