"""The peer with the faulty fakes: the stock bot of ``stock_pipecat``, one call at a time.

``python -m bench.peers.faulty_stock_pipecat``."""

from __future__ import annotations

import sys

from bench.subject import announce, prepare


def main() -> None:
    """Serve until a signal."""
    listener, _ = prepare()
    announce(listener)

    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="CRITICAL")

    import uvicorn

    from bench.faulty import Board, FaultyLLM, FaultySTT, FaultyTTS
    from bench.faulty_server import add_switch
    from bench.peers.stock_pipecat import make_app
    from pipeline.engine import CallState

    board = Board()
    call = CallState("", "beginner", "")  # its bots have no session: the faults are put under the empty name
    app = make_app(lambda: (FaultySTT(board, call), FaultyLLM(board, call), FaultyTTS(board, call)))
    add_switch(app, board)
    config = uvicorn.Config(app, loop="auto", log_level="critical", timeout_graceful_shutdown=4)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
