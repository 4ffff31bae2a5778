"""The scripted tutor: a pure function of the conversation that leads a learner through a lesson and never repeats itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.lessons import ReadAloud, load_lessons, read_aloud_lesson
from agent.lessons.mistaken import MAX_MISTAKEN
from agent.lessons.reading import words_heard
from agent.lessons.schema import MAX_EXPECTED, MAX_SENTENCE_WORDS, Conversation, sentences
from agent.record import LEVELS, Level
from agent.scripted import ScriptedTutor, UnknownLesson, chunks
from agent.tutor import Message, Tutor, TutorReply

TUTOR = ScriptedTutor()
LESSON = "introductions"


def talk(*said: str, level: Level = "beginner", lesson: str = LESSON, tutor: Tutor = TUTOR) -> list[TutorReply]:
    """The tutor's replies: the greeting, then one to each of ``said``."""
    messages: list[Message] = [{"role": "system", "content": "be kind"}]
    replies = [tutor.respond(messages, lesson=lesson, level=level)]
    for text in said:
        messages += [{"role": "assistant", "content": replies[-1].text}, {"role": "user", "content": text}]
        replies.append(tutor.respond(messages, lesson=lesson, level=level))
    return replies


GOOD = (
    "My name is Lena.",
    "I'm from Spain",
    "I live in Madrid",
    "I am a teacher",
    "yes I like my job",
    "I have two brothers",
    "I like to read",
    "I like pizza",
    "for five years",
    "because I want to travel",
    "I will meet my friends",
)


@pytest.mark.parametrize("level", LEVELS)
def test_a_whole_lesson(level: Level) -> None:
    replies = talk(*GOOD, level=level)
    assert [r.done for r in replies] == [False] * len(GOOD) + [True]
    assert all(r.text and r.expected and r.suggestions for r in replies[:-1])
    assert all(0 < len(r.expected) <= MAX_EXPECTED + MAX_MISTAKEN for r in replies[:-1])
    assert not any(r.corrections for r in replies)
    assert "Lena" in replies[1].text
    assert "Lena" in replies[-1].text
    assert replies[-1].text.endswith("Goodbye!")
    # It keeps to the level.
    longest = max(len(s.split()) for r in replies for s in sentences(r.text))
    assert longest <= MAX_SENTENCE_WORDS[level] + 2


def test_levels_are_worded_differently() -> None:
    assert len({talk(*GOOD[:2], level=level)[-1].text for level in LEVELS}) == 3


def test_foreseen_mistakes_are_recast_and_corrected() -> None:
    reply = talk("my name is Lena", "um I am come from China.")[-1]
    assert reply.text.startswith("So you come from China!")
    (correction,) = reply.corrections
    assert (correction.original, correction.correction) == ("I am come from China", "I come from China")
    assert correction.explanation
    assert "Which city" in reply.text


def test_a_mistake_of_any_lesson_is_corrected_without_leaving_the_question() -> None:
    reply = talk("I'm agree")[-1]
    assert [(c.original, c.correction) for c in reply.corrections] == [("I'm agree", "I agree")]
    assert "name" in reply.text


def test_a_follow_up_belongs_to_its_answer() -> None:
    teacher = talk("Lena", "Spain", "Madrid", "I am a teacher")[-1]
    student = talk("Lena", "Spain", "Madrid", "I am a student")[-1]
    assert "like your job" in teacher.text
    assert "at school" in student.text


def test_answers_given_ahead_are_not_asked_for_again() -> None:
    reply = talk("I'm Omar and I'm from Egypt")[-1]
    assert "Omar" in reply.text
    assert "Egypt" in reply.text
    assert "Which city" in reply.text
    assert "Where are you from" not in reply.text


def test_a_wrong_name_can_be_put_right_later() -> None:
    replies = talk("my name is Maria", "no my name is Ahmed", "bye")
    assert "Maria" in replies[1].text
    assert "Ahmed" in replies[-1].text


def test_questions_asked_back_are_answered() -> None:
    assert "My name is Parley" in talk("My name is Lena, and you?")[-1].text
    reply = talk("what's your name")[-1]
    assert "Parley" in reply.text
    assert "name" in reply.text.split("Parley", 1)[1]


def test_speech_that_was_not_understood_three_times() -> None:
    greeting, first, second, third = talk("", "", "")
    assert "again" in first.text
    assert "Tell me your name" in first.text
    assert "My name is Anna" in second.text
    assert "from" in third.text
    assert first.expected == second.expected == greeting.expected
    assert third.expected != second.expected


def test_off_script_speech_is_led_back() -> None:
    reply, again, moved_on = talk("the moon over the old harbour", "green bottles fall", "and a purple cat")[1:]
    assert "question" in reply.text
    assert "name" in reply.text
    assert "My name is Anna" in again.text
    assert "from" in moved_on.text


def test_not_knowing_is_helped_at_once() -> None:
    assert "My name is Anna" in talk("I don't know")[-1].text


@pytest.mark.parametrize("request_", ["sorry?", "Can you repeat?", "I don't understand", "slower please", "what"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_repeated_question_is_put_in_other_words(request_: str, level: Level) -> None:
    replies = talk("Lena", *[request_] * 4, level=level)[1:]
    assert len({r.text for r in replies}) == 5
    assert len({r.expected for r in replies}) == 1
    assert replies[0].expected != talk("Lena", *[request_] * 5, level=level)[-1].expected


@pytest.mark.parametrize("level", LEVELS)
def test_goodbye_ends_the_lesson_and_what_follows_is_short(level: Level) -> None:
    replies = talk("I am Lena", "goodbye", "hello?", "are you there", "", level=level)
    assert [r.done for r in replies] == [False, False, True, True, True, True]
    assert "Lena" in replies[2].text
    for reply in replies[3:]:
        assert len(reply.text.split()) < 20
        assert not reply.expected
    assert all(a.text != b.text for a, b in pairwise(replies))


def test_the_greeting_needs_no_message() -> None:
    empty = TUTOR.respond([], lesson=LESSON, level="beginner")
    assert empty == TUTOR.respond([{"role": "system", "content": "x"}], lesson=LESSON, level="beginner")
    assert empty.text.endswith("What is your name?")


def test_a_silent_learner_is_asked_again_in_other_words() -> None:
    messages: list[Message] = []
    texts = []
    for _ in range(4):
        texts.append(TUTOR.respond(messages, lesson=LESSON, level="beginner").text)
        messages.append({"role": "assistant", "content": texts[-1]})
    assert all(a != b for a, b in pairwise(texts))
    assert all("name" in text for text in texts)


def test_what_the_tutor_was_heard_to_say_does_not_matter() -> None:
    whole, cut, silent = [], [], []
    for text in GOOD[:5]:
        reply = TUTOR.respond(whole, lesson=LESSON, level="advanced").text
        whole += [{"role": "assistant", "content": reply}, {"role": "user", "content": text}]
        cut += [{"role": "assistant", "content": reply[:9]}, {"role": "user", "content": text}]
        silent += [{"role": "user", "content": text}]
    replies = [TUTOR.respond(m, lesson=LESSON, level="advanced") for m in (whole, cut, silent)]  # type: ignore[arg-type]
    assert replies[0] == replies[1] == replies[2]


def test_a_new_level_goes_on_at_the_same_place() -> None:
    messages: list[Message] = [{"role": "user", "content": text} for text in GOOD[:2]]
    easy = TUTOR.respond(messages, lesson=LESSON, level="beginner")
    hard = TUTOR.respond(messages, lesson=LESSON, level="advanced")
    assert "Which city do you live in?" in easy.text
    assert "where do you live these days?" in hard.text


def test_an_unknown_lesson_names_those_there_are() -> None:
    with pytest.raises(UnknownLesson, match=r"'cooking', allowed: .*introductions"):
        TUTOR.respond([], lesson="cooking", level="beginner")


lesson = load_lessons()[LESSON]
assert isinstance(lesson, Conversation)
phrases = [
    *GOOD,
    *(s for step in lesson.steps for s in step.expected("beginner")[:4]),
    *("", "sorry", "slower please", "I don't know", "hello", "thank you", "and you?", "what is your name", "my name is Omar"),
    *(
        "I am come from China",
        "i am student",
        "I like play football",
        "yes",
        "no",
        "okay",
        "the moon is big",
        "bla",
        "{name} {x}",
    ),
]
utterances = st.sampled_from(phrases) | st.text(max_size=30)
turns = st.lists(st.tuples(utterances, st.sampled_from(["whole", "cut", "none"])), max_size=25)


@given(turns=turns, level=st.sampled_from(LEVELS), levels=st.lists(st.sampled_from(LEVELS), max_size=25), bye=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_conversation(turns: list[tuple[str, str]], level: Level, levels: list[Level], bye: bool) -> None:
    messages: list[Message] = []
    reply = TUTOR.respond(messages, lesson=LESSON, level=level)
    done = False
    for i, (text, heard) in enumerate([*turns, *([("goodbye", "whole")] if bye else [])]):
        last = reply
        if heard != "none":
            messages.append({"role": "assistant", "content": reply.text if heard == "whole" else reply.text[: i % 20]})
        messages.append({"role": "user", "content": text})
        now = levels[i] if i < len(levels) else level
        reply = TUTOR.respond(messages, lesson=LESSON, level=now)
        assert reply == ScriptedTutor().respond(list(messages), lesson=LESSON, level=now)
        assert reply.text.strip()
        if heard == "whole" or len(levels) == 0:
            assert reply.text != last.text
        assert "{" not in reply.text.replace(text.strip().title(), "")
        assert all(correction.original in text for correction in reply.corrections)
        assert len(reply.expected) <= MAX_EXPECTED + MAX_MISTAKEN
        assert bool(reply.expected) is not reply.done
        assert reply.done or not done
        done = reply.done
    if bye:
        assert done


@given(st.lists(st.sampled_from(["", "sorry", "bla bla", "I don't know"]), min_size=90, max_size=90))
@settings(max_examples=20, deadline=None)
def test_nobody_is_kept_at_a_question_for_ever(said: list[str]) -> None:
    messages: list[Message] = [{"role": "user", "content": text} for text in said]
    assert TUTOR.respond(messages, lesson=LESSON, level="beginner").done


@given(st.text())
def test_chunks_joined_are_the_text(text: str) -> None:
    assert "".join(chunks(text)) == text


def test_chunks_are_words_with_the_space_after_them() -> None:
    assert list(chunks("Hello, my  friend! ")) == ["Hello, ", "my  ", "friend! "]
    assert list(chunks(" a b")) == [" ", "a ", "b"]
    assert list(chunks("")) == []


# Reading aloud.


@pytest.fixture
def reading(tmp_path: Path) -> ScriptedTutor:
    path = tmp_path / "three.txt"
    path.write_text("The cat sat on the {mat}.\nHe yelled the very same thing.\nIt's late.\n")
    return ScriptedTutor({"three": read_aloud_lesson(path)})


def test_reading_aloud(reading: ScriptedTutor) -> None:
    replies = talk(
        "the cat sat on the mat", "he yelled a fairy thing", "", "late night", level="beginner", lesson="three", tutor=reading
    )
    assert [r.expected for r in replies] == [
        ("The cat sat on the {mat}.",),
        ("He yelled the very same thing.",),
        ("It's late.",),
        ("It's late.",),
        (),
    ]
    assert replies[0].text.endswith(": The cat sat on the {mat}.")
    assert "every word" in replies[1].text or "all 6 words" in replies[1].text
    assert "3 of 6 words" in replies[2].text
    assert "the, very, same" in replies[2].text
    assert "It's late." in replies[3].text
    assert "1 of 3 words" in replies[4].text
    assert "is" in replies[4].text
    assert [r.done for r in replies] == [False, False, False, False, True]


def test_a_sentence_that_was_hardly_heard_is_read_once_more(reading: ScriptedTutor) -> None:
    replies = talk("the hat", "the hat", level="advanced", lesson="three", tutor=reading)
    assert replies[1].expected == replies[0].expected
    assert replies[2].expected != replies[1].expected


def test_reading_can_be_ended_and_sentences_repeated(reading: ScriptedTutor) -> None:
    replies = talk("sorry", "goodbye", lesson="three", tutor=reading)
    assert replies[1].expected == replies[0].expected
    assert replies[1].text != replies[0].text
    assert replies[2].done


@given(said=st.lists(st.text(max_size=20) | st.sampled_from(["", "sorry", "it's late", "the cat"]), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_reading(said: list[str]) -> None:
    tutor = ScriptedTutor(
        {"r": ReadAloud(id="r", title="R", goal="G", sentences=("The cat sat.", "It's late.", "The cat sat."))}
    )
    replies = talk(*said, lesson="r", tutor=tutor)
    assert all(a.text != b.text for a, b in pairwise(replies))
    assert all(r.text for r in replies)


@pytest.mark.parametrize(
    ("sentence", "text", "expected"),
    [
        ("He yelled the same thing.", "he yelled the same thing", (5, 5, ())),
        ("He yelled the same thing.", "yelled same old thing", (5, 3, ("he", "the"))),
        ("It's late", "", (3, 0, ("it", "is", "late"))),
    ],
)
def test_words_heard(sentence: str, text: str, expected: tuple[int, int, tuple[str, ...]]) -> None:
    assert words_heard(sentence, text) == expected
