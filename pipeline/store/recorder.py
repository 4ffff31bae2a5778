"""What a call asks of whoever keeps its record."""

from __future__ import annotations

from typing import Any, Protocol

from agent.record import CallRecord, Turn, TurnMetrics


class Recorder(Protocol):
    """Each method returns when its data is durable: a killed process loses nothing that was awaited."""

    async def open(self, record: CallRecord) -> None:
        """A call begins."""
        ...

    async def add_turn(self, session_id: str, turn: Turn) -> None:
        """A turn is finished. Writing the same index again replaces it."""
        ...

    async def add_metrics(self, session_id: str, row: TurnMetrics) -> None:
        """A turn's metrics row; the same turn again replaces it."""
        ...

    async def update(self, session_id: str, *, level: str | None = None, lesson: str | None = None) -> None:
        """The level or the lesson changed."""
        ...

    async def close(self, session_id: str, *, ended_at: float, reason: str, report: dict[str, Any] | None) -> None:
        """The call is over."""
        ...
