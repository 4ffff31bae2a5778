"""The lessons that this process offers: those of the package, and those in files of the operator's own."""

from __future__ import annotations

from agent.lessons import FreeTalk, Lesson, load_lessons, read_aloud_lesson, read_lesson
from agent.record import LEVELS
from agent.tutor import FREE_TALK
from pipeline.settings.tree import Settings, TutorSettings

READ_ALOUD = "read_aloud"
FIRST = "introductions"


def own_lessons(settings: TutorSettings) -> dict[str, Lesson]:
    """The lessons of the operator's own files by name; one that is named like a lesson of the package takes its place.

    Raises:
        agent.lessons.LessonError: naming the file and the place in it.
    """
    lessons: dict[str, Lesson] = {}
    if settings.read_aloud_file is not None:
        lessons[READ_ALOUD] = read_aloud_lesson(settings.read_aloud_file).model_copy(update={"id": READ_ALOUD})
    if settings.lesson_file is not None:
        lesson = read_lesson(settings.lesson_file)
        lessons[lesson.id] = lesson
    return lessons


def offered_lessons(settings: TutorSettings) -> dict[str, Lesson]:
    """Every lesson by its name: the operator's own, then those of the package, the easiest first.

    Raises:
        agent.lessons.LessonError: naming the file and the place in it.
    """
    own = own_lessons(settings)
    others = {key: lesson for key, lesson in load_lessons().items() if key not in own}
    return {**own, **dict(sorted(others.items(), key=_place))}


def call_lessons(settings: Settings) -> dict[str, Lesson | FreeTalk]:
    """What a call can be about: every lesson, and free talk where the tutor is no script. Raises as ``offered_lessons``."""
    lessons: dict[str, Lesson | FreeTalk] = {**offered_lessons(settings.tutor)}
    if settings.llm.engine != "scripted":
        lessons.setdefault(FREE_TALK, FreeTalk())
    return lessons


def _place(entry: tuple[str, Lesson]) -> tuple[int, bool, str]:
    key, lesson = entry
    # Who is new here begins by being introduced.
    return (len(LEVELS) if lesson.level is None else LEVELS.index(lesson.level), key != FIRST, lesson.title)
