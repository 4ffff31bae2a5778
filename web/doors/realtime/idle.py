"""When a user has been silent for too long (``idle_timeout_ms``).

Silence counts from the end of a response, which is the end of its voice, and until somebody says something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from web.doors.realtime import events as ev


class Silence:
    """How long nothing has been said. Pure. Times are seconds on one monotonic clock."""

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


class IdleTimer:
    """Does ``action`` when the user has been silent for as long as ``allowed_s`` gives; ``None``: for ever."""

    def __init__(self, allowed_s: Callable[[], float | None], action: Callable[[], None]) -> None:
        self._allowed_s = allowed_s
        self._action = action
        self._silence = Silence()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def due(self) -> bool:
        """Whether it still is silent, and has been for long enough."""
        due_s = self._silence.due_s(self._allowed_s())
        return due_s is not None and due_s <= asyncio.get_running_loop().time()

    def tell(self, events: Sequence[ev.ServerEvent]) -> None:
        """These events are sent to the client now, or what is allowed may have changed."""
        loop = asyncio.get_running_loop()
        self._silence.tell(events, loop.time())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self._silence.due_s(self._allowed_s())
        if due_s is not None and not self._closed:
            self._timer = loop.call_at(due_s, self._action)

    def close(self) -> None:
        """Do nothing any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
