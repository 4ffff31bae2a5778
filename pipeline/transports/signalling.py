"""WebRTC signalling without a web framework: offers and candidates in, answers out, and the calls behind them.

A call is built before its answer is given, so that a client is never connected to nothing. An unknown peer is an error and
never a new call.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs
from loguru import logger
from pydantic import ValidationError

from pipeline.settings.tree import WebRTCSettings
from pipeline.transports import aiortc_private
from pipeline.transports.webrtc import WebRTCTransport
from pipeline.transports.webrtc_capture import Reception
from pipeline.transports.webrtc_connection import BadOffer, IceCandidate

__all__ = ["Answer", "BadOffer", "IceCandidate", "Signalling", "UnknownPeer", "turn_credentials"]

MAX_CANDIDATES = 64
T = TypeVar("T")


class UnknownPeer(LookupError):
    """No open connection has this ``pc_id``."""


class Answer(TypedDict):
    """What ``POST /api/offer`` answers."""

    sdp: str
    type: str
    pc_id: str


@dataclass(slots=True)
class _Entry:
    transport: WebRTCTransport
    call: Any
    lock: asyncio.Lock


def turn_credentials(secret: str, user: str, ttl_s: int, now: float) -> tuple[str, str]:
    """User name and password for a TURN server that shares ``secret`` (coturn: ``use-auth-secret``), good for ``ttl_s``.

    The scheme is that of draft-uberti-behave-turn-rest-00: the name is the expiry (Unix seconds ``now`` plus ``ttl_s``) and the
    user, the password is the Base64 of the name's HMAC-SHA1.
    """
    name = f"{int(now) + ttl_s}:{user}"
    digest = hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(digest).decode()


class Signalling:
    """All peer connections of one process.

    Args:
        settings: The WebRTC door's settings.
        detach_after_s: Silence after which a client is lost.
        now: Unix seconds, for the expiry of TURN credentials.

    Raises:
        pipeline.transports.aiortc_private.UntestedVersion: when a library whose private parts are used was not tested.
        ValueError: when an ICE server's URL is malformed.
    """

    def __init__(self, settings: WebRTCSettings, *, detach_after_s: float = 5.0, now: Callable[[], float] = time.time) -> None:
        aiortc_private.check_versions()
        self._settings = settings
        self._detach_after_s = detach_after_s
        self._now = now
        try:
            connection_kwargs(self._ice_servers())
        except ValueError as e:
            raise ValueError(f"webrtc.ice_servers or webrtc.turn.urls: {e}") from e
        self._peers: dict[str, _Entry] = {}
        self._closing = False

    @property
    def peers(self) -> int:
        """Connections that are open or expected."""
        return len(self._peers)

    def receptions(self) -> list[tuple[Any, Reception]]:
        """What ``build`` returned for each open connection, with how its client's packets have been arriving."""
        return [(entry.call, entry.transport.reception()) for entry in self._peers.values() if not entry.transport.closing]

    async def offer(
        self,
        sdp: str,
        kind: str,
        build: Callable[[WebRTCTransport], Awaitable[T]],
        *,
        pc_id: str | None = None,
        restart_pc: bool = False,
        **options: Any,
    ) -> tuple[Answer, T]:
        """Answer an offer, with the call that ``build`` made for it.

        Without ``pc_id`` a new call is built. Where ``build`` fails, the transport is closed and the error passed on; where
        anything fails after it, the call is told so by its transport's ``on_lost``. With ``pc_id`` the open connection is
        renegotiated, or with ``restart_pc`` replaced, and the call is the one it belongs to. ``options`` are further ones of
        ``WebRTCTransport``.

        Raises:
            BadOffer: when the offer cannot be used.
            UnknownPeer: when ``pc_id`` is not, or no longer, open.
        """
        if pc_id is not None:
            return await self._renegotiate(self._find(pc_id), pc_id, sdp, kind, restart_pc)
        if self._closing:
            raise BadOffer("the server is shutting down")
        transport = WebRTCTransport(
            self._settings, ice_servers=self._ice_servers(), detach_after_s=self._detach_after_s, **options
        )
        new_id = uuid.uuid4().hex
        transport.on_closed = lambda: self._forget(new_id)
        try:
            await transport.take_offer(sdp, kind)
            call = await build(transport)
        except BaseException:
            await transport.close()
            raise
        self._peers[new_id] = _Entry(transport, call, asyncio.Lock())
        try:
            answer = await transport.answer()
            if transport.closing:
                raise BadOffer("the call ended before it began")
        except BaseException:
            await transport.abandon("the offer was not answered")
            raise
        return Answer(sdp=answer, type="answer", pc_id=new_id), call

    async def candidates(self, pc_id: str, candidates: Sequence[Any]) -> None:
        """Add trickled candidates: dicts or objects with ``candidate``, ``sdp_mid`` and ``sdp_mline_index``.

        Raises:
            BadOffer: naming what is wrong with one.
            UnknownPeer: when ``pc_id`` is not open.
        """
        entry = self._find(pc_id)
        if len(candidates) > MAX_CANDIDATES:
            raise BadOffer(f"more than {MAX_CANDIDATES} candidates at a time")
        try:
            parsed = [IceCandidate.model_validate(c, from_attributes=True) for c in candidates]
        except ValidationError as e:
            first = e.errors(include_url=False)[0]
            raise BadOffer(f"bad candidate: {'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}") from None
        await entry.transport.add_candidates(parsed)

    def ice_servers_for_client(self, user: str = "parley") -> list[dict[str, Any]]:
        """The ``iceServers`` of a browser's ``RTCPeerConnection``, with fresh TURN credentials for ``user``."""
        servers: list[dict[str, Any]] = []
        for server in self._settings.ice_servers:
            entry: dict[str, Any] = {"urls": list(server.urls)}
            if server.username is not None:
                entry["username"] = server.username
            if server.credential is not None:
                entry["credential"] = server.credential.get_secret_value()
            servers.append(entry)
        turn = self._settings.turn
        if turn.urls and turn.secret is not None:
            name, password = turn_credentials(turn.secret.get_secret_value(), user, turn.ttl_s, self._now())
            servers.append({"urls": list(turn.urls), "username": name, "credential": password})
        return servers

    async def close(self) -> None:
        """Close every connection. Safe to call twice."""
        self._closing = True
        results = await asyncio.gather(*(e.transport.close() for e in list(self._peers.values())), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                logger.error(f"a peer connection did not close: {result}")
        self._peers.clear()

    async def _renegotiate(self, entry: _Entry, pc_id: str, sdp: str, kind: str, restart: bool) -> tuple[Answer, Any]:
        async with entry.lock:
            if restart:
                answer = await entry.transport.restart(sdp, kind)
            else:
                await entry.transport.take_offer(sdp, kind)
                answer = await entry.transport.answer()
        return Answer(sdp=answer, type="answer", pc_id=pc_id), entry.call

    def _find(self, pc_id: str) -> _Entry:
        entry = self._peers.get(pc_id)
        if entry is None or entry.transport.closing:
            raise UnknownPeer(f"no open connection has the pc_id {str(pc_id)[:64]!r}")
        return entry

    def _forget(self, pc_id: str) -> None:
        self._peers.pop(pc_id, None)

    def _ice_servers(self) -> list[RTCIceServer]:
        return [RTCIceServer(**server) for server in self.ice_servers_for_client("server")]
