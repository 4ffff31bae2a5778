"""Lessons are data: one YAML file each in this folder, checked by ``agent.lessons.schema`` when it is read."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from agent.lessons.common import Common
from agent.lessons.schema import Conversation, FreeTalk, Lesson, ReadAloud

__all__ = [
    "Conversation",
    "FreeTalk",
    "Lesson",
    "LessonError",
    "ReadAloud",
    "load_common",
    "load_lessons",
    "parse_lesson",
    "read_aloud_lesson",
    "read_lesson",
]

LESSON_SUFFIXES = (".yaml", ".yml")
"""Names of lesson files end with these; any other file holds sentences to read aloud."""
_COMMON = "common.yaml"
_lesson: TypeAdapter[Conversation | ReadAloud] = TypeAdapter(Lesson)


class LessonError(ValueError):
    """A lesson that cannot be used: one line with the file, the place in it, and what is allowed."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice in this mapping", node.start_mark)
        return mapping


@cache
def load_lessons() -> dict[str, Lesson]:
    """All lessons of this folder by file name, sorted. Reads and compiles for some 0.3 s, once.

    Raises:
        LessonError: for the first broken file.
    """
    load_common()
    files = [f for f in resources.files(__name__).iterdir() if f.name.endswith(".yaml") and f.name != _COMMON]
    return {
        (key := f.name[:-5]): parse_lesson(f.read_text(encoding="utf-8"), key, f.name)
        for f in sorted(files, key=lambda f: f.name)
    }


@cache
def load_common() -> Common:
    """What all lessons share. Raises ``LessonError``."""
    data = _yaml((resources.files(__name__) / _COMMON).read_text(encoding="utf-8"), _COMMON)
    try:
        return Common.model_validate(data)
    except ValidationError as e:
        raise LessonError(f"{_COMMON}: {_first(e)}") from None


def parse_lesson(text: str, key: str, file: str) -> Lesson:
    """The lesson in ``text`` under the name ``key``; ``file`` is named in errors.

    Raises:
        LessonError: naming the file, the place in it, and what is allowed.
    """
    data = _yaml(text, file)
    if not isinstance(data, dict):
        raise LessonError(f"{file}: must be a mapping with title, goal, steps …, found {type(data).__name__}")
    if "id" in data:
        raise LessonError(f"{file}: id: a lesson is named by its file; remove it")
    try:
        return _lesson.validate_python({"kind": "conversation", **data, "id": key})
    except ValidationError as e:
        raise LessonError(f"{file}: {_first(e)}") from None


def read_lesson(path: Path) -> Lesson:
    """The lesson in a file of one's own, named after it: YAML as in this folder, or text with one sentence a line.

    Raises:
        LessonError: naming the file, the place in it, and what is allowed.
    """
    if path.suffix.lower() in LESSON_SUFFIXES:
        return parse_lesson(_text(path), path.stem, str(path))
    return read_aloud_lesson(path)


def read_aloud_lesson(path: Path) -> ReadAloud:
    """A read-aloud lesson from a text file: one sentence a line; empty lines and lines that begin with ``#`` are passed over.

    Raises:
        LessonError: where the file cannot be read or holds no sentence.
    """
    lines = [line.strip() for line in _text(path).splitlines()]
    sentences = [line for line in lines if line and not line.startswith("#")]
    if not sentences:
        raise LessonError(f"{path}: holds no sentence; write one on each line")
    try:
        return ReadAloud(
            id=path.stem, title=f"Read aloud: {path.stem}"[:400], goal="Read each sentence clearly.", sentences=tuple(sentences)
        )
    except ValidationError as e:
        raise LessonError(f"{path}: {_first(e)}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise LessonError(f"{path}: {e.strerror or e}") from None
    except UnicodeDecodeError as e:
        raise LessonError(f"{path}: must be UTF-8 text (byte {e.start} is not)") from None


def _yaml(text: str, file: str) -> Any:
    try:
        # _Loader is a SafeLoader.
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None) or getattr(e, "context_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        raise LessonError(f"{file}: {where}: {getattr(e, 'problem', None) or 'not YAML'}") from None


def _first(error: ValidationError) -> str:
    """The first problem, in one line: place, what is wrong, what was found."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(p) for p in first["loc"] if p not in ("conversation", "read_aloud") and "[" not in str(p))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("missing", "value_error"):
        return f"{where}: {message}" if where else message
    found = first.get("input")
    message = message.replace("a valid tuple", "text or a list of texts").replace("a valid string", "text")
    quotes = "; YAML reads yes, no, on and off as true and false, so put them in quotes" if isinstance(found, bool) else ""
    return f"{where or 'lesson'}: {message} (found {str(found)[:60]!r}{quotes})"
