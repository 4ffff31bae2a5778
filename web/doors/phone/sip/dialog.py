"""One call, as the side that is called sees it: from the INVITE to the BYE (RFC 3261, sections 12 to 15). Pure: the time is
passed in.

::

    offered ──answer──► answered ──ACK──► confirmed ──BYE──► over
       └──refuse, CANCEL──► over  └──no ACK──► closing ──► over

Requests of this side go to where the caller's last one came from: then the way back is open, whatever address the caller gives
for itself, and nobody can have packets sent to a third party.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from web.doors.phone.sip import sdp
from web.doors.phone.sip.answering import ALLOW, PRODUCT, Address, respond, tag_of, target
from web.doors.phone.sip.message import BadMessage, Headers, Request, Response, encode, parse_address, parse_uri
from web.doors.phone.sip.sdp import BadDescription, Media, Stream
from web.doors.phone.sip.transactions import Resending

State = Literal["offered", "answered", "confirmed", "closing", "over"]
CONTACT_USER = "parley"
NO_ACK = "the caller never confirmed the call"
HUNG_UP = "hung up by the caller"
GIVEN_UP = "the caller gave up"
NOTHING_IN_COMMON = "nothing in common to speak"
_RELAYED = re.compile(rb"Signal\s*=\s*([0-9A-D*#])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Send:
    """A datagram is to leave."""

    data: bytes
    to: Address


@dataclass(frozen=True, slots=True)
class Offered:
    """Somebody calls."""

    key: str
    caller: str
    """The user of From; empty where it has none."""
    dialled: str


@dataclass(frozen=True, slots=True)
class Established:
    """The call stands: sound may flow."""

    key: str
    media: Media


@dataclass(frozen=True, slots=True)
class Changed:
    """The other side wants its sound elsewhere, or none for a while."""

    key: str
    media: Media


@dataclass(frozen=True, slots=True)
class Pressed:
    """A key, told by a message."""

    key: str
    digit: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over, or never came to be. Told once."""

    key: str
    reason: str


Output = Send | Offered | Established | Changed | Pressed | Ended


class Refusal(Exception):
    """A request of the other side is answered with this status."""

    def __init__(self, status: int, *extra: tuple[str, str]) -> None:
        super().__init__(str(status))
        self.status = status
        self.extra = extra


def offered_media(request: Request, *, keep: Media | None = None) -> tuple[list[Stream], Media, int] | None:
    """The streams of a request's offer, what can be agreed on, and which it is; ``None``: the request brings no offer.

    Raises:
        Refusal: what it brings is no SDP (415), no offer (400), or has nothing in common with this side (488).
    """
    if not request.body:
        return None
    kind = request.headers.get("Content-Type").partition(";")[0].strip().lower()
    if kind != "application/sdp" or request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal(415, ("Accept", "application/sdp"))
    try:
        streams = sdp.parse(request.body)
    except BadDescription:
        raise Refusal(400) from None
    agreed = sdp.agree(streams)
    if agreed is None:
        raise Refusal(488)
    return streams, *agreed


class Dialog:
    """One call.

    Args:
        request: The INVITE, checked.
        source: Where it came from.
        local: This side's address, as the caller is to know it.
        tag: This side's tag: random, for whoever knows it belongs to the call.
        session: A random number for the descriptions.
        token: Makes names that nobody can guess.

    Raises:
        Refusal: it offers nothing that could be taken.
    """

    def __init__(
        self, request: Request, source: Address, local: Address, tag: str, session: int, token: Callable[[], str]
    ) -> None:
        self.state: State = "offered"
        self.tag = self.key = tag
        self.call_id = request.headers.get("Call-ID")
        self.remote_tag = tag_of(request.headers.get("From"))
        self.media: Media | None = None
        self.local = local
        self._session = session
        self._version = 0
        self._token = token
        self._rtp: Address = ("", 0)
        self._remote_cseq = self._invite_cseq = request.cseq[0]
        self._cseq = 0
        self._next_hop = source
        self._self = f"{request.headers.get('To')};tag={tag}"
        self._other = request.headers.get("From")
        self._route = request.headers.each("Record-Route")
        self._target = self._contact_of(request)
        self._offer = offered_media(request)
        self._awaits_answer = False
        self._ok: Resending | None = None
        self._bye: Resending | None = None
        self._hang_up = False

    @property
    def contact(self) -> str:
        """This side's address as a header."""
        host, port = self.local
        return f"<sip:{CONTACT_USER}@{f'[{host}]' if ':' in host else host}:{port}>"

    # What this side does

    def accept(self, request: Request, source: Address, rtp: Address, now: float) -> bytes:
        """The answer that takes an INVITE (the first, or one that changes the call); it is sent again until the ACK comes.

        Args:
            request: The INVITE.
            source: Where it came from.
            rtp: Where this side receives sound.
            now: Monotonic seconds.
        """
        self._rtp, self._version, self._invite_cseq = rtp, self._version + 1, request.cseq[0]
        description = {"host": rtp[0], "port": rtp[1], "session": self._session, "version": self._version}
        if self._offer is not None:
            streams, self.media, index = self._offer
            body = sdp.answer(streams, self.media, index, **description)  # type: ignore[arg-type]
            self._offer = None
        else:
            self._awaits_answer = True
            body = sdp.offer(**description)  # type: ignore[arg-type]
        extra = [("Record-Route", route) for route in request.headers.each("Record-Route")]
        extra += [("Contact", self.contact), ("Allow", ALLOW), ("Content-Type", "application/sdp")]
        data = encode(respond(request, 200, source, tag=self.tag, extra=extra, body=body))
        self._ok = Resending(data, target(request, source), now)
        if self.state == "offered":
            self.state = "answered"
        return data

    def refused(self) -> None:
        """The INVITE was answered with a refusal."""
        self.state = "over"

    def hang_up(self, now: float) -> list[Output]:
        """End an answered call. What nobody has confirmed yet is ended as soon as somebody has (section 15)."""
        if self.state == "answered":
            self._hang_up = True
        if self.state != "confirmed":
            return []
        return self._send_bye(now)

    def tick(self, now: float) -> list[Output]:
        """Send again what was not answered."""
        outputs: list[Output] = []
        if self._ok is not None:
            if self._ok.is_over(now):
                self._ok = None
                if self.state in ("answered", "confirmed"):
                    outputs += [*self._send_bye(now), Ended(self.key, NO_ACK)]
            elif self._ok.is_due(now):
                outputs.append(Send(self._ok.data, self._ok.to))
        if self._bye is not None:
            if self._bye.is_over(now):
                self._bye, self.state = None, "over"
            elif self._bye.is_due(now):
                outputs.append(Send(self._bye.data, self._bye.to))
        return outputs

    # What comes from the caller

    def acknowledged(self, request: Request, source: Address, now: float) -> list[Output]:
        """An ACK came."""
        if self._ok is None or request.cseq[0] != self._invite_cseq:
            return []
        self._ok, self._next_hop = None, source
        first = self.state == "answered"
        if first:
            self.state = "confirmed"
        if self._awaits_answer:
            self._awaits_answer = False
            try:
                agreed = offered_media(request)
            except Refusal:
                agreed = None
            if agreed is None:
                return [*self._send_bye(now), Ended(self.key, NOTHING_IN_COMMON)]
            self.media = agreed[1]
        if self._hang_up:
            return self._send_bye(now)
        if self.state != "confirmed" or self.media is None:
            return []
        return [Established(self.key, self.media) if first else Changed(self.key, self.media)]

    def requested(self, request: Request, source: Address, now: float) -> tuple[bytes, list[Output]]:
        """A request within the call. Returns its answer, and what follows from it.

        Raises:
            Refusal: it is answered with that status.
        """
        number = request.cseq[0]
        if number <= self._remote_cseq:
            raise Refusal(500)
        self._remote_cseq = number
        match request.method:
            case "BYE":
                if self.state == "over":
                    raise Refusal(481)
                told = self.state == "closing"
                self.state, self._ok, self._bye = "over", None, None
                return self._reply(request, source), [] if told else [Ended(self.key, HUNG_UP)]
            case "INVITE":
                return self._reinvited(request, source, now), []
            case "INFO":
                return self._reply(request, source), self._relayed(request)
            case _:
                return self._reply(request, source, ("Allow", ALLOW), ("Accept", "application/sdp")), []

    def responded(self, response: Response) -> None:
        """An answer to this side's BYE came; whatever it says, the call is over."""
        if self.state == "closing" and response.status >= 200 and response.cseq == (self._cseq, "BYE"):
            self.state, self._bye = "over", None

    def _reinvited(self, request: Request, source: Address, now: float) -> bytes:
        if self.state not in ("answered", "confirmed"):
            raise Refusal(481)
        if self._ok is not None:
            raise Refusal(491)
        self._offer = offered_media(request)
        if request.headers.get("Contact"):
            self._target = self._contact_of(request)
        return self.accept(request, source, self._rtp, now)

    def _relayed(self, request: Request) -> list[Output]:
        kind = request.headers.get("Content-Type").partition(";")[0].strip().lower()
        found = None
        if kind == "application/dtmf-relay":
            found = _RELAYED.search(request.body)
        elif kind == "application/dtmf":
            found = re.fullmatch(rb"\s*([0-9A-Da-d*#])\s*", request.body)
        return [Pressed(self.key, found[1].decode().upper())] if found and self.state == "confirmed" else []

    def _reply(self, request: Request, source: Address, *extra: tuple[str, str]) -> bytes:
        return encode(respond(request, 200, source, tag=self.tag, extra=extra))

    def _send_bye(self, now: float) -> list[Output]:
        self.state = "closing"
        self._ok = None
        self._cseq += 1
        host, port = self.local
        uri, routes = self._target, self._route
        if routes and "lr" not in parse_uri(parse_address(routes[0]).uri).parameters:
            # A strict router of RFC 2543 (section 12.2.1.1).
            uri, routes = parse_address(routes[0]).uri, [*routes[1:], f"<{uri}>"]
        via = f"SIP/2.0/UDP {f'[{host}]' if ':' in host else host}:{port};branch=z9hG4bK{self._token()};rport"
        headers = Headers([("Via", via), ("Max-Forwards", "70")])
        for route in routes:
            headers.add("Route", route)
        headers.add("From", self._self)
        headers.add("To", self._other)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{self._cseq} BYE")
        headers.add("User-Agent", PRODUCT)
        self._bye = Resending(encode(Request("BYE", uri, headers)), self._next_hop, now)
        return [Send(self._bye.data, self._bye.to)]

    @staticmethod
    def _contact_of(request: Request) -> str:
        """Where requests are addressed to.

        Raises:
            Refusal: nowhere, or to what is no address.
        """
        try:
            for route in request.headers.each("Record-Route"):
                parse_uri(parse_address(route).uri)
            uri = parse_address(request.headers.each("Contact")[0]).uri
            parse_uri(uri)
        except (BadMessage, IndexError):
            raise Refusal(400) from None
        if " " in uri:
            raise Refusal(400)
        return uri
