"""What every server under test does first: takes its cores, a free port, and says which. Imports nothing heavy."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import socket
from typing import Any


def prepare(arguments: list[str] | None = None) -> tuple[socket.socket, argparse.Namespace]:
    """Pin this process to ``--cpus`` (before anything sizes its thread pools) and listen on a free loopback port."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpus", required=True, help="comma-separated core numbers")
    parser.add_argument("--data-dir", required=True, help="a folder that the server may write to")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {int(core) for core in options.cpus.split(",")})
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener, options


def announce(listener: socket.socket) -> None:
    """Tell the benchmark where to connect; the server may still be loading."""
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)


def add_probe(app: Any) -> None:
    """Let a FastAPI app tell at ``/bench/probe`` what nobody can see from outside: how many tasks its loop holds.

    ``POST /bench/trim`` collects garbage and gives the heap's unused pages back, so that what is resident is in use.
    """
    from fastapi.routing import APIRoute

    async def probe() -> dict[str, int]:
        return {"tasks": len(asyncio.all_tasks())}

    async def trim() -> dict[str, bool]:
        gc.collect()
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        return {"trimmed": give_back is not None and bool(give_back(0))}

    # First, because an app may end its routes with one that takes everything.
    app.router.routes.insert(0, APIRoute("/bench/probe", probe, methods=["GET"]))
    app.router.routes.insert(0, APIRoute("/bench/trim", trim, methods=["POST"]))
