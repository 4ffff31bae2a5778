"""A front-end process. The step process starts it and says on the first line of its input what it is; when that input ends, it
ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from importlib import import_module
from typing import Any

from aiohttp import web

from engines.kyutai.front.app import Keys, make_app
from engines.kyutai.front.hub import Hub
from engines.kyutai.link.channel import Descriptors, End

CLOSE_WITHIN_S = 2.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # The step process ends it, in good order.
        signal.signal(number, signal.SIG_IGN)
    spec = json.loads(_line(sys.stdin.fileno()))
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s front {spec['index']} %(levelname)s %(message)s")
    asyncio.run(_serve(spec))


async def _serve(spec: dict[str, Any]) -> None:
    hub = Hub(End(Descriptors(**spec["channel"]), engine=False))
    # A door is imported by name, so that one engine's front-end does not load the other's codecs.
    door = import_module(f"engines.kyutai.front.{spec['door']}").make_door(hub, Keys(spec["keys"]), spec)
    app = make_app(hub, door)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=CLOSE_WITHIN_S)
    await runner.setup()
    listener = socket.socket(fileno=spec["listener"])
    await web.SockSite(runner, listener).start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _watch, ended)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    hub.stop("the server stops")
    await runner.cleanup()
    hub.close()


def _watch(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        ended.set()


def _line(fd: int) -> bytes:
    """The first line of this descriptor, and not a byte more."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            raise SystemExit("front-end: it is started by the engine's own process only")
        line += byte
    return bytes(line)


if __name__ == "__main__":
    main()
