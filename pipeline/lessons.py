"""The lessons that this process offers: those of the package, and one made of the operator's own sentences."""

from __future__ import annotations

from agent.lessons import Lesson, load_lessons, read_aloud_lesson
from pipeline.settings.tree import TutorSettings

READ_ALOUD = "read_aloud"


def offered_lessons(settings: TutorSettings) -> dict[str, Lesson]:
    """Every lesson by its name.

    Raises:
        agent.lessons.LessonError: naming the file and the place in it.
    """
    lessons = dict(load_lessons())
    if settings.read_aloud_file is not None:
        lessons[READ_ALOUD] = read_aloud_lesson(settings.read_aloud_file).model_copy(update={"id": READ_ALOUD})
    return lessons
