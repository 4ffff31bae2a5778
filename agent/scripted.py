"""The scripted tutor: a guided practice that needs no language model. It speaks from a lesson of ``agent.lessons``.

A reply is a pure function of the conversation. The learner's turns are replayed from the first, so an interrupted or resumed
call and a change of level need no state besides the messages. The tutor's own messages may be cut short by interruptions: they
serve only to avoid saying the same again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from agent.lessons import load_common, load_lessons
from agent.lessons.course import ConversationCourse
from agent.lessons.reading import ReadingCourse
from agent.lessons.schema import Conversation, ReadAloud
from agent.record import Level
from agent.tutor import Message, TutorReply

_VARIANTS = 8
_POINTS = 128
"""Points of conversations that are kept; some for each call of a process."""
_LOOK_BACK = 4

_Said = tuple[tuple[str, str], ...]
_Point = tuple[int, Any, TutorReply]
_AGAIN = ("Let me say that again. ", "Once more: ")


class UnknownLesson(LookupError):
    """No lesson has that name; the text lists those that there are."""


class _Course(Protocol):
    def start(self) -> Any: ...
    def after(self, state: Any, text: str) -> Any: ...
    def nudge(self, state: Any) -> Any: ...
    def say(self, state: Any, level: Level, salt: int) -> TutorReply: ...


class ScriptedTutor:
    """An ``agent.tutor.Tutor`` over ``lessons`` (those of the package, unless given)."""

    def __init__(self, lessons: Mapping[str, Conversation | ReadAloud] | None = None) -> None:
        common = load_common()
        # Replays of conversations so far, to save time and not to change the outcome: a long call costs no more a turn.
        self._points: dict[tuple[str, Level, _Said], _Point] = {}
        self._courses: dict[str, _Course] = {
            key: ConversationCourse(lesson, common) if isinstance(lesson, Conversation) else ReadingCourse(lesson, common)
            for key, lesson in (load_lessons() if lessons is None else lessons).items()
        }

    def respond(self, messages: Sequence[Message], *, lesson: str, level: Level) -> TutorReply:
        """The reply to ``messages``; without a message of the learner, the greeting.

        An empty message of the learner is speech that was not understood. Where the tutor spoke last, it asks again in other
        words. Never the same text as the reply before. System messages are passed over.

        Raises:
            UnknownLesson: naming the lessons that there are.
        """
        course = self._courses.get(lesson)
        if course is None:
            raise UnknownLesson(f"unknown lesson {lesson!r}, allowed: {', '.join(self._courses)}")
        said = tuple((m["role"], m["content"]) for m in messages if m["role"] != "system")
        begin, state, reply = self._replayed(course, lesson, level, said)
        # What the tutor said last, as it stands in the messages: another level may have worded it.
        avoid: list[str] = []
        for i, (role, content) in enumerate(said[begin:], begin):
            if role == "user":
                state = course.after(state, content)
                reply = _other_words(course, state, level, [reply.text, *avoid])
                avoid = []
                self._remember((lesson, level, said[: i + 1]), (i + 1, state, reply))
            elif content.strip():
                avoid = [content]
        if avoid:
            return _other_words(course, course.nudge(state), level, [reply.text, *avoid])
        return reply

    def _replayed(self, course: _Course, lesson: str, level: Level, said: _Said) -> _Point:
        """The latest point of this conversation that was replayed before, or its beginning."""
        ends = (i + 1 for i in range(len(said) - 1, -1, -1) if said[i][0] == "user")
        for end in islice(ends, _LOOK_BACK):
            point = self._points.get((lesson, level, said[:end]))
            if point is not None:
                return point
        state = course.start()
        return 0, state, _other_words(course, state, level, [])

    def _remember(self, key: tuple[str, Level, _Said], point: _Point) -> None:
        self._points.pop(key, None)
        self._points[key] = point
        while len(self._points) > _POINTS:
            del self._points[next(iter(self._points))]


def chunks(text: str) -> Iterator[str]:
    """``text`` in the pieces in which a language model would stream it: each word with the space after it. Joined: ``text``."""
    return (piece.group() for piece in re.finditer(r"^\s+|\S+\s*", text))


def _other_words(course: _Course, state: Any, level: Level, avoid: Sequence[str]) -> TutorReply:
    """``state`` in words that are none of ``avoid``."""
    said = {text.strip() for text in avoid}
    for salt in range(_VARIANTS):
        reply = course.say(state, level, salt)
        if reply.text.strip() not in said:
            return reply
    text = next(again + reply.text for again in _AGAIN if (again + reply.text).strip() not in said)
    return replace(reply, text=text)
