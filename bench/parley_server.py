"""Parley with the settings of the benchmarks, the fakes for engines and a tutor that does not speak first.

``python -m bench.parley_server``.
"""

from __future__ import annotations

from typing import Any

from bench.subject import add_probe, announce, prepare


def main(*, fakes: bool = True, **turns: Any) -> None:
    """Serve until a signal; without ``fakes`` with the engines of the settings. ``turns`` overrides that section's."""
    listener, where = prepare()
    announce(listener)

    from pipeline.log import import_quietly, setup_logging
    from pipeline.settings.tree import LogSettings

    setup_logging(LogSettings(level="WARNING"))
    import_quietly()

    import uvicorn

    from bench.fakes import fake_engines
    from bench.settings import bench_settings
    from web.app import create_app
    from web.serving import prepare_socket, uvicorn_options

    settings = bench_settings(
        data_dir=where.data_dir,
        server={"host": "127.0.0.1", "port": 0, "session_rate_per_minute": 100_000},
        limits={"max_calls": 1_000, "max_loop_lag_ms": 0, "max_packet_late_ms": 0},  # as many as the peer takes
        tutor={"greet": False},
        turns=turns,
    )
    prepare_socket(listener)
    app = create_app(settings, engines=fake_engines() if fakes else None)
    add_probe(app)
    options = uvicorn_options(settings)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_config=None, access_log=False, **options)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
