"""uvicorn with an end that is orderly, bounded in time, and can be cut short."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from types import FrameType

import psutil
import uvicorn
from loguru import logger

DRAIN_S = 8.0
HARD_LIMIT_S = 25.0


class Server(uvicorn.Server):
    """Calls ``on_listening`` once requests are answered and ``drain`` before connections are closed.

    The first SIGINT or SIGTERM ends it in order: no new connections, calls end with their report (``drain``, at most
    ``DRAIN_S``), connections are closed, the app releases what it holds; after ``HARD_LIMIT_S`` the process
    ends whatever it does. A second signal ends the process and its workers at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_listening: Callable[[], None],
        drain: Callable[[], Awaitable[object]],
    ) -> None:
        super().__init__(config)
        self._on_listening = on_listening
        self._drain = drain
        self._watchdog: threading.Timer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        try:
            await asyncio.wait_for(self._drain(), DRAIN_S)
        except TimeoutError:
            logger.warning("calls did not end within {} s", DRAIN_S)
        except Exception:
            logger.exception("ending the calls failed")
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but an orderly end is a success: the signal is not raised again afterwards."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._watchdog is not None:
                self._watchdog.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the orderly end, or cut it short the second time."""
        if self.should_exit:
            end_at_once(128 + sig)
        self.should_exit = True
        self._watchdog = threading.Timer(HARD_LIMIT_S, end_at_once, [1])
        self._watchdog.daemon = True
        self._watchdog.start()


def end_at_once(code: int) -> None:
    """End this process and the processes that it started, without further ado."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(code)
