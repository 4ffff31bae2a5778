"""The lessons that ``docs/lessons.md`` shows are lessons, and do what it says."""

from __future__ import annotations

import re
from pathlib import Path

from agent.lessons import Conversation, Lesson, load_common, parse_lesson
from agent.lessons.heard import Heard
from agent.lessons.listen import understand
from agent.lessons.patterns import Pattern, SlotValues
from agent.lessons.schema import MAX_SENTENCE_WORDS
from agent.record import LEVELS
from agent.scripted import ScriptedTutor
from agent.tutor import Message

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lessons.md").read_text(encoding="utf-8")
LESSONS: list[Lesson] = [
    parse_lesson(text, "shown", "docs/lessons.md") for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
]


def talk(lesson: Lesson, *said: str) -> list[str]:
    """The tutor's turns of a call at the beginner's level."""
    tutor, messages = ScriptedTutor({"shown": lesson}), list[Message]()
    turns = [tutor.respond(messages, lesson="shown", level="beginner").text]
    for text in said:
        messages += [{"role": "assistant", "content": turns[-1]}, {"role": "user", "content": text}]
        turns.append(tutor.respond(messages, lesson="shown", level="beginner").text)
    return turns


def test_there_is_one_of_each_kind() -> None:
    assert [lesson.kind for lesson in LESSONS] == ["conversation", "read_aloud"]


def test_the_conversation_goes_as_the_page_says() -> None:
    turns = talk(LESSONS[0], "I have cat", "and you?", "Luna", "hm", "because are funny")
    assert turns[0].startswith("Hello! Let's talk about animals. ")
    assert turns[1] == "So you have a cat! How nice. What is its name?"
    assert turns[3].startswith("Luna! What a good name. Why do people like animals?")
    assert turns[5] == "Because they are funny! Yes. Thank you! Say hello to Luna from me. Goodbye!"


def test_everything_expected_is_understood_without_a_correction() -> None:
    lesson = LESSONS[0]
    assert isinstance(lesson, Conversation)
    follow_ups = [(0, reply.follow_up) for reply in lesson.steps[0].replies if reply.follow_up is not None]
    for number, question in [*enumerate(lesson.steps), *follow_ups]:
        for level in LEVELS:
            for sentence in (*question.expected(level), *question.model[level]):
                found = understand(sentence, question, number, lesson, load_common())
                assert (found.kind, found.corrections) == ("answer", ()), sentence


def test_the_numbers_of_the_levels_are_those_of_the_page() -> None:
    assert "10, 16 and 28 words" in PAGE
    assert [MAX_SENTENCE_WORDS[level] for level in LEVELS] == [10, 16, 28]


def test_right_sentences_of_the_page_are_in_reach_of_the_loose_patterns_and_not_of_the_bound_ones() -> None:
    numbers = {"number": SlotValues(("two", "three"))}
    for sentence, loose, bound in [
        ("Am I responsible for it?", "i responsible", "^ i responsible"),
        ("I do all I can to help.", "i can to help", "^ i can to help"),
        ("since two years ago", "since {number} years", "since {number} years !(ago|of)"),
        ("I work in team sports.", "work in team", "work in team $"),
    ]:
        assert Pattern(loose, numbers).match(Heard.of(sentence))
        assert not Pattern(bound, numbers).match(Heard.of(sentence))
