"""What an engine prints, as whole lines, and what of it tells how far its start has come. Pure."""

from __future__ import annotations

import re
from collections import deque

LONGEST_LINE = 2000
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)?\s?%")
_BAR = re.compile(r"\|[\s\u2580-\u259f#=\->.]*\|")
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAD = re.compile(r"\b(?:ERROR|CRITICAL|FATAL|Traceback|panicked|[A-Za-z]*Error:)")
_WARNING = re.compile(r"\bWARN(?:ING)?\b")


class Lines:
    """Cuts what a process writes into lines. A carriage return ends one too: it is how bars of progress move."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[str, bool]]:
        """The lines that ``data`` completes, each with whether it will be written over (it ended in a carriage return)."""
        *whole, self._rest = re.split(rb"(?<=\n)|(?<=\r)(?!\n)", self._rest + data)
        if len(self._rest) > LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        return [(text, line.endswith(b"\r")) for line in whole if (text := _clean(line))]

    def rest(self) -> str:
        """What was written after the last line."""
        rest, self._rest = self._rest, b""
        return _clean(rest)


def _clean(line: bytes) -> str:
    return _STYLE.sub("", line.decode("utf-8", "replace")).strip()[:LONGEST_LINE]


def level_of(line: str) -> str:
    """The level of the log that a line of an engine belongs to: ``ERROR``, ``WARNING`` or ``INFO``."""
    return "ERROR" if _BAD.search(line) else "WARNING" if _WARNING.search(line) else "INFO"


class Progress:
    """How far an engine's start has come, by what it printed last. Times are seconds of any clock."""

    def __init__(self, now: float, *, every_s: float = 2.0, patience_s: float = 30.0) -> None:
        self._began = now
        self._every_s, self._patience_s = every_s, patience_s
        self._told_at = now - every_s
        self._told = ""
        self.text = ""
        """The last thing known, such as ``Loading shards 50 %``."""

    def feed(self, line: str) -> None:
        """Take notice of a line."""
        percent = _PERCENT.search(line)
        if percent is None or int(percent[1]) > 100:
            if not self.text.endswith("%") and len(line) <= 120 and not line.startswith(("  ", "{", "[")):
                self.text = line
            return
        label = _BAR.sub(" ", line[: percent.start()]).rsplit("|", 1)[-1].strip(" :-|[(")
        self.text = f"{label[-80:]} {int(percent[1])} %".strip()

    def due(self, now: float) -> str | None:
        """What to tell now, or ``None``: news at most every ``every_s``, and without news a sign of life."""
        # Whole lines are in the log already; bars that move are not.
        news = self.text != self._told and self.text.endswith("%")
        if now - self._told_at < (self._every_s if news else self._patience_s):
            return None
        self._told_at, self._told = now, self.text
        after = f"{now - self._began:.0f} s"
        return f"{self.text} ({after})" if self.text else f"no word yet ({after})"


class Tail:
    """The last lines of a process, for the one line that says why it ended."""

    def __init__(self, length: int = 20) -> None:
        self._lines: deque[str] = deque(maxlen=length)

    def add(self, line: str) -> None:
        """Keep a line."""
        self._lines.append(line)

    def reason(self, *, errors_only: bool = False) -> str:
        """The last line that names an error, else (unless ``errors_only``) the last of all; at most 300 characters."""
        bad = [line for line in self._lines if _BAD.search(line) and not line.startswith("Traceback")]
        if bad or errors_only:
            return bad[-1][:300] if bad else ""
        return self._lines[-1][:300] if self._lines else ""
