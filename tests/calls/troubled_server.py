"""The faulty server, on a machine in trouble: ``python -m tests.calls.troubled_server``.

``POST /trouble/stall?seconds=S``: the event loop stands still. ``POST /trouble/clock?by=S``: the wall clock is set, by so much
against the true one. ``POST /trouble/disk?bytes=N``: no file can be written beyond its first N bytes; without N, all can.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from bench import faulty_server


def add_troubles(app: Any) -> None:
    """The routes that make trouble."""
    from fastapi.routing import APIRoute

    true_time = time.time

    async def stall(seconds: float) -> dict[str, float]:
        time.sleep(seconds)  # noqa: ASYNC251 - this is what it is for
        return {"seconds": seconds}

    async def clock(by: float) -> dict[str, float]:
        time.time = lambda: true_time() + by
        return {"by": by}

    async def disk(bytes: int | None = None) -> dict[str, int | None]:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if bytes is None else bytes, hard))
        return {"bytes": bytes}

    for route in (stall, clock, disk):
        app.router.routes.insert(0, APIRoute(f"/trouble/{route.__name__}", route, methods=["POST"]))


if __name__ == "__main__":
    faulty_server.main(add_troubles)
