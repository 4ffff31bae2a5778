"""Where the server listens: the address, the port, and who can reach it."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket

from pipeline.settings.load import SettingsError
from pipeline.settings.tree import Settings

BACKLOG = 2048


def resolve(host: str) -> tuple[socket.AddressFamily, str]:
    """The address family and numeric address behind ``host``, IPv4 before IPv6.

    Raises:
        SettingsError: the name is unknown.
    """
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(
            f"server.host: unknown address '{host}'; allowed: an address of this machine, such as 127.0.0.1 or 0.0.0.0"
        ) from None
    family, _, _, _, address = min(found, key=lambda f: f[0] != socket.AF_INET)
    return family, str(address[0])


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the numeric ``address``."""
    return ipaddress.ip_address(address.split("%")[0]).is_loopback


def require_token(settings: Settings) -> None:
    """Refuse an address that others can reach while anybody could use the server.

    Raises:
        SettingsError: with a token that is ready to be used.
    """
    if settings.auth.token is None and not is_loopback(resolve(settings.server.host)[1]):
        raise SettingsError(
            f"server.host {settings.server.host} can be reached by other machines, so auth.token must be set; "
            f"for example: export PARLEY_AUTH__TOKEN={secrets.token_urlsafe(24)}"
        )


def _socket(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        # At once: two sockets that only reuse the address could both be bound, and the loser would learn it too late.
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in it until they are served. ``port`` 0 takes a free one.

    Raises:
        SettingsError: the port is taken (naming the next free one), not permitted, or the address is not this machine's.
    """
    family, address = resolve(host)
    try:
        return _socket(family, address, port)
    except OSError as e:
        match e.errno:
            case errno.EADDRINUSE:
                free = next_free_port(family, address, port)
                hint = f"; port {free} is free: --port {free}" if free is not None else ""
                raise SettingsError(f"server.port: {port} on {host} is taken{hint}") from None
            case errno.EACCES | errno.EPERM:
                raise SettingsError(
                    f"server.port: {port} is not permitted to this user; allowed: 1024 to 65535, or 0 for a free one"
                ) from None
            case errno.EADDRNOTAVAIL:
                raise SettingsError(
                    f"server.host: {host} is no address of this machine; allowed: 127.0.0.1, 0.0.0.0 or one of its addresses"
                ) from None
            case _:
                raise SettingsError(f"server.host: cannot listen on {host} port {port}: {e.strerror}") from None


def next_free_port(family: socket.AddressFamily, address: str, port: int, tries: int = 200) -> int | None:
    """The first port above ``port`` that can be listened on, or ``None`` where the next ``tries`` cannot."""
    for candidate in range(port + 1, min(port + 1 + tries, 65536)):
        try:
            _socket(family, address, candidate).close()
        except OSError:
            continue
        return candidate
    return None


def look_at_door_ports(settings: Settings) -> list[str]:
    """Bind the ports of the telephones' doors that are on, and let them go: what the app would fail on, seen before it starts.

    Returns what was found free: "AudioSocket on 127.0.0.1 port 9092".

    Raises:
        SettingsError: a port is taken or not permitted, or the address is not this machine's.
    """
    phone, free = settings.phone, []
    for name, section, kind, host, port in (
        ("AudioSocket", "phone.audiosocket", socket.SOCK_STREAM, phone.audiosocket.host, phone.audiosocket.port),
        ("SIP", "phone.sip", socket.SOCK_DGRAM, phone.sip.host, phone.sip.port),
    ):
        if port is None:
            continue
        try:
            found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
            with socket.socket(found[0][0], kind) as probe:
                if kind is socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(found[0][4])
                if kind is socket.SOCK_STREAM:
                    probe.listen(1)
        except OSError as e:
            what = f"{section}.host" if isinstance(e, socket.gaierror) or e.errno == errno.EADDRNOTAVAIL else f"{section}.port"
            reason = "is taken" if e.errno == errno.EADDRINUSE else f"cannot be listened on: {(e.strerror or str(e)).lower()}"
            raise SettingsError(f"{what}: {port} on {host} {reason}") from None
        free.append(f"{name} on {host} port {port}")
    return free
