"""Parley with the settings of the benchmarks, and a recogniser that is told what is said. ``python -m bench.oracle_server``."""

from __future__ import annotations

from typing import Any

from bench.subject import add_probe, announce, prepare


def main(*, brief: bool = True) -> None:
    """Serve until a signal; without ``brief`` with answers of six seconds, long enough to be interrupted."""
    listener, where = prepare()
    announce(listener)

    from pipeline.log import import_quietly, setup_logging
    from pipeline.settings.tree import LogSettings

    setup_logging(LogSettings(level="WARNING"))
    import_quietly()

    import uvicorn

    import pipeline.turn_stop
    from bench.fakes import FakeEngine, FakeLLM, FakeTTS
    from bench.oracle import Board, BriefLLM, BriefTTS, OracleSTT, add_oracle
    from bench.oracle_turns import told_turn_stop
    from bench.settings import bench_settings
    from web.app import create_app
    from web.serving import prepare_socket, uvicorn_options

    settings = bench_settings(
        data_dir=where.data_dir,
        server={"host": "127.0.0.1", "port": 0},
        # The machine's load by others is no reason to refuse: the peer does not.
        limits={"max_loop_lag_ms": 0, "max_packet_late_ms": 0},
        tutor={"greet": False},
    )
    board = Board()
    own, told = pipeline.turn_stop.PatientTurnStop, told_turn_stop(board)

    def turn_stop(*arguments: Any, **named: Any) -> Any:
        return (told if board.row == "machine" else own)(*arguments, **named)

    # The call builds its strategy by this name; the row is known when it does.
    setattr(pipeline.turn_stop, "PatientTurnStop", turn_stop)  # noqa: B010
    engines = {
        "stt": FakeEngine("stt", lambda: OracleSTT(board)),
        "llm": FakeEngine("llm", BriefLLM if brief else FakeLLM),
        "tts": FakeEngine("tts", BriefTTS if brief else FakeTTS),
    }
    prepare_socket(listener)
    app = create_app(settings, engines=engines)
    add_probe(app)
    add_oracle(app, board)
    options = uvicorn_options(settings)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_config=None, access_log=False, **options)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
