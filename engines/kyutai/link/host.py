"""The step process's side of all front-ends: starts them, hears them, starts a dead one anew, and stops them in the end."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from engines.kyutai.link.channel import ANSWER, ASK, CLOSE, ERROR, OPEN, READY, End, open_channel
from engines.kyutai.link.ring import Record, RingFull
from engines.kyutai.schedule.slots import Session

log = logging.getLogger(__name__)

STOP_WITHIN_S = 5.0
"""After that a front-end that was asked to end is killed."""
RESTART_AFTER_S = (0.1, 0.5, 2.0, 5.0)
"""How long a dead front-end stays away, by how often in a row it died young."""
YOUNG_S = 30.0
_ROUND_S = 1.0  # the loop looks around at least this often

Send = Callable[[Session, int, bytes], None]
"""Says something of a session to its client's front-end. A session whose front-end does not read is dropped."""


class Engine(Protocol):
    """What the host hears for. It never blocks but for a step of its model."""

    def heard(self, session: Session, kind: int, payload: bytes) -> None:
        """A record of a session came. The first of each is of the kind ``OPEN``."""

    def left(self, session: Session) -> None:
        """The session's client went, or cannot be reached. Nothing is said of it any more."""

    def tick(self) -> float | None:
        """Does what is to be done now. Returns in how many seconds it wants to be asked again unless something is heard
        before; ``None``: only then."""

    def answer(self, question: str) -> bytes:
        """What a front-end asks for: ``metrics`` (Prometheus' text) or ``status`` (a JSON object)."""


@dataclass
class _Front:
    end: End
    process: subprocess.Popen[bytes]
    started_s: float
    sessions: set[int] = field(default_factory=set)

    @property
    def life(self) -> int:
        """The descriptor on which its death shows."""
        assert self.process.stdin is not None
        return self.process.stdin.fileno()


class Host:
    """``sockets``: bound and listening, one for each front-end. ``spec``: what a front-end is to know beside its descriptors,
    as it goes through JSON: ``door`` (``stt`` or ``tts``), ``keys``, and what the door wants."""

    def __init__(self, sockets: list[socket.socket], spec: dict[str, Any]) -> None:
        self._sockets = sockets
        self._spec = spec
        self._fronts: list[_Front | None] = [None for _ in sockets]
        self._young_deaths = [0 for _ in sockets]
        self._back_at_s = [0.0 for _ in sockets]
        self._ready: bytes | None = None
        self._dropped: list[Session] = []
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)
        self._stopping = False

    @property
    def pids(self) -> list[int]:
        """Of the front-ends that run."""
        return [front.process.pid for front in self._fronts if front is not None]

    def start(self) -> None:
        """Starts the front-ends. They listen at once, and say that the engine is not ready until it is."""
        for index in range(len(self._sockets)):
            self._start(index)

    def ready(self, about: dict[str, Any]) -> None:
        """The engine is warm: the front-ends take sessions. ``about``: see ``READY``."""
        self._ready = json.dumps(about).encode()
        for index, front in enumerate(self._fronts):
            if front is not None:
                self._put(index, 0, READY, self._ready)
                front.end.send()

    def send(self, session: Session, kind: int, payload: bytes = b"") -> None:
        """See ``Send``. It goes off at the end of the tick."""
        index, number = (int(part) for part in session.split("."))
        front = self._fronts[index]
        if front is None or number not in front.sessions:
            return
        if kind in (CLOSE, ERROR):
            front.sessions.discard(number)
        if not self._put(index, number, kind, payload) and kind not in (CLOSE, ERROR):
            self._drop(index, number)

    def run(self, engine: Engine) -> None:
        """Serves until ``stop``."""
        wait_s: float | None = 0.0
        while not self._stopping:
            seen = self._poll.poll(_ROUND_S if wait_s is None else min(wait_s, _ROUND_S))
            self._hear(engine, {fd for fd, _ in seen})
            wait_s = engine.tick()
            while self._dropped:
                engine.left(self._dropped.pop())
            for front in self._fronts:
                if front is not None:
                    front.end.send()

    def stop(self, *_: object) -> None:
        """Ends ``run``; also as a signal's handler."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Stops the front-ends: they close their connections first."""
        running = [front for front in self._fronts if front is not None]
        for front in running:
            assert front.process.stdin is not None
            front.process.stdin.close()
        deadline = time.monotonic() + STOP_WITHIN_S
        for front in running:
            try:
                front.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                front.process.kill()
                front.process.wait()
            front.end.close()
        self._fronts = [None for _ in self._sockets]
        self._poll.close()
        os.close(self._wake)
        for one in self._sockets:
            one.close()

    def _hear(self, engine: Engine, readable: set[int]) -> None:
        for index, front in enumerate(self._fronts):
            if front is None:
                if time.monotonic() >= self._back_at_s[index]:
                    self._start(index)
                continue
            if front.end.event in readable:
                for record in front.end.receive():
                    self._heard(engine, index, front, record)
            if front.life in readable:
                self._died(engine, index, front)

    def _heard(self, engine: Engine, index: int, front: _Front, record: Record) -> None:
        if record.kind == ASK:
            self._put(index, record.session, ANSWER, engine.answer(record.payload.decode()))
            return
        if record.kind == OPEN:
            front.sessions.add(record.session)
        if record.session not in front.sessions:
            # It was dropped, and its front-end does not know it yet.
            return
        session = f"{index}.{record.session}"
        if record.kind == CLOSE:
            front.sessions.discard(record.session)
            engine.left(session)
        else:
            engine.heard(session, record.kind, record.payload)

    def _put(self, index: int, number: int, kind: int, payload: bytes) -> bool:
        front = self._fronts[index]
        assert front is not None
        try:
            front.end.put(number, kind, payload, urgent=kind in (CLOSE, ERROR))
        except RingFull:
            return False
        return True

    def _drop(self, index: int, number: int) -> None:
        front = self._fronts[index]
        assert front is not None
        front.sessions.discard(number)
        log.warning("front-end %d does not read; a session is dropped", index)
        # Told to the engine after its tick, in the midst of which it may be.
        self._dropped.append(f"{index}.{number}")
        if not self._put(index, number, ERROR, b"the server's front-end is overloaded"):
            # Not even that: it is stuck. Its death is found in the next round.
            front.process.kill()

    def _start(self, index: int) -> None:
        channel = open_channel()
        listener = self._sockets[index]
        spec = {**self._spec, "index": index, "listener": listener.fileno(), "channel": asdict(channel)}
        process = subprocess.Popen(
            [sys.executable, "-m", "engines.kyutai.front"],
            stdin=subprocess.PIPE,
            pass_fds=(listener.fileno(), *channel.all()),
            # A terminal's interrupt is for the step process, which then ends its front-ends in good order.
            start_new_session=True,
        )
        assert process.stdin is not None
        # The pipe stays open as long as this process lives: its end is how a front-end learns that it is to end.
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
        front = _Front(End(channel, engine=True), process, time.monotonic())
        self._fronts[index] = front
        self._poll.register(front.end.event, select.EPOLLIN)
        self._poll.register(front.life, 0)
        if self._ready is not None:
            self._put(index, 0, READY, self._ready)
            front.end.send()

    def _died(self, engine: Engine, index: int, front: _Front) -> None:
        self._poll.unregister(front.end.event)
        self._poll.unregister(front.life)
        assert front.process.stdin is not None
        front.process.stdin.close()
        # It may have shut its input only; without it it is of no use.
        front.process.kill()
        code = front.process.wait()
        front.end.close()
        self._fronts[index] = None
        now_s = time.monotonic()
        young = now_s - front.started_s < YOUNG_S
        deaths = self._young_deaths[index] = self._young_deaths[index] + 1 if young else 0
        away_s = RESTART_AFTER_S[min(deaths, len(RESTART_AFTER_S) - 1)]
        self._back_at_s[index] = now_s + away_s
        log.error("front-end %d died (code %d) with %d sessions; back in %.1f s", index, code, len(front.sessions), away_s)
        for number in sorted(front.sessions):
            engine.left(f"{index}.{number}")


def listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """So many sockets that listen on one port (0: any), among which the kernel spreads what connects.

    :raises OSError: where the address is in use or is no address
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Sharing a port is meant for our own sockets only: another server's port is taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    sockets: list[socket.socket] = []
    for _ in range(count):
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
        one.listen(1024)
        one.setblocking(False)
        address = one.getsockname()
        sockets.append(one)
    return sockets


def stop_on_signals(host: Host) -> None:
    """SIGTERM and SIGINT end ``run``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, host.stop)
