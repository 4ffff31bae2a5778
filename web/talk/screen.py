"""What a call looks like in a terminal. ``Screen`` is told of events and keys and says what to draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

FLOOR_DB = -60.0
METER_CELLS = 24
LINES = 12
"""Lines of the conversation that are shown."""
HELP = "q end   space interrupt   m mute   t type"
TYPING_HELP = "enter send   esc cancel"


def level(pcm16: bytes) -> float:
    """How loud mono pcm16 is, from 0 (-60 dBFS or less) to 1 (full scale): its RMS in dB."""
    if len(pcm16) < 2:
        return 0.0
    samples = np.frombuffer(pcm16, "<i2").astype(np.float64)
    rms = float(np.sqrt(np.mean(samples**2)))
    db = 20 * np.log10(max(rms, 1e-9) / 32768)
    return float(np.clip(1 - db / FLOOR_DB, 0.0, 1.0))


@dataclass(slots=True)
class Line:
    """Something that was said. ``notes`` are the corrections of it."""

    who: str
    text: str
    partial: bool = False
    cut: bool = False
    notes: list[str] = field(default_factory=list)


class Screen:
    """The state of a call in a terminal."""

    def __init__(self, *, headphones: bool) -> None:
        self.lines: list[Line] = []
        self.status = "connecting"
        self.problem = ""
        self.recorded = False
        self.muted = False
        self.typing: str | None = None
        self.microphone = self.tutor = 0.0
        """Levels, 0 to 1."""
        self.closed_microphone = False
        """Whether the tutor's own voice keeps the microphone closed at the moment."""
        self._headphones = headphones
        self._silenced = False
        self._corrected: dict[int, Line] = {}

    def take(self, message: dict[str, Any]) -> None:
        """A server's message; those that nothing is shown of are ignored."""
        text = str(message.get("text") or "").strip()
        match message.get("type"):
            case "connected":
                self.status = "taken up again" if message.get("resumed") else "connected"
                self.recorded = self.recorded or message.get("recording") is True
            case "transcript" if text:
                self._open("you").text = text
                self.lines[-1].partial = not message.get("is_final")
            case "ai_audio_start" | "turn_complete":
                self._silenced = False
            case "ai_text" if not self._silenced:  # else it is the rest of a text that nobody heard
                line = self._open("tutor")
                if message.get("is_complete"):
                    line.text, line.partial = text, False
                else:
                    line.text += str(message.get("text") or "")
            case "interrupted":
                self._interrupted(text)
            case "corrections":
                self._correct(message)
            case "error":
                self.problem = str(message.get("message") or "")
            case "recording_stopped":
                self.recorded = False

    def type(self, key: str) -> str | None:
        """A key while typing; the text that is ready to be sent, if any."""
        if self.typing is None:
            return None
        if key in ("\r", "\n"):
            said, self.typing = self.typing.strip(), None
            return said or None
        if key == "\x1b":
            self.typing = None
        elif key in ("\x7f", "\b"):
            self.typing = self.typing[:-1]
        elif key.isprintable():
            self.typing += key
        return None

    def render(self) -> RenderableType:
        """What to draw."""
        parts: list[RenderableType] = []
        for line in self.lines[-LINES:]:
            style = "dim" if line.partial else ("cyan" if line.who == "tutor" else "")
            parts.append(Text(f"{line.who:>5}  {line.text}{' …' if line.cut else ''}", style=style))
            parts += [Text(f"       {note}", style="yellow") for note in line.notes]
        note = "muted" if self.muted else ("closed while the tutor speaks" if self.closed_microphone else "")
        parts += [Text(""), _meter("you", self.microphone, note), _meter("tutor", self.tutor, "")]
        about = [self.status] + (["this call is recorded by the server"] if self.recorded else [])
        if not self._headphones:
            about.append("without --headphones you cannot interrupt by voice")
        parts.append(Text(" · ".join(about), style="dim"))
        if self.problem:
            parts.append(Text(self.problem, style="red"))
        if self.typing is not None:
            parts += [Text(f"> {self.typing}▏"), Text(TYPING_HELP, style="dim")]
        else:
            parts.append(Text(HELP, style="dim"))
        return Group(*parts)

    def _open(self, who: str) -> Line:
        """The line that ``who`` is in the middle of, or a new one."""
        line = next((line for line in reversed(self.lines) if line.who == who), None)
        if line is not None and line.partial:
            if who == "tutor" or line is self.lines[-1]:
                return line
            self.lines.remove(line)  # words that never became sure
        self.lines.append(Line(who, "", partial=True))
        return self.lines[-1]

    def _interrupted(self, heard: str) -> None:
        self._silenced = True
        for line in reversed(self.lines):
            if line.who == "tutor":
                line.text, line.partial, line.cut = heard, False, True
                if not heard:
                    self.lines.remove(line)
                return

    def _correct(self, message: dict[str, Any]) -> None:
        turn = int(message.get("turn") or 0)
        line = self._corrected.get(turn)
        if line is None:
            line = next((line for line in reversed(self.lines) if line.who == "you" and not line.partial), None)
            if line is None:
                return
            self._corrected[turn] = line
        line.notes = [_correction(item) for item in message.get("items") or []]


def _correction(item: dict[str, Any]) -> str:
    return f"{item.get('original')} → {item.get('correction')}: {item.get('explanation')}"


def _meter(name: str, value: float, note: str) -> Text:
    cells = round(value * METER_CELLS)
    return Text.assemble(f"{name:>5}  ", ("█" * cells, "green"), ("·" * (METER_CELLS - cells), "dim"), f"  {note}")


def report_lines(report: dict[str, Any]) -> list[str]:
    """A report in words: the scores, the speed, the mistakes, what to do next."""
    measures = report.get("measures") or {}
    lines = []
    for key, name in (("final_score", "score"), ("grammar_score", "grammar")):
        if report.get(key) is not None:
            lines.append(f"{name}: {report[key]} of 100")
    for key in ("words_per_minute", "learner_words", "vocabulary_size"):
        measure = measures.get(key) or {}
        if measure.get("value") is not None:
            lines.append(f"{key.replace('_', ' ')}: {measure['value']}")
    lines += [_correction(mistake) for mistake in report.get("mistakes") or []]
    lines += [str(line) for line in [*(report.get("strengths") or []), *(report.get("suggestions") or [])]]
    return lines
