"""Foreseen mistakes beside their right forms, of real lessons."""

from __future__ import annotations

import pytest

from agent.lessons import Conversation, load_lessons
from agent.lessons.heard import normal
from agent.lessons.mistaken import MAX_MISTAKEN, mistaken
from agent.record import LEVELS
from agent.scripted import ScriptedTutor

CONVERSATIONS = [lesson for lesson in load_lessons().values() if isinstance(lesson, Conversation)]


@pytest.mark.parametrize("lesson", CONVERSATIONS, ids=lambda lesson: lesson.id)
def test_each_mistake_has_its_right_form(lesson: Conversation) -> None:
    for step in lesson.steps:
        for level in LEVELS:
            pairs = mistaken(step, level, lesson.values)
            assert len(pairs) <= MAX_MISTAKEN
            assert len({normal(wrong) for wrong, _ in pairs}) == len(pairs)
            assert not {normal(wrong) for wrong, _ in pairs} & {normal(right) for right in step.expected(level)}
            for wrong, right in pairs:
                assert normal(wrong) != normal(right)
                assert "{" not in wrong + right


def test_the_words_around_the_mistake_stay() -> None:
    introductions = next(lesson for lesson in CONVERSATIONS if lesson.id == "introductions")
    by_step = {step.id: dict(mistaken(step, "beginner", introductions.values)) for step in introductions.steps}
    assert by_step["country"]["i am come from china"] == "i come from china"
    assert by_step["home"]["i live at beijing"] == "i live in beijing"


def test_a_reply_names_mistakes_and_goodbyes_as_those_to_be_careful_with() -> None:
    reply = ScriptedTutor().respond([], lesson="introductions", level="beginner")
    assert {"my name maria", "goodbye"} <= set(reply.careful)
    assert {"my name is maria", "slower please"} <= set(reply.expected)
    assert not set(reply.careful) & set(reply.expected)
