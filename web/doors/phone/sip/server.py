"""The door for telephones and exchanges that speak SIP: the UDP port, who is let in, and the account at a registrar.

Peers are known by their address, as the protocol's packets by UDP carry it: those of ``phone.sip.peers``, and the registrar's.
An address can be forged, but who forges it does not see the answers; and a call begins with an ACK that shows what the answer
has said. Strangers get 403, the first of them, and then silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from loguru import logger

from pipeline.metrics import prometheus
from pipeline.settings.exchange import SipSettings
from pipeline.transports.bucket import Bucket
from web.doors.phone.audiosocket import is_among
from web.doors.phone.desk import Desk
from web.doors.phone.sip.agent import UserAgent
from web.doors.phone.sip.answering import PORT, Address, check, forbid, respond, tag_of, target
from web.doors.phone.sip.call import CARRIER, SipCall
from web.doors.phone.sip.dialog import Changed, Ended, Established, Offered, Output, Pressed, Send
from web.doors.phone.sip.line import Ports, bound
from web.doors.phone.sip.message import Request, Response, encode, host_and_port, parse
from web.doors.phone.sip.registration import Account, Registration

TICK_S = 0.1
CLOSE_WITHIN_S = 2.0
LOOK_UP_EVERY_S = 300.0
"""How often the registrar's name is looked up again ..."""
LOOK_UP_AGAIN_S = 10.0
"""... and how often while it does not answer."""
KEEP_OPEN_S = 25.0
"""How often an empty packet keeps the way from the registrar open through a router (RFC 5626, section 4.4.1, has it so)."""
INVITES, INVITES_PER_S = 60, 20.0
MESSAGES, MESSAGES_PER_S = 2_000, 1_000.0
REPLIES, REPLIES_PER_S = 20, 2.0
"""To strangers."""
MAX_LOCALS = 1_000


class SipServer:
    """All calls of the port. ``port`` is ``None`` while it does not listen."""

    def __init__(self, settings: SipSettings, desk: Desk) -> None:
        self.settings = settings
        self.desk = desk
        self.port: int | None = None
        self.agent = UserAgent(_token, account=settings.user)
        self.registration: Registration | None = None
        self.calls: dict[str, SipCall] = {}
        self.ports = Ports(settings.host, settings.rtp_port_from, settings.rtp_port_to)
        self._peers = [ip_network(peer) for peer in settings.peers]
        self._registrar: list[Address] = []
        self._locals: dict[str, str] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._replies = Bucket(REPLIES, REPLIES_PER_S)
        self._warnings = Bucket(5, 0.1)
        self._invites = Bucket(INVITES, INVITES_PER_S)
        self._messages = Bucket(MESSAGES, MESSAGES_PER_S)

    async def start(self) -> None:
        """Listen, where a port is set, and register, where a registrar is.

        Raises:
            OSError: the address is taken, or none of this machine's; the text names the setting.
        """
        settings = self.settings
        if settings.port is None:
            return
        try:
            listening = bound(settings.host, settings.port)
        except OSError as e:
            raise OSError(e.errno, f"phone.sip: {e.strerror or e}") from e
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Port(self), sock=listening)
        self.port = self._transport.get_extra_info("sockname")[1]
        self._spawn(self._keep_time())
        if settings.registrar is not None and settings.user is not None:
            password = settings.password.get_secret_value() if settings.password is not None else ""
            host, _ = host_and_port(settings.registrar)
            user = settings.user
            account = Account(settings.domain or host, user, settings.auth_user or user, password, settings.expires_s)
            self.registration = Registration(account, _token)
            self._spawn(self._stay_registered(self.registration))
        logger.info("listening: SIP on {}:{}/udp", settings.host, self.port)

    def stop_listening(self) -> None:
        """Take no further calls; those that there are go on."""
        if self.agent.closed:
            return
        self.agent.closed = True
        if self.registration is not None and self._transport is not None:
            self._tell_registrar(self.registration.end(time.monotonic()))

    async def close(self) -> None:
        """End all calls; their sessions are ended before."""
        self.stop_listening()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                while self._is_busy():  # noqa: ASYNC110 - the core has no events to wait for
                    await asyncio.sleep(TICK_S / 2)
        for task in [*self._tasks, *(call.task for call in self.calls.values() if call.task is not None)]:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        self.port = None

    def _is_busy(self) -> bool:
        registered = self.registration is not None and not self.registration.ended
        return bool(self.calls or self.agent.dialogs or registered)

    def lets_in(self, peer: str) -> bool:
        """Whether an address is a peer's, or the registrar's."""
        return is_among(peer, self._peers) or any(peer == host for host, _ in self._registrar)

    def local(self, peer: str) -> str:
        """This machine's address, as ``peer`` is to know it."""
        if peer not in self._locals:
            if len(self._locals) >= MAX_LOCALS:
                self._locals.clear()
            self._locals[peer] = self._find_local(peer)
        return self._locals[peer]

    def dispatch(self, outputs: Iterable[Output]) -> None:
        """Do what the user agent says."""
        for output in outputs:
            match output:
                case Send(data=data, to=to):
                    self._send(data, to)
                case Offered():
                    call = self.calls[output.key] = SipCall(self, output)
                    call.begin()
                case Established() | Changed():
                    if (call_ := self.calls.get(output.key)) is not None:
                        call_.agreed(output.media)
                case Pressed():
                    if (call_ := self.calls.get(output.key)) is not None:
                        call_.pressed(output.digit)
                case Ended():
                    if (call_ := self.calls.get(output.key)) is not None:
                        call_.ended(output.reason)

    def received(self, data: bytes, source: Address) -> None:
        """A datagram came."""
        now = time.monotonic()
        if not self.lets_in(source[0]):
            self._turn_away(data, source, now)
            return
        if len(data) <= 4 or not self._messages.take(now):
            return  # keep-alives are empty lines
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._answered(message, source, now)
            elif self._is_flood(message, now):
                check(message)
                self._refused("too fast", source)
                busy = respond(message, 503, source, tag=_token(), extra=[("Retry-After", "5")])
                self._send(encode(busy), target(message, source))
            else:
                local = (self.local(source[0]), self.port or PORT)
                self.dispatch(self.agent.receive(message, source, local, now))
        except ValueError as e:
            self._refused("bad messages", source, str(e))

    def _answered(self, response: Response, source: Address, now: float) -> None:
        if response.cseq[1] != "REGISTER":
            self.dispatch(self.agent.receive(response, source, source, now))
        elif self.registration is not None and source in self._registrar:
            before = self.registration.state
            self._tell_registrar(self.registration.receive(response, now))
            self._tell_of(before)

    def _is_flood(self, request: Request, now: float) -> bool:
        new = request.method == "INVITE" and not tag_of(request.headers.get("To"))
        return new and not self._invites.take(now)

    def _turn_away(self, data: bytes, source: Address, now: float) -> None:
        prometheus.PHONE_REFUSED.labels(CARRIER, "peer").inc()
        if self._warnings.take(now):
            logger.warning("SIP from {}, which is none of phone.sip.peers, was turned away", source[0])
        # An answer helps who has set up an exchange, and is nothing that a scanner should get a thousand times.
        if self._replies.take(now) and (reply := forbid(data, source)) is not None:
            self._send(reply, source)

    def _refused(self, why: str, source: Address, text: str = "") -> None:
        prometheus.PHONE_REFUSED.labels(CARRIER, why).inc()
        if self._warnings.take(time.monotonic()):
            logger.warning("a SIP message from {} was refused: {}", source[0], text or why)

    def _send(self, data: bytes, to: Address) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)

    def _find_local(self, peer: str) -> str:
        bound_to, there = ip_address(self.settings.host), ip_address(peer.partition("%")[0])
        if self.settings.public_address is not None and not there.is_loopback:
            return self.settings.public_address
        return str(bound_to) if not bound_to.is_unspecified else _way_out(there)

    # What goes on by itself

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            self.dispatch(self.agent.tick(now))
            if self.registration is not None:
                before = self.registration.state
                self._tell_registrar(self.registration.tick(now))
                self._tell_of(before)

    async def _stay_registered(self, registration: Registration) -> None:
        """Find the registrar, now and again, and keep the way from it open. ``_keep_time`` does the rest."""
        looked_up_at = float("-inf")
        while not self.agent.closed:
            now = time.monotonic()
            wait_s = LOOK_UP_EVERY_S if registration.state == "registered" else LOOK_UP_AGAIN_S
            if now - looked_up_at >= wait_s:
                looked_up_at = now
                await self._look_up()
            if self._registrar and registration.state == "off":
                local = (self.local(self._registrar[0][0]), self.port or PORT)
                self._tell_registrar(registration.begin(local, time.monotonic()))
            elif registration.state == "registered":
                self._tell_registrar([b"\r\n\r\n"])
            await asyncio.sleep(KEEP_OPEN_S if self._registrar and registration.state == "registered" else 1.0)

    async def _look_up(self) -> None:
        host, port = host_and_port(self.settings.registrar or "")
        family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port or PORT, family=family, type=socket.SOCK_DGRAM)
        except OSError as e:
            logger.warning("phone.sip.registrar {} was not found: {}", host, e)
            return
        addresses = [(str(entry[4][0]), int(entry[4][1])) for entry in found]
        # Of several, the one that has known this account until now goes on: another one may not know its nonce.
        self._registrar = sorted(addresses, key=lambda address: address not in self._registrar[:1])

    def _tell_registrar(self, datagrams: Iterable[bytes]) -> None:
        for data in datagrams:
            if self._registrar:
                self._send(data, self._registrar[0])

    def _tell_of(self, before: str) -> None:
        registration = self.registration
        if registration is None or registration.state == before:
            return
        if registration.state == "registered":
            logger.info("registered with {} as {}", self.settings.registrar, self.settings.user)
        elif registration.state == "waiting":
            prometheus.ERRORS.labels("phone").inc()
            logger.error("not registered with {}: {}", self.settings.registrar, registration.problem)

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine, name="sip")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, server: SipServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            self._server.received(data, (addr[0], addr[1]))
        except Exception:
            # One datagram must not end the port.
            prometheus.ERRORS.labels("phone").inc()
            logger.exception("the SIP door failed")

    def error_received(self, exc: Exception) -> None:
        logger.debug("a SIP message could not be sent: {}", exc)


def _token() -> str:
    return secrets.token_hex(8)


def _way_out(peer: IPv4Address | IPv6Address) -> str:
    """The address of this machine by which ``peer`` is reached. Nothing is sent."""
    family = socket.AF_INET6 if peer.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(peer), 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if peer.version == 6 else "127.0.0.1"
