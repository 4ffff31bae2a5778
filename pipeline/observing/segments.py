"""The pieces in which the recogniser gives the words of one turn. Pure."""

from __future__ import annotations

from typing import Any, Protocol

from agent.record import Word


class Segment(Protocol):
    """A final transcription: ``result`` is a ``Recognition`` where the engine is one of ours."""

    text: str
    result: Any


class Segments:
    """The finals of the learner's open turn, in order."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []

    def add(self, segment: Segment) -> None:
        """One more."""
        self._segments.append(segment)

    def drop(self, segment: Segment) -> None:
        """That one belongs to no turn."""
        self._segments = [s for s in self._segments if s is not segment]

    def clear(self) -> None:
        """The next turn begins."""
        self._segments.clear()

    def text(self, partial: str = "") -> str:
        """What was said so far, with the words of a segment that is still being spoken."""
        return " ".join(filter(None, (*(s.text.strip() for s in self._segments), partial.strip())))

    def words(self) -> list[Word]:
        """Their words, with times in seconds from the start of the first segment.

        Where a segment does not say when it began, it is taken to follow the one before without a pause.
        """
        words: list[Word] = []
        first_start: float | None = None
        for segment in self._segments:
            start = getattr(segment.result, "started_s", None)
            if first_start is None:
                first_start = start
            end_s = words[-1].end_s if words else 0.0
            words += moved(segment, end_s if start is None or first_start is None else start - first_start)
        return words


def moved(segment: Segment, by_s: float) -> list[Word]:
    """The words of ``segment``, ``by_s`` later."""
    return [
        Word(w.text, round(w.start_s + by_s, 3), round(w.end_s + by_s, 3), w.confidence)
        for w in getattr(segment.result, "words", ())
    ]
