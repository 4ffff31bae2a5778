"""How a request is answered: RFC 3261, sections 8.2.6 and 18.2.2. Pure, and without memory."""

from __future__ import annotations

from collections.abc import Iterable

from web.doors.phone.sip.message import (
    REASONS,
    BadMessage,
    Headers,
    Request,
    Response,
    encode,
    parse,
    parse_address,
    parse_via,
    with_received,
)

Address = tuple[str, int]
"""Host and port of a socket."""
PRODUCT = "Parley"
PORT = 5_060
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
MAX_CALL_ID = 256


def check(request: Request) -> None:
    """Whether a request has what every request must have.

    Raises:
        BadMessage: something is missing; the text says what.
    """
    headers = request.headers
    vias = headers.each("Via")
    if not vias:
        raise BadMessage("no Via")
    parse_via(vias[0])
    for name in ("From", "To"):
        if len(headers.lines(name)) != 1:
            raise BadMessage(f"{len(headers.lines(name))} times {name}")
        parse_address(headers.get(name))
    if not 0 < len(headers.get("Call-ID")) <= MAX_CALL_ID:
        raise BadMessage("Call-ID")
    if request.cseq[1] != request.method:
        raise BadMessage("CSeq of another method")


def tag_of(value: str) -> str:
    """The tag of From or To; empty where there is none."""
    return parse_address(value).parameters.get("tag", "")


def respond(
    request: Request, status: int, source: Address, *, tag: str = "", extra: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Response:
    """The answer to a request that came from ``source``. ``tag`` is added to To, unless it has one.

    Raises:
        BadMessage: the request does not say where its answer should go.
    """
    vias = request.headers.each("Via")
    if not vias:
        raise BadMessage("no Via")
    headers = Headers([("Via", with_received(vias[0], *source)), *(("Via", via) for via in vias[1:])])
    to = request.headers.get("To")
    headers.add("From", request.headers.get("From"))
    headers.add("To", f"{to};tag={tag}" if tag and not tag_of(to) else to)
    headers.add("Call-ID", request.headers.get("Call-ID"))
    headers.add("CSeq", request.headers.get("CSeq"))
    for name, value in extra:
        headers.add(name, value)
    headers.add("Server", PRODUCT)
    return Response(status, REASONS[status], headers, body)


def target(request: Request, source: Address) -> Address:
    """Where the answer to a request that came from ``source`` goes. Never to another machine.

    Raises:
        BadMessage: its Via is none.
    """
    via = parse_via(request.headers.each("Via")[0])
    return source if "rport" in via.parameters else (source[0], via.port or PORT)


def forbid(data: bytes, source: Address) -> bytes | None:
    """The answer to a stranger: 403, sent back to ``source`` and remembered nowhere; ``None``: silence does."""
    try:
        message = parse(data)
        if not isinstance(message, Request) or message.method == "ACK":
            return None
        check(message)
        reply = encode(respond(message, 403, source, tag="stranger"))
    except ValueError:
        return None
    # Whoever forges an address must not have this machine send more there than was sent here.
    return reply if len(reply) <= len(data) + 200 else None
