"""Whose requests are answered: the ``Host`` and ``Origin`` of a request, judged without I/O.

A page anywhere on the web can make its visitor's browser connect to ``ws://127.0.0.1``; the browser then names the page in
``Origin``. With DNS rebinding the page's own name resolves to this machine; the browser then names that name in ``Host``. So a
request must name this server in ``Host`` and, where it names an origin at all, its own or an allowed one. An address literal
cannot be rebound, because no name is resolved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})
LOOPBACK_NAMES = frozenset({"localhost"})


class HostPort(NamedTuple):
    """A ``Host`` header taken apart: the name in lower case or the address in its canonical form, and the port if named."""

    host: str
    port: int | None


def parse_host(header: str) -> HostPort | None:
    """Read a ``Host`` header; ``None`` where it is malformed."""
    text = header.strip().lower()
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return None
        host, port_text, has_port = address, rest[1:], bool(rest)
        try:
            if ipaddress.ip_address(host).version != 6:
                return None
        except ValueError:
            return None
    else:
        host, colon, port_text = text.partition(":")
        has_port = bool(colon)
        if not _NAME.fullmatch(host):
            return None
    port: int | None = None
    if has_port:
        if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 0 < int(port_text) < 65536):
            return None
        port = int(port_text)
    return HostPort(canonical(host), port)


def canonical(host: str) -> str:
    """A host name or address in the form in which two are compared."""
    host = host.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Which hosts a request may name. ``names`` are canonical; ``any_address`` admits every address literal."""

    names: frozenset[str]
    any_address: bool = False

    def allows(self, header: str | None) -> bool:
        """Whether a request with this ``Host`` header is meant for this server."""
        parsed = parse_host(header) if header else None
        if parsed is None:
            return False
        if parsed.host in self.names or parsed.host.endswith(".localhost"):
            return True
        address = _address(parsed.host)
        return address is not None and (self.any_address or address.is_loopback)


def host_policy(bind_host: str, machine_names: Iterable[str] = (), allowed: Iterable[str] = ()) -> HostPolicy:
    """The policy of a server bound to ``bind_host``.

    A wildcard bind is reachable by every address of the machine, and of whatever forwards to it (a container's host), so any
    address literal will do. Names are always listed one by one.
    """
    names = LOOPBACK_NAMES | {canonical(n) for n in machine_names if n} | {canonical(n) for n in allowed if n}
    wildcard = bind_host in _WILDCARDS
    if not wildcard:
        names |= {canonical(bind_host)}
    return HostPolicy(frozenset(names), any_address=wildcard)


class Origin(NamedTuple):
    """An ``Origin`` header taken apart, its port filled in."""

    scheme: str
    host: str
    port: int


def parse_origin(header: str) -> Origin | None:
    """Read an ``Origin`` header (``scheme://host[:port]``); ``None`` where malformed, opaque (``null``) or not http(s)."""
    try:
        parts = urlsplit(header.strip())
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    parsed = parse_host(parts.netloc)
    if parsed is None:
        return None
    return Origin(parts.scheme, parsed.host, parsed.port or _DEFAULT_PORTS[parts.scheme])


def origin_allowed(origin: str | None, *, scheme: str, host: str, allowed: frozenset[Origin] = frozenset()) -> bool:
    """Whether a request may come from the page at ``origin``.

    ``scheme`` and ``host`` are the request's own (``ws`` counts as ``http``, ``wss`` as ``https``). Without an ``Origin`` no
    page is involved: browsers send it with every WebSocket and every request that changes state.
    """
    if origin is None:
        return True
    theirs, ours = parse_origin(origin), parse_host(host)
    if theirs is None or ours is None:
        return False
    own_scheme = "https" if scheme in ("https", "wss") else "http"
    return theirs in allowed or theirs == Origin(own_scheme, ours.host, ours.port or _DEFAULT_PORTS[own_scheme])


def parse_allowed_origins(origins: Iterable[str]) -> frozenset[Origin]:
    """The origins of the settings.

    Raises:
        ValueError: naming the entry that is not ``http(s)://host[:port]``.
    """
    parsed = set()
    for text in origins:
        origin = parse_origin(text.rstrip("/"))
        if origin is None:
            raise ValueError(f"server.allowed_origins: {text!r} is not an origin (http://host[:port] or https://host[:port])")
        parsed.add(origin)
    return frozenset(parsed)
