"""The peer with the engines of ``bench.net_stages``. ``python -m bench.peers.net_stock_pipecat``."""

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

    from bench.fakes import FakeTTS
    from bench.net_stages import Board, KeepingSTT, add_board
    from bench.oracle import BriefLLM
    from bench.peers.stock_pipecat import make_app

    board = Board()
    app = make_app(lambda: (KeepingSTT(board), BriefLLM(), FakeTTS()))
    add_board(app, board)
    config = uvicorn.Config(app, loop="auto", log_level="critical", timeout_graceful_shutdown=4)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
