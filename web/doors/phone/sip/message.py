"""SIP messages as text: RFC 3261, sections 7 and 20, with rport (RFC 3581). Pure: bytes in, messages out, and back.

What is echoed into an answer (Via, From, To, Call-ID) comes out byte for byte as it came in, whatever its encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

VERSION = "SIP/2.0"
MAX_BYTES = 16_384
"""Of a message. The longest that telephones send (an INVITE with video and ICE) have some 4 kB."""
MAX_HEADERS = 128
MAX_LINE = 4_096
_COMPACT = {
    "i": "Call-ID",
    "m": "Contact",
    "e": "Content-Encoding",
    "l": "Content-Length",
    "c": "Content-Type",
    "f": "From",
    "s": "Subject",
    "k": "Supported",
    "t": "To",
    "v": "Via",
    "x": "Session-Expires",
    "o": "Event",
}
"""Short names of headers (RFC 3261, section 7.3.3, and those of later documents)."""
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
REASONS = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
"""The phrase of each status that this user agent answers with."""


class BadMessage(ValueError):
    """Not a SIP message, or over a limit; the text says what is wrong."""


class Headers:
    """Headers in their order. Names match in any case, and in their short form."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.items: list[tuple[str, str]] = list(items)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.items == other.items

    def __repr__(self) -> str:
        return f"Headers({self.items!r})"

    def get(self, name: str, default: str = "") -> str:
        """The first value of a header."""
        return next((value for n, value in self.items if n.lower() == name.lower()), default)

    def lines(self, name: str) -> list[str]:
        """The value of each line with this name."""
        return [value for n, value in self.items if n.lower() == name.lower()]

    def each(self, name: str) -> list[str]:
        """All values of a header that may have several, on lines of their own or between commas."""
        return [part for value in self.lines(name) for part in split(value, ",")]

    def add(self, name: str, value: str) -> None:
        """One more line."""
        self.items.append((name, value))


@dataclass(slots=True)
class Request:
    """A request."""

    method: str
    uri: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method of CSeq.

        Raises:
            BadMessage: it has none.
        """
        return _cseq(self.headers)


@dataclass(slots=True)
class Response:
    """A response."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @property
    def cseq(self) -> tuple[int, str]:
        """See ``Request.cseq``."""
        return _cseq(self.headers)


Message = Request | Response


def parse(data: bytes) -> Message:
    """A datagram as a message.

    Raises:
        BadMessage: it is none.
    """
    if len(data) > MAX_BYTES:
        raise BadMessage(f"{len(data)} bytes")
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        # Some send bare line feeds, and nobody else means anything by them.
        head, separator, body = data.lstrip(b"\r\n").partition(b"\n\n")
    if not separator:
        raise BadMessage("no empty line behind the headers")
    lines = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    headers = _headers(lines[1:])
    length = headers.get("Content-Length").strip()
    if length:
        if not (length.isascii() and length.isdigit()) or len(length) > 6 or int(length) > len(body):
            raise BadMessage("Content-Length does not fit the body")
        body = body[: int(length)]
    first = lines[0]
    if _CONTROL.search(first) or len(first) > MAX_LINE:
        raise BadMessage("the first line is too long, or has control characters")
    if first.startswith(VERSION + " "):
        status, _, reason = first[len(VERSION) + 1 :].partition(" ")
        if not re.fullmatch(r"[1-6][0-9]{2}", status, re.ASCII):
            raise BadMessage(f"status {status[:20]!r}")
        return Response(int(status), reason, headers, body)
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] != VERSION or not _TOKEN.fullmatch(parts[0]) or not parts[1]:
        raise BadMessage("neither a request nor a response")
    return Request(parts[0], parts[1], headers, body)


def _headers(lines: list[str]) -> Headers:
    unfolded: list[str] = []
    for line in lines:
        if line[:1] in (" ", "\t") and unfolded:
            unfolded[-1] += " " + line.strip(" \t")
        else:
            unfolded.append(line)
        if len(unfolded) > MAX_HEADERS or len(unfolded[-1]) > MAX_LINE:
            raise BadMessage("too many headers, or too long ones")
    headers = Headers()
    for line in unfolded:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise BadMessage(f"header {line[:40]!r}")
        headers.add(_COMPACT.get(name.lower(), name), value.strip(" \t"))
    return headers


def _cseq(headers: Headers) -> tuple[int, str]:
    number, _, method = headers.get("CSeq").partition(" ")
    if not re.fullmatch(r"[0-9]{1,10}", number, re.ASCII) or int(number) >= 1 << 32 or not _TOKEN.fullmatch(method.strip()):
        raise BadMessage("CSeq")
    return int(number), method.strip()


def encode(message: Message) -> bytes:
    """A message as it is sent, with its Content-Length.

    Raises:
        ValueError: a line has a line break in it.
    """
    match message:
        case Request(method=method, uri=uri):
            lines = [f"{method} {uri} {VERSION}"]
        case Response(status=status, reason=reason):
            lines = [f"{VERSION} {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in message.headers if name.lower() != "content-length"]
    lines.append(f"Content-Length: {len(message.body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + message.body


def split(value: str, separator: str) -> list[str]:
    """The parts of a header between separators that stand neither in quotes nor in angle brackets; empty ones left out."""
    parts, quoted, depth, start, i = [], False, 0, 0, 0
    while i < len(value):
        character = value[i]
        if quoted and character == "\\":
            i += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted and character == "<":
            depth += 1
        elif not quoted and character == ">":
            depth = max(0, depth - 1)
        elif not quoted and not depth and character == separator:
            parts.append(value[start:i])
            start = i + 1
        i += 1
    parts.append(value[start:])
    return [part for p in parts if (part := p.strip(" \t"))]


def parameters(parts: Iterable[str]) -> dict[str, str]:
    """``a=b`` by its name in small letters; a parameter without a value has an empty one."""
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        found.setdefault(name.strip().lower(), value.strip())
    return found


@dataclass(frozen=True, slots=True)
class Uri:
    """``sip:user@host:port;parameters``."""

    scheme: str
    user: str
    host: str
    port: int | None
    parameters: dict[str, str] = field(default_factory=dict)


def parse_uri(text: str) -> Uri:
    """A SIP address.

    Raises:
        BadMessage: it is none; ``tel:`` addresses have their number as the user, and no host.
    """
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    address, *given = rest.partition("?")[0].split(";")
    if colon and scheme == "tel" and address:
        return Uri("tel", address, "", None, parameters(given))
    if not colon or scheme not in ("sip", "sips"):
        raise BadMessage(f"address {text[:40]!r}")
    before, at, after = rest.rpartition("@")
    if at:
        address, *given = after.partition("?")[0].split(";")
    host, port = host_and_port(address)
    return Uri(scheme, before.partition(":")[0].partition(";")[0] if at else "", host, port, parameters(given))


def host_and_port(text: str) -> tuple[str, int | None]:
    """``host[:port]``; an IPv6 address stands in brackets, and comes back without them.

    Raises:
        BadMessage: it is neither.
    """
    found = _HOST.match(text)
    rest = text[found.end() :].strip() if found else text
    if found is None or (rest and not re.fullmatch(r":\s*[0-9]{1,5}", rest, re.ASCII)):
        raise BadMessage(f"host {text[:40]!r}")
    port = int(rest[1:]) if rest else None
    if port is not None and not 0 < port < 65_536:
        raise BadMessage(f"port {port}")
    return found[0].strip("[]"), port


@dataclass(frozen=True, slots=True)
class NameAddress:
    """What stands in From, To, Contact, Route: a name perhaps, an address, parameters."""

    uri: str
    parameters: dict[str, str] = field(default_factory=dict)
    name: str = ""


def parse_address(value: str) -> NameAddress:
    """A value of From, To, Contact, Route or Record-Route.

    Raises:
        BadMessage: there is no address in it.
    """
    first, *rest = split(value, ";") or [""]
    if "<" in first:
        name, _, uri = first.rpartition("<")
        uri, closed, _ = uri.partition(">")
        if not closed or not uri.strip():
            raise BadMessage(f"address {value[:40]!r}")
        return NameAddress(uri.strip(), parameters(rest), name.strip().strip('"'))
    if not first or _CONTROL.search(first) or " " in first:
        raise BadMessage(f"address {value[:40]!r}")
    # Without brackets, parameters are the header's.
    return NameAddress(first, parameters(rest))


@dataclass(frozen=True, slots=True)
class Via:
    """One hop."""

    transport: str
    host: str
    port: int | None
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def branch(self) -> str:
        """The transaction's name on this hop."""
        return self.parameters.get("branch", "")


def parse_via(value: str) -> Via:
    """A value of Via.

    Raises:
        BadMessage: it is not as RFC 3261, section 20.42, has it.
    """
    first, *rest = split(value, ";") or [""]
    found = re.fullmatch(r"SIP\s*/\s*2\.0\s*/\s*([A-Za-z0-9-]{1,10})\s+(\S+)", first, re.ASCII | re.IGNORECASE)
    if found is None:
        raise BadMessage(f"Via {value[:40]!r}")
    host, port = host_and_port(found[2])
    return Via(found[1].upper(), host, port, parameters(rest))


def with_received(value: str, host: str, port: int) -> str:
    """The first Via of a request, with where it came from (RFC 3261, section 18.2.1; RFC 3581, section 4)."""
    first, *rest = split(value, ";")
    kept = [p for p in rest if p.partition("=")[0].strip().lower() not in ("received", "rport")]
    if any(p.partition("=")[0].strip().lower() == "rport" for p in rest):
        kept.append(f"rport={port}")
    return ";".join([first, *kept, f"received={host}"])
