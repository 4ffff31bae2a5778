"""The desk of the phone's door: which calls carriers have announced, who may connect a stream to them, and how they end.

A carrier announces a call by a request that it signs (a webhook); the door answers with a token, and the carrier's stream is
let in with it, once, for this call alone. So nobody who merely knows the address of the stream can talk to the tutor.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from loguru import logger

from agent.record import Level
from pipeline.metrics import prometheus
from pipeline.session import Session
from pipeline.sessions import SessionManager, UnknownLesson
from pipeline.settings.tree import Settings

MAX_REMEMBERED = 10_000
"""Calls that are known for the requests that carriers make after them."""
ANSWER_TAKES_S = 20.0
"""From the end of the ringing to the stream: the carrier may listen for an answering machine first."""
Standing = Literal["unknown", "open", "ended"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call is to be about; what is ``None`` is the settings' to say."""

    lesson: str | None = None
    level: Level | None = None


@dataclass(slots=True)
class PhoneEntry:
    """A call that was announced."""

    carrier: str
    call_id: str
    caller: str | None
    """The learner's number, as the carrier gives it."""
    session: Session | None
    """``None`` once it has ended."""
    session_id: str
    token: bytes | None = None
    """The token's hash, until it was used ..."""
    valid_until: float = 0.0
    """... and the monotonic time after which it is not taken any more."""
    connected: bool = False
    """Whether a stream has ever come."""


AfterCall = Callable[[PhoneEntry, "dict[str, Any]"], Awaitable[None]]
"""What is done with a call that is over, and its report."""


class Desk:
    """All calls by phone of one process."""

    def __init__(self, settings: Settings, sessions: SessionManager, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings.phone
        self._default = Wanted(settings.phone.lesson, settings.phone.level)
        self._sessions = sessions
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], PhoneEntry] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.after_call: list[AfterCall] = []
        """Done one after the other when a call has ended; one that fails is logged."""
        self.strangers = 0
        """Streams that have not shown a token yet."""

    # Announced calls

    async def reserve(self, carrier: str, learner: str, wanted: Wanted) -> PhoneEntry:
        """A session for a call that this server is about to place. Its ``call_id`` is a name that nobody can guess, which the
        carrier's requests about the call must bring along until ``adopt`` puts the carrier's own in its place.

        Raises:
            AtCapacity: no place, or an engine is at its limit.
        """
        entry = await self._admit(carrier, secrets.token_hex(16), learner, wanted)
        if entry.session is not None:
            entry.session.await_client(within_s=self.settings.outbound.ring_s + ANSWER_TAKES_S)
        return entry

    def adopt(self, carrier: str, placed: str | None, call_id: str) -> None:
        """The carrier's name for a placed call is ``call_id``. Does nothing where ``placed`` is unknown, or was adopted."""
        entry = self._entries.pop((carrier, placed), None) if placed else None
        if entry is not None:
            entry.call_id = call_id
            self._entries[carrier, call_id] = entry

    def standing(self, carrier: str, call_id: str) -> Standing:
        """Whether a call was announced, and whether it is over."""
        entry = self._entries.get((carrier, call_id))
        if entry is None:
            return "unknown"
        return "ended" if entry.session is None or entry.session.state == "ended" else "open"

    async def expect(self, carrier: str, call_id: str, *, dialled: str | None = None, caller: str | None = None) -> str:
        """A call is announced: have a session wait for it. Returns the token that its stream must show.

        A call that is announced again, because its stream broke off, gets a new token to the same session.

        Raises:
            AtCapacity: no place, or an engine is at its limit.
        """
        entry = self._entries.get((carrier, call_id))
        if entry is None or entry.session is None or entry.session.state == "ended":
            entry = await self._admit(carrier, call_id, caller, self._wanted(dialled))
        token = secrets.token_hex(24)  # letters and digits, which is all that some carriers pass on
        entry.token, entry.valid_until = _digest(token), self._clock() + self.settings.token_ttl_s
        return token

    def claim(self, carrier: str, call_id: str, token: str) -> PhoneEntry | None:
        """The call whose stream shows ``token``, which is used up; ``None`` where it is wrong, used, or too old."""
        entry = self._entries.get((carrier, call_id))
        if entry is None or entry.session is None or entry.token is None or self._clock() > entry.valid_until:
            return None
        if not hmac.compare_digest(entry.token, _digest(token)):
            return None
        entry.token, entry.connected = None, True
        return entry

    async def open(
        self, carrier: str, call_id: str, *, dialled: str | None = None, caller: str | None = None, wanted: Wanted | None = None
    ) -> PhoneEntry:
        """A session for a call over a line that needs no token (a trusted peer's, such as one's own exchange).

        Raises:
            AtCapacity: no place, or an engine is at its limit.
        """
        entry = await self._admit(carrier, call_id, caller, wanted or self._wanted(dialled))
        entry.connected = True
        return entry

    async def hang_up(self, carrier: str, call_id: str, reason: str) -> None:
        """The carrier says that a call is over (or never came to be)."""
        entry = self._entries.get((carrier, call_id))
        if entry is not None and entry.session is not None:
            await entry.session.end(reason)

    async def told_of_end(self, carrier: str, placed: str | None, call_id: str, reason: str | None) -> None:
        """A carrier tells how a call does, by its own name of it and by the one in its request (``placed``). ``reason``: why it
        is over; ``None`` as long as it is not."""
        if call_id and reason is not None:
            self.adopt(carrier, placed, call_id)
            await self.hang_up(carrier, call_id, reason)

    def end_unless_back(self, session: Session) -> None:
        """A stream broke off: end the session unless the carrier connects it again."""
        self._spawn(self._end_unless_back(session))

    async def close(self) -> None:
        """Wait for what is still being done, and stop what only waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wanted(self, dialled: str | None) -> Wanted:
        number = self.settings.numbers.get(dialled or "")
        if number is None:
            return self._default
        return Wanted(number.lesson or self._default.lesson, number.level or self._default.level)

    async def _admit(self, carrier: str, call_id: str, caller: str | None, wanted: Wanted) -> PhoneEntry:
        record = self.settings.record
        try:
            session = await self._sessions.create(door="phone", level=wanted.level, lesson=wanted.lesson, record=record)
        except UnknownLesson as e:
            logger.error("a call by phone gets the usual lesson: {}", e)
            session = await self._sessions.create(door="phone", level=wanted.level, record=record)
        entry = PhoneEntry(carrier, call_id, caller, session, session.id)
        self._entries[carrier, call_id] = entry
        self._forget_oldest()
        self._spawn(self._see_off(entry, session))
        return entry

    def _forget_oldest(self) -> None:
        while len(self._entries) > MAX_REMEMBERED:
            key = next((k for k, e in self._entries.items() if e.session is None), None)
            if key is None:
                return
            del self._entries[key]

    async def _see_off(self, entry: PhoneEntry, session: Session) -> None:
        await session.wait_ended()
        entry.session = entry.token = None
        report = session.report
        if report is None or not entry.connected:
            return
        for action in self.after_call:
            try:
                await action(entry, report)
            except Exception as e:
                prometheus.ERRORS.labels("phone").inc()
                logger.opt(exception=e).error("what follows a call by phone failed")

    async def _end_unless_back(self, session: Session) -> None:
        await asyncio.sleep(self.settings.return_within_s)
        if session.state in ("new", "detached"):
            await session.end("connection lost")

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
