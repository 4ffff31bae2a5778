"""A UDP relay between the two peers of one WebRTC connection, which does to each datagram what an ``Impairment`` says.

Each peer is told that the other lives at the relay: its candidates are replaced in the offer and in the answer. Everything
passes: checks of the path (STUN), key exchange (DTLS), sound (RTP) and messages (SCTP), as over a bad network.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from bench.impairment import Fates, Impairment

Address = tuple[str, int]
_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host.*$", re.IGNORECASE)


class NoCandidate(ValueError):
    """A session description without a host candidate of IPv4 and UDP."""


def host_of(sdp: str) -> Address:
    """Where the peer that wrote ``sdp`` listens: its first host candidate.

    Raises:
        NoCandidate: there is none.
    """
    for line in sdp.splitlines():
        if found := _CANDIDATE.match(line):
            return found[1], int(found[2])
    raise NoCandidate("the session description names no address")


def moved(sdp: str, to: Address) -> str:
    """``sdp`` with ``to`` as the only candidate of each of its media."""
    lines: list[str] = []
    media_has_one = False
    for line in sdp.splitlines():
        if line.startswith("m="):
            media_has_one = False
        if line.startswith("a=candidate:"):
            if not media_has_one:
                lines.append(f"a=candidate:1 1 udp 2130706431 {to[0]} {to[1]} typ host")
                media_has_one = True
            continue
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


class _Side(asyncio.DatagramProtocol):
    """The socket that one peer takes for the other."""

    def __init__(self, fates: Fates) -> None:
        self.fates = fates
        self.peer: Address | None = None
        """Whom this side writes to."""
        self.other: _Side | None = None
        self.transport: asyncio.DatagramTransport | None = None
        self.datagrams = self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # not every loop's is an instance

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """From this side's peer, for the other side's."""
        assert self.other is not None
        self.datagrams += 1
        late_s = self.fates.next()
        if late_s is None:
            self.lost += 1
        elif late_s == 0:
            self.other.write(data)
        else:
            asyncio.get_running_loop().call_later(late_s, self.other.write, data)

    def write(self, data: bytes) -> None:
        """To this side's peer, unless the relay was closed meanwhile."""
        if self.transport is not None and self.peer is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.peer)

    def error_received(self, exc: Exception) -> None:
        """A peer that has closed its socket is no concern of the network."""


class Relay:
    """One connection's: ``offer`` rewrites the one description, ``answer`` the other.

    Args:
        impairment: Of both directions, each with draws of its own.
        seed: Of these.
    """

    def __init__(self, impairment: Impairment, seed: int | str = 1) -> None:
        self._caller_side = _Side(Fates(impairment, f"{seed} up"))
        self._callee_side = _Side(Fates(impairment, f"{seed} down"))
        self._caller_side.other, self._callee_side.other = self._callee_side, self._caller_side

    async def offer(self, sdp: str) -> str:
        """The caller's description as the callee is to see it; opens the sockets.

        Raises:
            NoCandidate: it names no address.
        """
        caller = host_of(sdp)
        for side in (self._caller_side, self._callee_side):
            await asyncio.get_running_loop().create_datagram_endpoint(lambda side=side: side, local_addr=(caller[0], 0))  # type: ignore[misc]
        self._caller_side.peer = caller
        return moved(sdp, self._address(self._callee_side))

    def answer(self, sdp: str) -> str:
        """The callee's description as the caller is to see it.

        Raises:
            NoCandidate: it names no address.
        """
        self._callee_side.peer = host_of(sdp)
        return moved(sdp, self._address(self._caller_side))

    @property
    def lost(self) -> tuple[int, int]:
        """Datagrams that were lost from the caller, and to it."""
        return self._caller_side.lost, self._callee_side.lost

    @property
    def datagrams(self) -> tuple[int, int]:
        """Datagrams that came from the caller, and for it."""
        return self._caller_side.datagrams, self._callee_side.datagrams

    def close(self) -> None:
        """Close the sockets; what is under way is dropped. Safe to call twice."""
        for side in (self._caller_side, self._callee_side):
            if side.transport is not None:
                side.transport.close()

    @staticmethod
    def _address(side: _Side) -> Address:
        assert side.transport is not None
        host, port = side.transport.get_extra_info("sockname")[:2]
        return str(host), int(port)
