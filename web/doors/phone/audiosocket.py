"""The door for an Asterisk without a carrier: a TCP server that speaks AudioSocket (``web.doors.phone.audiosocket_wire``).

The protocol has no secret, so the server listens on loopback unless it is told otherwise, and takes connections from the
networks of the settings alone. It has neither marks nor a way to take audio back: what was sent is heard. So the tutor's voice
leaves as it is due, and what was heard is told by when it left.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from loguru import logger

from pipeline.call import BuildFailed
from pipeline.engine import AtCapacity
from pipeline.metrics import prometheus
from pipeline.settings.exchange import AudioSocketSettings
from pipeline.transports.bucket import Bucket
from pipeline.transports.codecs import Codec
from pipeline.transports.pacing import SpeedMeter
from pipeline.transports.websocket import CLOSE_TIMEOUT_S
from web.doors.phone import audiosocket_wire as wire
from web.doors.phone.call import PhoneCall
from web.doors.phone.carrier import Audio, BadFrame, Digit, Event, Failed, Started, Stopped
from web.doors.phone.desk import Desk, PhoneEntry
from web.turnstile import Gate

CARRIER = "audiosocket"
AHEAD_S = 0.02
"""How long before it is due the tutor's voice leaves. An Asterisk passes each frame on when it comes."""
START_WITHIN_S = 10.0
"""A connection that does not name its call within this time is closed."""
VOICE_WITHIN_S = 1.0
"""How long the caller's first audio is waited for, which says at what rate to answer; after that it is ``DEFAULT_RATE_HZ``."""
DEFAULT_RATE_HZ = 8_000
CLOSE_WITHIN_S = 2.0
ENDS_WITHIN_S = 2.0
"""How long a connection with the UUID of another waits for that one's call to end."""
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds, seconds and times, where the system has them: a machine that went down says no goodbye."""
MAX_STRANGERS = 100
"""Connections at a time that have not named their call; a further one is closed at once."""
READ_BYTES = 4_096
"""What is taken apart at once: some 12 frames of audio, but over a thousand of nothing."""
EARLY_FRAMES = 200
"""Frames that a connection may send before its call has begun; with more of them nobody waits any longer for its voice."""
WRITE_BUFFER_BYTES = 16_384
STRIKES, STRIKES_PER_S = 30, 1.0
FRAMES, FRAMES_PER_S = 400, 200.0


class _Refused(Exception):
    """The connection is closed for what it sent, or because there is no place; the text says why."""


class AudioSocketServer:
    """All connections of the port. ``port`` is ``None`` while it does not listen."""

    def __init__(self, settings: AudioSocketSettings, desk: Desk) -> None:
        self.settings = settings
        self.desk = desk
        self.port: int | None = None
        self.strangers = 0
        self.gate = Gate(of_address=MAX_STRANGERS)  # an exchange has one address
        self._peers = [ip_network(peer) for peer in settings.peers]
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._talking: dict[str, PhoneEntry] = {}
        self._opening: set[str] = set()

    async def start(self) -> None:
        """Listen, where a port is set.

        Raises:
            OSError: the address is taken, or none of this machine's; the text names the setting.
        """
        if self.settings.port is None:
            return
        try:
            self._server = await asyncio.start_server(self._serve, self.settings.host, self.settings.port, backlog=128)
        except OSError as e:
            raise OSError(e.errno, f"phone.audiosocket: {e.strerror or e}") from e
        self.port = self._server.sockets[0].getsockname()[1]
        logger.info("listening: AudioSocket on {}:{}", self.settings.host, self.port)

    def stop_listening(self) -> None:
        """Take no further calls; those that there are go on."""
        if self._server is not None:
            self._server.close()
        self.port = None

    async def close(self) -> None:
        """Stop listening and end all connections; their sessions are ended before."""
        self.stop_listening()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_WITHIN_S)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def lets_in(self, peer: str) -> bool:
        """Whether an address is in one of the networks of the settings."""
        return is_among(peer, self._peers)

    async def take(self, call_id: str) -> PhoneEntry:
        """The call of a connection: a new one, or the one whose connection broke off.

        A dialplan that comes back with the UUID of a call which is just ending gets a new call.

        Raises:
            AtCapacity: no place, or an engine is at its limit.
            _Refused: the call of this UUID is talking over another connection.
        """
        session = entry.session if (entry := self._talking.get(call_id)) is not None else None
        if entry is not None and session is not None and session.state == "detached":
            return entry
        if session is not None:
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await session.wait_ended()
            except TimeoutError:
                raise _Refused("uuid in use") from None
        if call_id in self._opening:
            raise _Refused("uuid in use")
        self._talking = {key: e for key, e in self._talking.items() if e.session is not None}
        self._opening.add(call_id)
        try:
            entry = self._talking[call_id] = await self.desk.open(CARRIER, call_id)
        finally:
            self._opening.discard(call_id)
        return entry

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await _Connection(self, reader, writer).run()
        except asyncio.CancelledError:
            pass  # the streams of asyncio would log it as an error
        finally:
            self._connections.discard(task)


def is_among(peer: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether the address ``peer`` is in one of ``networks``. An IPv4 address in IPv6's clothes is an IPv4 address."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


class _SocketLine:
    """The connection as ``web.doors.phone.call.Line``."""

    piece_s = 0.02

    def __init__(self, writer: asyncio.StreamWriter, rate_hz: int) -> None:
        self.codec = Codec("pcm16", rate_hz)
        self._writer = writer
        self._kind = wire.KINDS[rate_hz]
        self._closed = False

    async def play(self, encoded: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionError("closed")
        self._writer.write(wire.encode(self._kind, encoded))
        await self._writer.drain()

    async def mark(self, name: str) -> None:
        """There are none."""

    async def clear(self) -> None:
        """There is nothing that could be cleared."""

    async def hang_up(self, code: int, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        await _close(self._writer)


def _watch_over(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Say that the call is over, and end the connection. Never raises."""
    try:
        if not writer.is_closing():
            writer.write(wire.encode(wire.HANG_UP))
        writer.close()
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        # Whoever does not even take a hang-up is not waited for.
        writer.transport.abort()


class _Connection:
    """One connection."""

    def __init__(self, server: AudioSocketServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._frames = wire.Frames()
        self._conversation = wire.Conversation()
        self._pending: list[Event] = []
        self._rate_hz = DEFAULT_RATE_HZ
        self._speed = SpeedMeter(4.0)
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._budget = Bucket(FRAMES, FRAMES_PER_S)
        self._stopped: str | None = None
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        _watch_over(writer.get_extra_info("socket"))

    async def run(self) -> None:
        """Serve until either side hangs up."""
        try:
            call = await self._open()
        except (_Refused, AtCapacity) as e:
            self._note_refusal(e)
            await _close(self._writer)
            return
        except (OSError, EOFError):
            await _close(self._writer)
            return
        reader = asyncio.create_task(self._listen(call), name="audiosocket reader")
        closed = asyncio.create_task(call.closed.wait(), name="audiosocket closed")
        outcome: str | BaseException = "the connection ended"
        try:
            await asyncio.wait({reader, closed}, return_when=asyncio.FIRST_COMPLETED)
            # A line that was hung up ends the reader by itself, unless the other side has stalled.
            await asyncio.wait({reader}, timeout=CLOSE_TIMEOUT_S + 1.0)
        finally:
            for task in (reader, closed):
                task.cancel()
            ended = (await asyncio.gather(reader, closed, return_exceptions=True))[0]
            await self._finish(call, outcome if isinstance(ended, asyncio.CancelledError) else ended)

    def _note_refusal(self, error: Exception) -> None:
        peer = self._writer.get_extra_info("peername")
        why = str(error) if isinstance(error, _Refused) else "capacity"
        prometheus.PHONE_REFUSED.labels(CARRIER, why).inc()
        logger.warning("an AudioSocket connection from {} was closed: {}", peer[0] if peer else "?", error)

    async def _finish(self, call: PhoneCall, outcome: str | BaseException) -> None:
        if isinstance(outcome, Exception) and not isinstance(outcome, _Refused):
            logger.opt(exception=outcome).error("the AudioSocket door failed")
        if call.closed.is_set():
            self._server.desk.end_unless_back(call.session)
            return
        if self._stopped is not None:
            await call.hung_up(self._stopped)
        else:
            await call.lost(str(outcome))
        await call.transport.close(1000, "the connection is over")
        await _close(self._writer)

    # Opening

    async def _open(self) -> PhoneCall:
        peer = self._writer.get_extra_info("peername")
        if not peer or not self._server.lets_in(str(peer[0])):
            raise _Refused("peer")
        if self._server.strangers >= MAX_STRANGERS:
            raise _Refused("too many streams")
        self._server.strangers += 1
        try:
            if not await self._server.gate.passes(str(peer[0])):
                raise _Refused("too many streams")
            async with asyncio.timeout(START_WITHIN_S):
                call_id = await self._identified()
                await self._first_voice()
        except TimeoutError:
            raise _Refused("no start") from None
        finally:
            self._server.strangers -= 1
        entry = await self._server.take(call_id)
        self._rate_hz = self._conversation.rate_hz or DEFAULT_RATE_HZ
        try:
            call = PhoneCall(self._server.desk, entry, _SocketLine(self._writer, self._rate_hz), ahead_s=AHEAD_S)
            await call.start()
        except BuildFailed as e:
            logger.error("a call by phone could not be built: {}", e)
            raise _Refused("build") from e
        return call

    async def _identified(self) -> str:
        while True:
            events = await self._read()
            if events and isinstance(events[0], Started):
                self._pending = events[1:]
                return events[0].call_id

    async def _first_voice(self) -> None:
        """Read on until it is known at what rate the caller speaks. What was read is kept."""
        try:
            async with asyncio.timeout(VOICE_WITHIN_S):
                while self._conversation.rate_hz is None and not any(isinstance(e, Stopped) for e in self._pending):
                    self._pending += await self._read()
                    if len(self._pending) > EARLY_FRAMES:
                        return
        except TimeoutError:
            pass  # a caller whose telephone sends nothing while nobody speaks

    # Reading

    async def _read(self) -> list[Event]:
        """What comes next.

        Raises:
            EOFError: the other side has ended the connection.
            OSError: it broke off.
        """
        data = await self._reader.read(READ_BYTES)
        if not data:
            raise EOFError("the connection was closed")
        try:
            frames = self._frames.put(data)
        except BadFrame as e:
            raise _Refused("no audiosocket") from e
        return [event for frame in frames if (event := self._event(frame)) is not None]

    def _event(self, frame: wire.Frame) -> Event | None:
        try:
            return self._conversation.event(frame)
        except BadFrame as e:
            self._strike(e)
            return None

    def _strike(self, error: Exception) -> None:
        logger.debug("a frame of an AudioSocket was not understood: {}", error)
        if not self._strikes.take(time.monotonic()):
            raise _Refused("bad messages") from error

    async def _listen(self, call: PhoneCall) -> str:
        """Read until the caller is gone. Returns why."""
        try:
            while self._stopped is None:
                events, self._pending = self._pending or await self._read(), []
                now = time.monotonic()
                for event in events:
                    if not self._budget.take(now):
                        await asyncio.sleep(self._budget.retry_after_s(now))
                        now = time.monotonic()
                    await self._take(call, event, now)
        except EOFError:
            # An Asterisk whose caller hangs up may end the connection without a word.
            self._stopped = Stopped().reason
        except OSError as e:
            return f"the connection broke off ({e})"
        except _Refused as e:
            self._note_refusal(e)
            await call.transport.expel(1008, str(e))
            return str(e)
        return self._stopped

    async def _take(self, call: PhoneCall, event: Event, now: float) -> None:
        match event:
            case Audio(encoded=encoded):
                if self._conversation.rate_hz != self._rate_hz:
                    self._strike(BadFrame("the first audio came too late, and at another rate"))
                    return
                if self._speed.observe(len(encoded) / 2 / self._rate_hz, now):
                    raise _Refused("too fast")
                call.hear(encoded, now)
            case Digit(digit=digit):
                await call.pressed(digit)
            case Stopped(reason=reason):
                self._stopped = reason
            case Failed(message=message):
                prometheus.ERRORS.labels("phone").inc()
                logger.warning("AudioSocket: {}", message)
