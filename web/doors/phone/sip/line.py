"""The port of one call's sound, as ``web.doors.phone.call.Line``: a packet leaves every 20 ms, and what comes is told at once.

RTCP is neither sent nor read; what comes to the port besides sound and keys is passed over.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

from loguru import logger

from pipeline.transports.bucket import Bucket
from pipeline.transports.codecs import Codec
from pipeline.transports.pacing import SpeedMeter
from web.doors.phone.sip import rtp
from web.doors.phone.sip.answering import Address
from web.doors.phone.sip.rtp import RATE_HZ, BadPacket
from web.doors.phone.sip.sdp import Media
from web.doors.phone.sip.sound import Receiver, Sender, Way

PIECE_S = 0.02
MOST_BEHIND_S = 0.2
"""A line that is later than this leaves out what was due instead of sending it all at once."""
PACKETS, PACKETS_PER_S = 400, 200.0
"""Packets that are looked at: a telephone sends 50 to 100 a second."""


class NoPort(OSError):
    """All ports for sound are taken."""


class Ports:
    """The even ports from ``first`` to ``last``, taken in turn: one that has just been used may still get packets."""

    def __init__(self, host: str, first: int, last: int) -> None:
        self._host = host
        self._all = range(first + first % 2, last + 1, 2)
        self._next = 0

    def bind(self) -> socket.socket:
        """A socket on the next free port.

        Raises:
            NoPort: there is none.
        """
        for _ in self._all:
            port = self._all[self._next]
            self._next = (self._next + 1) % len(self._all)
            try:
                return bound(self._host, port)
            except OSError:
                continue  # another program's
        raise NoPort(f"phone.sip: all {len(self._all)} ports for sound are taken")


def bound(host: str, port: int) -> socket.socket:
    """A UDP socket.

    Raises:
        OSError: the address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            # Peers by IPv4 would look like strangers.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


class RtpLine(asyncio.DatagramProtocol):
    """One call's port. ``await open()`` binds it; ``start`` lets sound flow; ``close`` ends all."""

    piece_s = PIECE_S

    def __init__(self, on_hang_up: Callable[[], None]) -> None:
        # Which of the two G.711 is spoken may change in mid-call, so the call itself speaks plain samples.
        self.codec = Codec("pcm16", RATE_HZ)
        self.port = 0
        self.came_at = time.monotonic()
        """When sound came last, or was not to come."""
        self.too_fast = asyncio.Event()
        self.gone = asyncio.Event()
        """Set when this side has hung up, or the port was closed."""
        self._on_hang_up = on_hang_up
        self._on_voice: Callable[[bytes, float], None] = lambda pcm16, at: None
        self._on_key: Callable[[str], Any] = lambda key: None
        self._transport: asyncio.DatagramTransport | None = None
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._way: Way | None = None
        self._speed = SpeedMeter(4.0)
        self._budget = Bucket(PACKETS, PACKETS_PER_S)
        self._slot = 0.0
        self._timers: list[asyncio.TimerHandle | None] = [None, None]
        self._closed = False

    async def open(self, ports: Ports) -> None:
        """Take a port.

        Raises:
            NoPort: there is none.
        """
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=ports.bind())
        self.port = self._transport.get_extra_info("sockname")[1]

    def start(self, media: Media, on_voice: Callable[[bytes, float], None], on_key: Callable[[str], Any]) -> None:
        """The call stands: send, and tell what comes (pcm16 at 8 kHz and when it came; keys)."""
        self._on_voice, self._on_key = on_voice, on_key
        self._receiver = Receiver(media)
        writer = rtp.Writer(secrets.randbits(32), secrets.randbits(15), secrets.randbits(32))
        self._sender = Sender(media, writer)
        self._way = Way((media.host, media.port))
        self.came_at = time.monotonic()
        self._slot = asyncio.get_running_loop().time()
        self._send()

    def change(self, media: Media) -> None:
        """The other side wants its sound elsewhere, or none for a while."""
        if self._receiver is not None and self._sender is not None and self._way is not None:
            self._receiver.media = self._sender.media = media
            self._way.agree_anew((media.host, media.port))
            self.came_at = time.monotonic()

    @property
    def on_hold(self) -> bool:
        """Whether the other side does not want to be heard."""
        return self._receiver is not None and not self._receiver.media.receives

    # Line

    async def play(self, encoded: bytes) -> None:
        if self._closed or self._sender is None:
            raise ConnectionError("closed")
        self._sender.play(encoded)

    async def mark(self, name: str) -> None:
        """There are none."""

    async def clear(self) -> None:
        if self._sender is not None:
            self._sender.clear()

    async def hang_up(self, code: int, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_hang_up()

    def close(self) -> None:
        """Send and read nothing more. Safe to call twice."""
        self._closed = True
        self.gone.set()
        for timer in self._timers:
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.close()

    # Sending

    def _send(self) -> None:
        if self._closed or self._sender is None or self._way is None or self._transport is None:
            return
        loop = asyncio.get_running_loop()
        behind = int((loop.time() - self._slot) / PIECE_S)
        if behind * PIECE_S > MOST_BEHIND_S:
            self._sender.skip(behind)
            self._slot += behind * PIECE_S
        while self._slot <= loop.time():
            packet = self._sender.next()
            if packet is not None:
                self._transport.sendto(packet, self._way.to)
            self._slot += PIECE_S
        self._timers[0] = loop.call_at(self._slot, self._send)

    # Receiving

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        now = time.monotonic()
        if self._closed or self._receiver is None or self._way is None or not self._budget.take(now):
            return
        source: Address = (addr[0], addr[1])
        try:
            packet = rtp.parse(data)
        except BadPacket:
            return
        if not self._way.admits(source):
            return
        heard = self._receiver.put(packet, now)
        self.came_at = now
        if heard.key is not None:
            self._on_key(heard.key)
        self._hear(heard.pcm16, now)
        self._wait_for_the_rest()

    def error_received(self, exc: Exception) -> None:
        # Nobody listens there (yet); that sound stays away tells whether they are gone.
        logger.debug("a packet of a call by SIP could not be sent: {}", exc)

    def _tick(self) -> None:
        self._timers[1] = None
        if not self._closed and self._receiver is not None:
            now = time.monotonic()
            self._hear(self._receiver.tick(now), now)
            self._wait_for_the_rest()

    def _wait_for_the_rest(self) -> None:
        if self._timers[1] is not None:
            self._timers[1].cancel()
            self._timers[1] = None
        due_at = self._receiver.due_at if self._receiver is not None else None
        if due_at is not None and not self._closed:
            delay_s = max(0.0, due_at - time.monotonic())
            self._timers[1] = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _hear(self, pcm16: bytes, now: float) -> None:
        if not pcm16:
            return
        if self._speed.observe(len(pcm16) / 2 / RATE_HZ, now):
            self.too_fast.set()
        elif self._receiver is not None and self._receiver.media.receives:
            # Music for those who wait is not the learner.
            self._on_voice(pcm16, now)
