"""What a caller has heard, told by marks: names that are sent behind pieces of audio and come back when these were played.

Pure: no line, no clock.
"""

from __future__ import annotations

from collections import deque

EVERY_S = 0.2
"""Audio between two marks, in seconds ..."""
FIRST_S = 0.02
"""... and from the start of a line to its first, which tells when the caller began to hear it."""
MAX_WAITING = 512


class Marks:
    """Positions in the outgoing stream that wait to be played. Positions are samples at ``rate_hz``.

    Emptying the carrier's buffer takes the marks in it away, too: some carriers send them back at once, some never. They must
    not be taken for heard, so they are forgotten, and a mark that nobody waits for says nothing.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._waiting: deque[tuple[str, int]] = deque(maxlen=MAX_WAITING)
        self._count = 0
        self._position = 0
        self._marked = 0
        self._line_from = 0

    def begin(self) -> None:
        """A line begins with the next sample."""
        self._line_from = self._position

    def sent(self, samples: int) -> str | None:
        """``samples`` have left. The name of the mark to be sent behind them, if one is due."""
        self._position += samples
        unmarked_s = (self._position - self._marked) / self._rate_hz
        first = self._marked <= self._line_from and (self._position - self._line_from) / self._rate_hz >= FIRST_S
        return self._make() if first or unmarked_s >= EVERY_S else None

    def end(self) -> str | None:
        """A line is over. The name of the mark to be sent behind it, unless its end is marked."""
        return self._make() if self._position > self._marked else None

    def returned(self, name: str) -> int | None:
        """The position up to which the caller has heard, or ``None`` for a mark that nobody waits for."""
        position = next((p for n, p in self._waiting if n == name), None)
        if position is not None:
            while self._waiting.popleft()[0] != name:
                pass
        return position

    @property
    def waiting(self) -> bool:
        """Whether any is still to come back."""
        return bool(self._waiting)

    def cleared(self) -> None:
        """The carrier's buffer was emptied."""
        self._waiting.clear()
        self._marked = self._position

    def _make(self) -> str:
        self._count += 1
        self._marked = self._position
        name = f"m{self._count}"
        self._waiting.append((name, self._position))
        return name
