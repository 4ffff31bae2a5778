"""One worker process and the socket to it. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from multiprocessing import forkserver, process, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from loguru import logger

from pipeline.stt import sphinx_worker
from pipeline.stt.sphinx_wire import Kind, pack, unpack

_READ_BYTES = 1 << 16
_END_TIMEOUT_S = 2.0
# The path of a Unix socket is limited: 107 bytes on Linux, 103 elsewhere.
_MAX_SOCKET_PATH_BYTES = 103
_SOCKET_NAME_BYTES = len("/listener-12345678")

OnMessage = Callable[["WorkerLink", Kind, int, bytes], None]
OnGone = Callable[["WorkerLink"], None]


def forkserver_context() -> ForkServerContext:
    """Workers are forked from multiprocessing's fork server, which loads the models once, if it was not started before.

    Python 3.11's fork server does not get this program's ``sys.path``: where this package is neither installed nor in the
    working directory, each worker loads the models itself (``preloaded`` in the pool's status is false then).

    The fork server belongs to the whole program, not to a pool: ``end_fork_server`` ends it.
    """
    _keep_socket_path_short()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.stt.sphinx_preload"])
    return context


def _keep_socket_path_short() -> None:
    """Give multiprocessing a folder where the fork server's socket can be, if ``TMPDIR`` is too long a path for one below it.

    Python 3.11 puts the socket below ``TMPDIR`` whatever the length, and binding it then fails. Where no shorter place can be
    written to, nothing is changed.
    """
    config = process.current_process()._config  # type: ignore[attr-defined]
    folder = config.get("tempdir") or os.path.join(tempfile.gettempdir(), "pymp-12345678")  # noqa: PTH118
    if len(os.fsencode(folder)) + _SOCKET_NAME_BYTES <= _MAX_SOCKET_PATH_BYTES:
        return
    for place in ("/tmp", "/var/tmp"):
        with contextlib.suppress(OSError):
            folder = tempfile.mkdtemp(prefix="pymp-", dir=place)
            # As late as multiprocessing removes the one that it would have made.
            util.Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)
            config["tempdir"] = folder
            return


_running: set[WorkerLink] = set()


def end_fork_server() -> None:
    """End the fork server, with the models that it holds, unless it has workers; the next worker starts it anew. Blocks."""
    if not _running:
        # There is no public way; the models (100 MB and more) would stay in memory for as long as the program runs.
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


class WorkerLink:
    """A worker from its start to its end. ``on_message`` and ``on_gone`` are called on the event loop."""

    def __init__(self, worker: int, executor: Executor, on_message: OnMessage, on_gone: OnGone) -> None:
        self.worker = worker
        self._executor = executor
        self._on_message = on_message
        self._on_gone = on_gone
        self._process: BaseProcess | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ended = False
        self.ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The worker's process id, once it runs."""
        return self._process.pid if self._process else None

    async def start(self, context: ForkServerContext) -> None:
        """Start the process. It says ``READY`` when its models are loaded.

        Raises:
            OSError: it cannot be started.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        _running.add(self)
        try:
            process = context.Process(target=sphinx_worker.run, args=(theirs,), name=f"sphinx-{self.worker}", daemon=True)
            self._process = process
            starting = loop.run_in_executor(self._executor, process.start)
            try:
                await asyncio.shield(starting)
            except asyncio.CancelledError:
                await asyncio.wait({starting})  # it needs the sockets, and must be known to be ended
                raise
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._reading = asyncio.create_task(self._read(reader), name=f"sphinx-{self.worker}-read")

    def send(self, kind: Kind, utterance: int, body: bytes | dict[str, Any] = b"") -> None:
        """Queue a message to the worker; one to a worker that is gone is lost."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(pack(kind, utterance, body))

    def kill(self) -> None:
        """End the process at once. ``end`` must still be awaited."""
        if self._process is not None and self._process.pid is not None:
            with contextlib.suppress(ValueError, OSError):
                self._process.kill()

    async def end(self) -> None:
        """Close the socket, which ends the worker, and wait until it has; after 2 s it is killed. Safe to call twice."""
        if self._ended:
            return
        self._ended = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._writer is not None:
            self._writer.transport.abort()
        if self._process is not None and self._process.pid is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, _reap, self._process)
        _running.discard(self)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                buffer += data
                while message := unpack(buffer):
                    self._on_message(self, *message)
        self.ready.set()  # nobody need wait for it
        self._on_gone(self)


def _reap(process: BaseProcess) -> None:
    process.join(_END_TIMEOUT_S)
    if process.is_alive():
        logger.warning("recogniser worker {} did not end by itself", process.pid)
        process.kill()
        process.join(_END_TIMEOUT_S)
    with contextlib.suppress(ValueError):
        process.close()
