"""The tables of the store. ``SCHEMA_VERSION`` stands in the file (``PRAGMA user_version``) and grows with every change here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 3
APPLICATION_ID = 0x5061726C
"""``PRAGMA application_id`` of our files ("Parl"), so that another program's database is not taken for ours."""


class Base(DeclarativeBase):
    """All tables; times are seconds since the epoch."""

    metadata = MetaData()


class SessionTable(Base):
    """One call. ``owner`` names the process that writes it (see ``SqlStore.close_orphans``)."""

    __tablename__ = "sessions"
    __table_args__ = (Index("sessions_newest", "started_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    end_reason: Mapped[str | None]
    door: Mapped[str]
    level: Mapped[str]
    lesson: Mapped[str]
    owner: Mapped[str]
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class TurnTable(Base):
    """One turn; ``words``, ``corrections`` and ``backchannels`` are lists of the fields of ``agent.record``'s types."""

    __tablename__ = "turns"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str]
    text: Mapped[str]
    started_at: Mapped[float]
    ended_at: Mapped[float]
    interrupted: Mapped[bool]
    typed: Mapped[bool]
    source: Mapped[str] = mapped_column(server_default="live")
    words: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    corrections: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    backchannels: Mapped[list[dict[str, Any]]] = mapped_column(JSON, server_default="[]")


class MetricsTable(Base):
    """One turn's metrics; ``row`` holds the fields of ``agent.record.TurnMetrics``, in ms."""

    __tablename__ = "metrics"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    turn: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    row: Mapped[dict[str, Any]] = mapped_column(JSON)
