"""When each written word of a reply is said, from an engine's times of the words that it was given to say. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from agent.record import Word

_LOOK_AHEAD = 4
"""An engine that leaves out words leaves out no more than so many at once."""
_LONGEST_S = 0.4
_LONGEST_PER_LETTER_S = 0.09
"""An engine that tells only where the next word begins counts the pause before it too; no word takes longer than this."""


@dataclass(slots=True)
class _Open:
    written: tuple[str, ...]
    spoken: tuple[str, ...]
    times: list[tuple[float, float] | None] = field(default_factory=list)


class SaidWords:
    """Give it units of written and spoken words in order (``add``), then the words as the engine tells of them (``said``)."""

    def __init__(self) -> None:
        self._open: deque[_Open] = deque()
        self._end_s = 0.0

    @property
    def waiting(self) -> int:
        """Written words without a time yet."""
        return sum(len(unit.written) for unit in self._open)

    def add(self, written: Iterable[str], spoken: Iterable[str]) -> None:
        """The next unit; ``spoken`` may be empty."""
        self._open.append(_Open(tuple(written), tuple(spoken)))

    def said(self, text: str, start_s: float, stop_s: float) -> list[Word]:
        """The engine says ``text`` from ``start_s`` to ``stop_s``. Returns the written words whose times are now known."""
        left = ((unit, word) for unit in self._open for word in unit.spoken[len(unit.times) :])
        expected = list(islice(left, _LOOK_AHEAD))
        if not expected:
            return []
        skipped = next((i for i, (_, word) in enumerate(expected) if _letters(word) == _letters(text)), 0)
        for unit, _ in expected[:skipped]:
            unit.times.append(None)
        unit, word = expected[skipped]
        longest_s = max(_LONGEST_S, _LONGEST_PER_LETTER_S * len(word))
        unit.times.append((start_s, max(start_s, min(stop_s, start_s + longest_s))))
        return self._complete()

    def finish(self, end_s: float) -> list[Word]:
        """All was said, the last of it ``end_s`` seconds in. Returns the words that are left, spread over the rest."""
        left = [word for unit in self._open for word in unit.written]
        known = [time for unit in self._open for time in unit.times if time is not None]
        self._open.clear()
        start_s = max(self._end_s, known[0][0] if known else 0.0)
        return self._spread(left, start_s, max(start_s, end_s))

    def _complete(self) -> list[Word]:
        words: list[Word] = []
        while self._open and len(self._open[0].times) == len(self._open[0].spoken):
            unit = self._open.popleft()
            words += self._timed(unit)
        return words

    def _timed(self, unit: _Open) -> list[Word]:
        times = [time for time in unit.times if time is not None]
        if not times:
            return self._spread(unit.written, self._end_s, self._end_s)
        if len(times) == len(unit.written) == len(unit.spoken):
            self._end_s = times[-1][1]
            return [Word(text, start_s, stop_s) for text, (start_s, stop_s) in zip(unit.written, times, strict=True)]
        return self._spread(unit.written, times[0][0], times[-1][1])

    def _spread(self, written: Sequence[str], start_s: float, stop_s: float) -> list[Word]:
        """Share the time out in proportion to the words' lengths."""
        total, done = sum(map(len, written)), 0
        words: list[Word] = []
        for text in written:
            begun_s = start_s + (stop_s - start_s) * done / total
            done += len(text)
            words.append(Word(text, begun_s, start_s + (stop_s - start_s) * done / total))
        self._end_s = max(self._end_s, stop_s)
        return words


def _letters(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())
