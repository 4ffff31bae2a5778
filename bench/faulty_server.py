"""Parley as shipped, with the faulty fakes for engines: ``python -m bench.faulty_server``.

``POST /bench/fault?session=ID&fault=NAME`` switches a fault on; without ``fault`` it switches all off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.subject import add_probe, announce, prepare


def main(*additions: Callable[[Any], None]) -> None:
    """Serve until a signal; ``additions`` are given the app. ``PARLEY_…`` settings of the environment hold, but for those of
    the benchmark.
    """
    listener, where = prepare()
    announce(listener)

    from pipeline.log import import_quietly, setup_logging
    from pipeline.settings.load import load_settings
    from pipeline.settings.tree import LogSettings

    setup_logging(LogSettings(level="ERROR"))
    import_quietly()

    import uvicorn

    from bench.faulty import Board, faulty_engines
    from web.app import create_app
    from web.serving import prepare_socket, uvicorn_options

    os.environ |= {
        "PARLEY_DATA_DIR": str(Path(where.data_dir)),
        "PARLEY_SERVER__SESSION_RATE_PER_MINUTE": "100000",
        "PARLEY_LIMITS__MAX_CALLS": "1000",
        "PARLEY_LIMITS__MAX_LOOP_LAG_MS": "0",
        "PARLEY_LIMITS__MAX_PACKET_LATE_MS": "0",
        "PARLEY_TUTOR__GREET": "false",
    }
    settings = load_settings(None)
    prepare_socket(listener)
    board = Board()
    app = create_app(settings, engines=faulty_engines(board))
    add_probe(app)
    add_switch(app, board)
    for add in additions:
        add(app)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_config=None, access_log=False, **uvicorn_options(settings)
    )
    uvicorn.Server(config).run(sockets=[listener])


def add_switch(app: Any, board: Any) -> None:
    """The route that puts faults on the board."""
    from fastapi import HTTPException
    from fastapi.routing import APIRoute

    async def switch(session: str, fault: str | None = None) -> dict[str, str | None]:
        try:
            board.put(session, fault)
        except ValueError as e:
            raise HTTPException(422, str(e)) from None
        return {"session": session, "fault": fault}

    app.router.routes.insert(0, APIRoute("/bench/fault", switch, methods=["POST"]))


if __name__ == "__main__":
    main()
