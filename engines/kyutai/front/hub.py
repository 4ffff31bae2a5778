"""A front-end's side of the link, in its event loop: sessions of the engine, and questions to it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from engines.kyutai.link.channel import ANSWER, ASK, CLOSE, ERROR, OPEN, READY, End
from engines.kyutai.link.ring import Record, RingFull

MOST_RECORDS = 1024
"""Records that may wait for a client that does not read: 80 s of a speech-to-text session."""
ANSWER_WITHIN_S = 2.0


class Overloaded(Exception):
    """The engine does not keep up with what the front-ends hand it; the text is for the client."""

    def __init__(self) -> None:
        super().__init__("the engine does not keep up")


class Remote:
    """One session of the engine. To be closed by who opened it."""

    def __init__(self, hub: Hub, number: int) -> None:
        self._hub = hub
        self._number = number
        self._records: asyncio.Queue[Record] = asyncio.Queue()
        self._over = False

    def send(self, kind: int, payload: bytes | bytearray | memoryview = b"") -> None:
        """Says something of this session to the engine. After its end it is ignored.

        :raises Overloaded: where the ring is full
        """
        if not self._over:
            self._hub.put(self._number, kind, payload)

    async def next(self) -> Record:
        """The next record. ``CLOSE`` and ``ERROR`` are the last."""
        return await self._records.get()

    def close(self) -> None:
        """The client went, or needs nothing more. May be called again."""
        if not self._over:
            self._over = True
            self._hub.closed(self._number)

    def came(self, record: Record) -> None:
        """A record came from the engine."""
        if self._over:
            return
        if self._records.qsize() >= MOST_RECORDS and record.kind not in (CLOSE, ERROR):
            self.close()
            record = Record(self._number, ERROR, b"the client does not read")
        elif record.kind in (CLOSE, ERROR):
            self._over = True
            self._hub.forget(self._number)
        self._records.put_nowait(record)


class Hub:
    """Of one front-end process. ``ready``: what the engine says of itself once it is warm (see ``READY``), ``None`` before."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[int, Remote] = {}
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._questions = 0
        self._due = False
        self._open = True
        self._closed_late: list[int] = []
        self.ready: dict[str, Any] | None = None
        self._loop.add_reader(end.event, self._receive)

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    def open(self, options: dict[str, Any]) -> Remote:
        """A new session. ``options``: what the engine is to know of it, as it goes through JSON.

        :raises Overloaded: where the engine does not keep up
        """
        self._number += 1
        self.put(self._number, OPEN, json.dumps(options).encode())
        remote = self._sessions[self._number] = Remote(self, self._number)
        return remote

    async def ask(self, question: str) -> bytes:
        """What the engine answers.

        :raises TimeoutError: where its loop does not
        """
        self._questions += 1
        number = self._questions
        self._asked[number] = self._loop.create_future()
        try:
            self.put(number, ASK, question.encode())
            return await asyncio.wait_for(self._asked[number], ANSWER_WITHIN_S)
        except Overloaded:
            raise TimeoutError from None
        finally:
            del self._asked[number]

    def stop(self, reason: str) -> None:
        """Ends all sessions: each gets an ``ERROR`` with this text for its client."""
        self.ready = None
        for number, remote in list(self._sessions.items()):
            remote.came(Record(number, ERROR, reason.encode()))

    def close(self) -> None:
        """Ends the link. What is put afterwards goes nowhere."""
        self._loop.remove_reader(self._end.event)
        self._end.send()
        self._end.close()
        self._open = False

    def put(self, number: int, kind: int, payload: bytes | bytearray | memoryview, *, urgent: bool = False) -> None:
        """Puts a record, which goes off with all others of this turn of the event loop.

        :raises Overloaded: where the ring is full
        """
        if not self._open:
            return
        try:
            self._end.put(number, kind, payload, urgent=urgent)
        except RingFull:
            raise Overloaded from None
        if not self._due:
            self._due = True
            self._loop.call_soon(self._send)

    def closed(self, number: int) -> None:
        """The session is over at this end."""
        self.forget(number)
        try:
            self.put(number, CLOSE, b"", urgent=True)
        except Overloaded:
            # The engine must learn of it, or its slot stays taken: told as soon as there is room.
            self._closed_late.append(number)
            self._loop.call_later(0.1, self._close_late)

    def forget(self, number: int) -> None:
        """The session is over at the other end."""
        self._sessions.pop(number, None)

    def _close_late(self) -> None:
        late, self._closed_late = self._closed_late, []
        for number in late:
            self.closed(number)

    def _send(self) -> None:
        self._due = False
        if self._open:
            self._end.send()

    def _receive(self) -> None:
        for record in self._end.receive():
            if record.kind == READY:
                self.ready = json.loads(record.payload)
            elif record.kind == ANSWER:
                future = self._asked.get(record.session)
                if future is not None and not future.done():
                    future.set_result(record.payload)
            elif record.session in self._sessions:
                self._sessions[record.session].came(record)
