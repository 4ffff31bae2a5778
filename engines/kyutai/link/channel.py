"""The two rings between a front-end process and the process that steps the model, and what wakes either of them.

The step process makes a ``Channel`` and starts the front-end with its descriptors; each holds an ``End`` of it. A session has
a number that the front-end gives it, from 1 up and never twice. The record kinds here mean the same for every engine; those
below 240 belong to one engine and its door.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from engines.kyutai.link.ring import Record, Ring, memory

OPEN = 240
"""To the engine: a session came. Payload: a JSON object, the door's own."""
CLOSE = 241
"""To the engine: the session's client went. From the engine: the session is over, all of it was told."""
ERROR = 242
"""From the engine: the session is over. Payload: text for its client. No ``CLOSE`` follows."""
ASK = 243
"""To the engine, with a number in the session's place: a question. Payload: its name (``metrics``, ``status``)."""
ANSWER = 244
"""From the engine: what was asked under this number."""
READY = 245
"""From the engine, session 0: it is warm. Payload: a JSON object, what ``/api/modules_info`` and the door need to know."""
IN_BYTES = 1 << 25
"""Of the ring to the engine. 2 s of audio of each of 150 sessions find room in it, as 32-bit floats."""
OUT_BYTES = 1 << 24
RESERVE = 1 << 16
"""Bytes of a ring that are kept for the records that end sessions."""


@dataclass(frozen=True)
class Descriptors:
    """What a front-end inherits: the memory of both rings, and an event counter (``eventfd``) for each direction."""

    to_engine: int
    to_front: int
    engine_event: int
    front_event: int

    def all(self) -> tuple[int, ...]:
        return tuple(asdict(self).values())


def open_channel(in_bytes: int = IN_BYTES, out_bytes: int = OUT_BYTES) -> Descriptors:
    """New rings and events."""
    return Descriptors(
        to_engine=memory(in_bytes),
        to_front=memory(out_bytes),
        engine_event=os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
        front_event=os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
    )


class End:
    """One process's end: the engine's, or a front-end's. ``event``: the descriptor that is readable when records came."""

    def __init__(self, descriptors: Descriptors, *, engine: bool) -> None:
        self._descriptors = descriptors
        into, out = Ring(descriptors.to_engine, reserve=RESERVE), Ring(descriptors.to_front, reserve=RESERVE)
        self._in, self._out = (into, out) if engine else (out, into)
        self.event = descriptors.engine_event if engine else descriptors.front_event
        self._other = descriptors.front_event if engine else descriptors.engine_event

    @property
    def waiting(self) -> int:
        """Bytes that the other process has not read yet."""
        return self._out.used

    @property
    def largest(self) -> int:
        """Bytes of the largest payload that can be sent."""
        return self._out.largest

    def put(self, session: int, kind: int, payload: bytes | bytearray | memoryview = b"", *, urgent: bool = False) -> None:
        """Adds a record, which goes off with ``send``. ``urgent``: it may take the reserve; for what ends a session.

        :raises RingFull: where there is no room
        """
        self._out.put(session, kind, payload, urgent=urgent)

    def send(self) -> None:
        """Lets the other process see what was put, and wakes it."""
        if self._out.publish():
            os.eventfd_write(self._other, 1)

    def receive(self) -> list[Record]:
        """What came; to be called when ``event`` is readable. Where it was much, the event stays readable."""
        try:
            os.eventfd_read(self.event)
        except BlockingIOError:
            pass
        records = self._in.take()
        if self._in.unread:
            os.eventfd_write(self.event, 1)
        return records

    def close(self) -> None:
        """Gives up the memory and closes this process's descriptors."""
        self._in.close()
        self._out.close()
        for fd in self._descriptors.all():
            os.close(fd)
