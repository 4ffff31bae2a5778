"""What a language model is told so that it is a tutor: prompts from ``agent/prompts`` and the messages of one request. Pure.

The system prompt depends on level and lesson alone, and every message of the conversation always looks the same: so the
messages of a turn begin with those of the turn before, and a server that keeps what it has worked out for a beginning (vLLM's
prefix cache) works only on what is new. What holds for one request only, a note that nobody answered, comes last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from agent.lessons.schema import MAX_SENTENCE_WORDS, PLACEHOLDER, Lesson
from agent.record import Level
from agent.tutor import Message

BEGIN = "[The call begins. Greet the learner.]"
UNHEARD = "[The learner spoke, but it could not be made out. Ask them kindly to say it again.]"
SILENT = "[The learner has not answered. Ask again, in other and easier words.]"
SUMMARY_WORDS = 150
MAX_CORRECTIONS = 3


@dataclass(frozen=True, slots=True)
class LevelRules:
    """How the tutor speaks to a level. CEFR's own descriptions (Council of Europe, 2020), in our words and with our limits."""

    name: Level
    cefr: str
    vocabulary: str
    grammar: str
    help: str

    @property
    def max_words(self) -> int:
        """Longest sentence, as for the lessons that are written down."""
        return MAX_SENTENCE_WORDS[self.name]


LEVEL_RULES: dict[Level, LevelRules] = {
    "beginner": LevelRules(
        "beginner",
        "CEFR A1 to A2",
        "Use only the most usual words of everyday life, some thousand of them. No idioms, and phrasal verbs only where they "
        "cannot be avoided.",
        "Use the simple present and the simple past, 'can', 'want to' and 'would like'. One idea in a sentence, joined by "
        "'and', 'but' or 'because' at most.",
        "If the learner is stuck, ask a question that yes, no or one word answers, or offer two words to choose from.",
    ),
    "intermediate": LevelRules(
        "intermediate",
        "CEFR B1 to B2",
        "Use usual words, and now and then a less usual one whose meaning the sentence makes clear. Common phrasal "
        "verbs are welcome.",
        "All common tenses, conditionals and relative clauses, but one subordinate clause in a sentence at most.",
        "If the learner is stuck, give them the beginning of a sentence to finish. Ask for reasons and examples.",
    ),
    "advanced": LevelRules(
        "advanced",
        "CEFR C1 to C2",
        "Use the whole range of everyday and educated speech, idioms included, as you would with another fluent speaker.",
        "Any grammar that sounds natural in speech.",
        "Challenge the learner: ask them to defend an opinion, to weigh two sides, or to say the same in a better way.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Task:
    """What a prompt says of a lesson."""

    kind: Literal["conversation", "read_aloud"]
    title: str
    goal: str
    questions: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    greeting: str = ""


@cache
def _environment() -> Environment:
    # Not HTML: nothing is to be escaped as HTML is. What learners say is never rendered, only put into messages.
    return Environment(
        loader=PackageLoader("agent", "prompts"),
        undefined=StrictUndefined,
        autoescape=False,
    )


def system_prompt(level: Level, lesson: Lesson | None) -> str:
    """Who the tutor is, how it speaks, and what it is to do; ``None``: free talk."""
    task = _task(lesson, level) if lesson is not None else None
    text = _environment().get_template("tutor.md").render(level=LEVEL_RULES[level], lesson=task)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def summary_messages(before: str, messages: Sequence[Message]) -> list[Message]:
    """The request for notes of ``messages``; ``before`` are the notes of what preceded them."""
    task = _environment().get_template("summary.md").render(before=before, words=SUMMARY_WORDS).strip()
    said = "\n".join(
        f"Tutor: {m['content'].strip()}" if m["role"] == "assistant" else f"Learner: {_plain(m['content'])}"
        for m in messages
        if m["content"].strip()
    )
    return [{"role": "system", "content": task}, {"role": "user", "content": said}]


def corrections_messages(text: str, level: Level) -> list[Message]:
    """The request for corrections of one turn of the learner."""
    task = _environment().get_template("corrections.md").render(level=LEVEL_RULES[level], most=MAX_CORRECTIONS).strip()
    return [{"role": "system", "content": task}, {"role": "user", "content": _quoted(text)}]


def request_messages(system: str, conversation: Sequence[Message], *, notes: str = "") -> list[Message]:
    """The messages of one request for the tutor's next words.

    Roles alternate, as templates of chat models want it, and the first after ``system`` is the user's.

    Args:
        system: As ``system_prompt`` made it.
        conversation: What was said, the learner's turns as they were heard; an empty one is speech that was not understood.
        notes: What is left of older turns that ``conversation`` no longer holds.
    """
    opening = f"{BEGIN}\n[Notes of the call so far: {_plain(notes)}]" if notes else BEGIN
    messages: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": opening}]
    for message in conversation:
        if message["role"] == "assistant":
            if message["content"].strip():
                _append(messages, "assistant", message["content"].strip(), " ")
        elif message["role"] == "user":
            _append(messages, "user", _quoted(message["content"]) if message["content"].strip() else UNHEARD, "\n")
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": SILENT})
    return messages


def _append(messages: list[Message], role: Literal["user", "assistant"], text: str, joint: str) -> None:
    if messages[-1]["role"] == role:
        messages[-1] = {"role": role, "content": f"{messages[-1]['content']}{joint}{text}"}
    else:
        messages.append({"role": role, "content": text})


def _quoted(text: str) -> str:
    return f"<learner>{_plain(text)}</learner>"


def _plain(text: str) -> str:
    """``text`` without the signs by which the prompts tell the learner's words from the rest."""
    return " ".join(re.sub(r"[<>\[\]]", " ", text).split())


def _task(lesson: Lesson, level: Level) -> _Task:
    if lesson.kind == "read_aloud":
        return _Task("read_aloud", lesson.title, lesson.goal, sentences=lesson.sentences)
    questions = (_without_slots(step.ask[level]) for step in lesson.steps)
    return _Task(
        "conversation", lesson.title, lesson.goal, questions=tuple(questions), greeting=_without_slots(lesson.greeting[level])
    )


def _without_slots(variants: Sequence[str]) -> str:
    """The first of ``variants`` that names nothing the learner has yet to say, or the first with a gap in such places."""
    whole = next((line for line in variants if not PLACEHOLDER.search(line)), None)
    return whole if whole is not None else PLACEHOLDER.sub("…", variants[0])
