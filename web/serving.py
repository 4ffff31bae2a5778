"""How uvicorn must be set for this app: limits that lie below what the app can see."""

from __future__ import annotations

import socket
from typing import Any

from pipeline.settings.tree import Settings
from web.paced_socket import PacedProtocol

HARD_LIMIT_FACTOR = 16
"""A message over ``limits.ws_max_message_bytes`` is answered with an error and close 1009. One of over this many times as much
is not even read to its end: the protocol closes 1009 at once."""
STALLED_PEER_MS = 15_000


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of ``uvicorn.Config`` that belong to the app, whoever starts the server."""
    return {
        "ws": PacedProtocol,
        "ws_max_size": settings.limits.ws_max_message_bytes * HARD_LIMIT_FACTOR,
        # Audio does not shrink, and a small compressed message could unpack to a thousand times its size.
        "ws_per_message_deflate": False,
        # A peer that vanished without a word is noticed by pings, not by silence: a client may be silent.
        "ws_ping_interval": settings.session.detach_after_s / 2,
        "ws_ping_timeout": settings.session.detach_after_s,
        "server_header": False,
        # The scheme and the client's address come from a proxy's headers only where the proxy runs on this machine.
        "proxy_headers": True,
        "timeout_graceful_shutdown": 5,
    }


def prepare_socket(listening: socket.socket) -> None:
    """Make the kernel drop a peer that takes no data for ``STALLED_PEER_MS`` (inherited by accepted sockets; Linux only)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, option, STALLED_PEER_MS)
