"""Parley as shipped, with the engines of ``bench.net_stages``. ``python -m bench.net_server``."""

from __future__ import annotations

from bench.subject import announce, prepare


def main() -> None:
    """Serve until a signal."""
    listener, where = prepare()
    announce(listener)

    from pipeline.log import import_quietly, setup_logging
    from pipeline.settings.tree import LogSettings

    setup_logging(LogSettings(level="ERROR"))
    import_quietly()

    import uvicorn

    from bench.net_stages import Board, add_board, net_engines
    from bench.settings import bench_settings
    from web.app import create_app
    from web.serving import prepare_socket, uvicorn_options

    settings = bench_settings(
        data_dir=where.data_dir,
        server={"host": "127.0.0.1", "port": 0, "session_rate_per_minute": 100_000},
        limits={"max_calls": 1_000, "max_loop_lag_ms": 0, "max_packet_late_ms": 0},
        tutor={"greet": False},
    )
    prepare_socket(listener)
    board = Board()
    app = create_app(settings, engines=net_engines(board))
    add_board(app, board)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_config=None, access_log=False, **uvicorn_options(settings)
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
