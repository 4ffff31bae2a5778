"""Lesson files: the ones we ship are whole, and a broken one says where and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pocketsphinx
import pytest
import yaml

from agent.lessons import Conversation, LessonError, load_common, load_lessons, parse_lesson, read_aloud_lesson
from agent.lessons.heard import Heard
from agent.lessons.listen import understand
from agent.lessons.schema import MAX_EXPECTED, Question
from agent.record import LEVELS


def questions(lesson: Conversation) -> Iterator[tuple[int, Question]]:
    for number, step in enumerate(lesson.steps):
        yield number, step
        for reply in step.replies:
            if reply.follow_up is not None:
                yield number, reply.follow_up


def conversations() -> list[Conversation]:
    return [lesson for lesson in load_lessons().values() if isinstance(lesson, Conversation)]


def test_introductions_is_there_and_long_enough() -> None:
    lesson = load_lessons()["introductions"]
    assert isinstance(lesson, Conversation)
    assert (lesson.id, lesson.kind) == ("introductions", "conversation")
    assert len(lesson.steps) >= 8
    assert sum(bool(reply.errors) for _, q in questions(lesson) for reply in q.replies) >= 8


@pytest.mark.parametrize("lesson", conversations(), ids=lambda lesson: lesson.id)
def test_whatever_is_expected_or_suggested_is_understood_as_an_answer(lesson: Conversation) -> None:
    for number, question in questions(lesson):
        for level in LEVELS:
            expected = question.expected(level)
            assert 0 < len(expected) <= MAX_EXPECTED
            assert len(set(expected)) == len(expected)
            for sentence in (*expected, *question.model[level]):
                found = understand(sentence, question, number, lesson, load_common())
                assert found.kind == "answer", (sentence, found)
                assert not found.corrections, (sentence, found)


@pytest.mark.parametrize("lesson", conversations(), ids=lambda lesson: lesson.id)
def test_each_foreseen_mistake_is_found_and_mended(lesson: Conversation) -> None:
    for number, question in questions(lesson):
        for reply in question.replies:
            for mistake in reply.errors:
                for pattern in mistake.patterns:
                    for sentence in pattern.expand(3):
                        found = understand(sentence, question, number, lesson, load_common())
                        assert found.corrections, sentence
                        assert found.corrections[0].original in sentence
                        assert found.kind == "answer" or mistake.recast is None
                        # What it is mended to is no mistake itself.
                        mended = understand(found.corrections[0].correction, question, number, lesson, load_common())
                        assert not mended.corrections, (sentence, mended)


@pytest.mark.parametrize("lesson", conversations(), ids=lambda lesson: lesson.id)
def test_expected_words_are_in_the_embedded_recognisers_dictionary(lesson: Conversation) -> None:
    text = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8")
    known = {line.split(maxsplit=1)[0] for line in text.splitlines()}
    said = {
        word for _, q in questions(lesson) for level in LEVELS for sentence in q.expected(level) for word in sentence.split()
    }
    said |= {word for pattern in load_common().always_expected for word in pattern.split()}
    assert said - known == set()


@pytest.mark.parametrize(
    "sentence",
    [
        "does he have a car",
        "I am not sure that I agree",
        "the child's toy",
        "I went home",
        "she doesn't know",
        "I really like it",
    ],
)
def test_right_sentences_are_not_corrected(sentence: str) -> None:
    (lesson,) = (one for one in conversations() if one.id == "introductions")
    for number, question in questions(lesson):
        assert understand(sentence, question, number, lesson, load_common()).corrections == ()


@pytest.mark.parametrize(
    ("sentence", "intent"),
    [
        ("sorry?", "repeat"),
        ("Can you repeat that, please?", "repeat"),
        ("I don't understand", "repeat"),
        ("sorry i didn't hear you", "repeat"),
        ("slower please", "slower"),
        ("You speak too fast", "slower"),
        ("I don't know", "dont_know"),
        ("help me please", "dont_know"),
        ("goodbye", "goodbye"),
        ("thank you bye bye", "goodbye"),
        ("sorry I have to go now", "goodbye"),
        ("see you tomorrow", "goodbye"),
        ("I said goodbye to my mother", None),
        ("every day I have to go to work", None),
        ("I run very fast", None),
        ("I don't know many people here", None),
        ("I help my mother", None),
        ("what I like is music", None),
        ("I don't get up early", None),
    ],
)
def test_requests_are_told_from_answers(sentence: str, intent: str | None) -> None:
    assert load_common().intent(Heard.of(sentence)) == intent


# A lesson of one step, to be broken.

SMALL: dict[str, Any] = {
    "title": "Small",
    "goal": "Say a colour.",
    "slots": {"colour": {"values": ["red", "blue"]}},
    "greeting": "Hello!",
    "steps": [
        {
            "id": "colour",
            "ask": "Which colour do you like?",
            "simpler": "Red or blue?",
            "hint": "Name a colour.",
            "model": "I like red.",
            "react": "Good!",
            "replies": [{"say": "i like {colour}", "react": "{colour} is nice."}],
            "suggestions": ["I like red."],
        }
    ],
    "way_back": "I see.",
    "closing": "Goodbye!",
    "goodbye": "Bye!",
}


def broken(path: str, value: Any) -> str:
    data = yaml.safe_load(yaml.safe_dump(SMALL))
    *parents, last = [int(p) if p.isdecimal() else p for p in path.split(".")]
    place = data
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(data)


def test_the_small_lesson_is_whole() -> None:
    lesson = parse_lesson(yaml.safe_dump(SMALL), "small", "small.yaml")
    assert isinstance(lesson, Conversation)
    assert lesson.steps[0].expected("advanced") == ("i like red", "i like blue")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("steps.0.ask", None, r"steps\.0\.ask: Field required"),
        ("steps.0.tell", "x", r"steps\.0: unknown key 'tell'; allowed: ask, simpler, .*, id, fills, noted"),
        (
            "steps.0.replies.0.say",
            "i like {food}",
            r"steps\.0 \(colour\)\.replies\.0\.say: .*unknown slot 'food', allowed: colour",
        ),
        ("steps.0.replies.0.say", "i like (red", r"replies\.0\.say: 'i like \(red': '\)' is missing"),
        (
            "steps.0.replies.0.say",
            True,
            r"steps\.0\.replies\.0\.say: Input should be text or a list of texts \(found 'True'; .*quotes",
        ),
        ("steps.0.replies", [], r"steps\.0\.replies: .*at least 1 item"),
        (
            "steps.0.react",
            "{colour} is nice.",
            r"steps\.0 \(colour\)\.react\.beginner: needs a variant whose slots are surely known",
        ),
        ("steps.0.react", "{food} is nice.", r"unknown slot \{food\}, allowed: colour"),
        (
            "steps.0.ask",
            {"beginner": "Hm?"},
            r"steps\.0\.ask: levels are beginner, intermediate, advanced, all three; found: beginner",
        ),
        ("steps.0.ask", "one two three four five six seven eight nine ten eleven?", r"beginner: at most 10 words .* found 11"),
        ("steps.0.simpler", "Which colour do you like?", r"simpler: beginner: must differ from 'ask'"),
        ("steps.0.listen_for", "food", r"listen_for: unknown slot 'food', allowed: colour"),
        ("steps.0.fills", "food", r"fills: unknown slot 'food', allowed: colour"),
        ("steps.0.replies.0.levels", ["beginner"], r"replies: nothing is expected of intermediate"),
        ("steps.0.replies.0.levels", ["expert"], r"'beginner', 'intermediate' or 'advanced'"),
        ("kind", "song", r"'conversation'.*'read_aloud'"),
        ("id", "other", r"id: a lesson is named by its file"),
        (
            "errors",
            [{"heard": "i am like", "fix": "I like {colour}", "why": "x"}],
            r"errors\.0\.fix: \{colour\} is not in every",
        ),
    ],
)
def test_a_broken_lesson_names_file_place_and_what_is_allowed(path: str, value: Any, message: str) -> None:
    with pytest.raises(LessonError, match=rf"(?s)^broken\.yaml: .*{message}") as error:
        parse_lesson(broken(path, value), "broken", "broken.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "line 1, column 9"),
        ("title: a\ntitle: b\n", "a key stands twice"),
        ("- a", "must be a mapping .* found list"),
        ("", "must be a mapping .* found NoneType"),
    ],
)
def test_broken_yaml_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(LessonError, match=rf"^broken\.yaml: .*{message}"):
        parse_lesson(text, "broken", "broken.yaml")


def test_a_lesson_can_be_read_aloud_from_any_text_file(tmp_path: Path) -> None:
    path = tmp_path / "my sentences.txt"
    path.write_text("# learners\n\nThe cat sat.\r\n  It's late, isn't it?  \n", encoding="utf-8-sig")
    lesson = read_aloud_lesson(path)
    assert lesson.sentences == ("The cat sat.", "It's late, isn't it?")
    assert (lesson.kind, lesson.id) == ("read_aloud", "my sentences")


def test_a_file_that_cannot_be_read_aloud_is_named(tmp_path: Path) -> None:
    empty, binary, silent = tmp_path / "empty.txt", tmp_path / "binary.txt", tmp_path / "silent.txt"
    empty.write_text("# nothing\n")
    binary.write_bytes(b"ab\xff\xfe")
    silent.write_text("...\n")
    for path, message in [
        (empty, "holds no sentence"),
        (binary, "must be UTF-8 text .byte 2"),
        (silent, "no words in '...'"),
        (tmp_path / "missing.txt", "No such file"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(LessonError, match=message) as error:
            read_aloud_lesson(path)
        assert str(path) in str(error.value)


def test_a_read_aloud_lesson_can_be_a_lesson_file() -> None:
    lesson = parse_lesson("kind: read_aloud\ntitle: T\ngoal: G\nsentences: [One., Two.]", "reading", "reading.yaml")
    assert lesson.sentences == ("One.", "Two.")  # type: ignore[union-attr]


@pytest.mark.parametrize("lesson", conversations(), ids=lambda lesson: lesson.id)
def test_what_the_page_offers_to_say_is_expected_first(lesson: Conversation) -> None:
    for _, question in questions(lesson):
        for level in LEVELS:
            shown = [
                " ".join(re.findall(r"[\w']+", line.lower()))
                for line in (*question.model[level], *question.suggestions[level])
                if "…" not in line
            ]
            assert list(question.expected(level)[: len(set(shown))]) == list(dict.fromkeys(shown))
