"""The call that a client asks for in the address of its socket, and how it gets one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loguru import logger

from agent.record import LEVELS, Level
from pipeline.call import BuildFailed
from pipeline.options import read_options
from pipeline.session import Session
from pipeline.sessions import SessionManager, UnknownLesson
from pipeline.settings.tree import OptionSettings
from pipeline.transports.websocket import WebSocketTransport

SHOWN_CHARS = 40


class Wanted:
    """Level, lesson, recording and options of a call, as ``query`` has them. What is wrong in it does not refuse a call."""

    def __init__(self, query: Mapping[str, str], ranges: OptionSettings) -> None:
        self.notices: list[str] = []
        """What the client is to be told when it has its call."""
        level = query.get("level")
        self.level: Level | None = next((known for known in LEVELS if known == level), None)
        self.lesson = query.get("lesson")
        self.record = query.get("record", "1").lower() not in ("0", "false", "no")
        self.options, self._problems = read_options(query, ranges)
        if level is not None and self.level is None:
            self._problems.insert(0, f"level: {level[:SHOWN_CHARS]!r} is not one of {', '.join(LEVELS)}")

    async def create(self, sessions: SessionManager, door: str) -> Session:
        """A new session for it; of the usual lesson, where there is none of that name.

        Raises:
            AtCapacity: there is no place for another call.
        """
        self.notices += self._problems
        options: dict[str, Any] = {"door": door, "level": self.level, "record": self.record, "options": self.options}
        try:
            return await sessions.create(lesson=self.lesson, **options)
        except UnknownLesson as e:
            self.notices.append(f"lesson: {e}")
            return await sessions.create(**options)


async def attached(session: Session, transport: WebSocketTransport) -> bool:
    """Begin the call. False: it could not be built; ``transport`` is left open, so that the client can be told."""
    try:
        await session.attach(transport)
    except BuildFailed as e:
        logger.error("a call could not be built: {}", e)
        await _discard_new(session)
        return False
    except BaseException:
        await transport.release()
        await _discard_new(session)
        raise
    return True


async def _discard_new(session: Session) -> None:
    if session.state == "new":
        await session.discard()  # nothing else would end it
