"""When a user has been silent for too long (``idle_timeout_ms``). Pure: events and times in, a time out.

Silence counts from the end of a response, which is the end of its voice, and until somebody says something.
"""

from __future__ import annotations

from collections.abc import Sequence

from web.doors.realtime import events as ev


class Silence:
    """How long nothing has been said. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._since: float | None = None

    def tell(self, events: Sequence[ev.ServerEvent], now_s: float) -> None:
        """These events are sent to the client now; those of responses beside the conversation tell nothing of it."""
        for event in events:
            match event:
                case ev.ResponseDone() if event.response["conversation_id"] is not None:
                    self._since = now_s
                case ev.ResponseCreated() if event.response["conversation_id"] is not None:
                    self._since = None
                case ev.SpeechStarted() | ev.Committed():
                    self._since = None

    def due_s(self, allowed_s: float | None) -> float | None:
        """When ``allowed_s`` of silence are over; ``None`` where silence does not count now, or is allowed for ever."""
        return None if self._since is None or allowed_s is None else self._since + allowed_s
