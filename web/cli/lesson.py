"""What ``--lesson`` takes: the name of a lesson, or a file that holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.lessons import LessonError
from pipeline.lessons import own_lessons
from pipeline.settings.load import SettingsError, lesson_names
from pipeline.settings.tree import TutorSettings


def lesson_file(given: str) -> Path | None:
    """The file that ``given`` names, or ``None`` where it is the name of a lesson.

    A lesson of the package is never taken for a file; what has an ending or a folder is one, even if it does not exist.
    """
    path = Path(given)
    if given in lesson_names():
        return None
    return path if path.suffix or path.name != given or path.is_file() else None


def lesson_settings(given: str | None) -> dict[str, Any]:
    """``--lesson`` as a part of the settings' section ``tutor``: the lesson that is named is the one that calls start with."""
    if given is None:
        return {}
    path = lesson_file(given)
    return {"lesson": given} if path is None else {"lesson": path.stem, "lesson_file": path}


def read_own_lessons(settings: TutorSettings) -> None:
    """Read the operator's lesson files, to know before anything is loaded that they can be used.

    Raises:
        SettingsError: in one line, with the file and the place in it.
    """
    try:
        own_lessons(settings)
    except LessonError as e:
        raise SettingsError(str(e)) from None
