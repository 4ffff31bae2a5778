"""A conversation as a client sees it: messages in, exchanges out. Pure; times are passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

SILENT_END_S = 5.0
"""A reply whose full text has come and whose audio has been quiet for this long is over, even if no message says so."""


@dataclass(slots=True)
class Exchange:
    """What the learner said and what the tutor answered. ``user`` is empty for the tutor's opening.

    ``v2v_ms``: from the end of the learner's voice as sent to the answer's first voiced audio as received. ``interrupted``:
    the answer was cut short; then ``tutor`` is what of it was heard.
    """

    user: str
    tutor: str = ""
    v2v_ms: float | None = None
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Conversation:
    """Follows the server's messages. ``measure(begun_at)`` gives the voice-to-voice time in ms of the answer whose first sign
    came at ``begun_at``; ``on_exchange`` is called with each finished exchange, the tutor's opening included.

    ``exchanges`` holds those that began after ``learner_spoke`` was set, so the opening is not among them.
    """

    def __init__(
        self,
        measure: Callable[[float], float | None],
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._measure = measure
        self._on_exchange = on_exchange
        self._heard_user: list[str] = []
        self._current: Exchange | None = None
        self._begun_at = 0.0
        self._text_complete = False
        self._opening = False
        self.learner_spoke = False
        self.session_id: str | None = None
        self.lesson: str | None = None
        self.recorded = False
        """Whether the server keeps both voices."""
        self.report: dict[str, Any] | None = None
        self.exchanges: list[Exchange] = []
        self.finished_at: float | None = None
        self.errors: list[str] = []

    @property
    def answering(self) -> bool:
        """Whether an answer has begun and is not over."""
        return self._current is not None

    @property
    def owed(self) -> bool:
        """Whether the learner was understood to say something that no answer has begun for."""
        return bool(self._heard_user) and not self.answering

    def take(self, message: dict[str, Any], at: float) -> None:
        """One server message, which arrived at ``at``; kinds and fields that are not known are ignored."""
        text = str(message.get("text") or "")
        match message.get("type"):
            case "connected":
                self.session_id = str(message.get("session_id") or "") or self.session_id
                self.lesson = str(message["lesson"]) if message.get("lesson") else self.lesson
                self.recorded = self.recorded or message.get("recording") is True
            case "transcript" if message.get("is_final") and text.strip():
                if self._current is not None and self._current.interrupted:
                    self._finish(at)
                self._heard_user.append(text.strip())
            case "ai_audio_start":
                if self._current is not None and self._current.interrupted:
                    self._finish(at)
                self._begin(at)
            case "ai_text":
                exchange = self._begin(at)
                if exchange.interrupted:
                    pass  # the rest of a text that nobody heard
                elif message.get("is_complete"):
                    exchange.tutor, self._text_complete = text.strip(), True
                else:
                    exchange.tutor += text
            case "interrupted" if self._current is not None:
                self._current.interrupted = self._text_complete = True
                self._current.tutor = text.strip()
            case "turn_complete":
                self._finish(at)
            case "error":
                self.errors.append(str(message.get("message") or "unknown error"))
            case "analysis":
                data = message.get("data")
                self.report = data if isinstance(data, dict) else {}
                self._finish(at)

    def tick(self, at: float, last_voiced: float | None) -> None:
        """Close an answer that has been silent for long although nothing said that it is over."""
        if self._current is not None and self._text_complete and at - max(last_voiced or 0.0, self._begun_at) > SILENT_END_S:
            self._finish(at)

    def _begin(self, at: float) -> Exchange:
        if self._current is None:
            self._current = Exchange(" ".join(self._heard_user))
            self._heard_user.clear()
            self._begun_at, self._text_complete, self._opening = at, False, not self.learner_spoke
        return self._current

    def _finish(self, at: float) -> None:
        exchange, self._current = self._current, None
        if exchange is None:
            return
        exchange.tutor = exchange.tutor.strip()
        self.finished_at = at
        if not self._opening:
            if self._heard_user and not exchange.user:
                exchange.user = " ".join(self._heard_user)  # a final that came after its answer began
                self._heard_user.clear()
            exchange.v2v_ms = self._measure(self._begun_at)
            self.exchanges.append(exchange)
        if self._on_exchange is not None:
            self._on_exchange(exchange)
