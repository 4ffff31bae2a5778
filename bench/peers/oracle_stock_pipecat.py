"""The peer with a recogniser that is told what is said: the stock bot of ``stock_pipecat``.

In the machine row its turn stop is told, too. ``python -m bench.peers.oracle_stock_pipecat``.
"""

from __future__ import annotations

import sys
from typing import Any

from bench.subject import announce, prepare


def main() -> None:
    """Serve until a signal."""
    listener, _ = prepare()
    announce(listener)

    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="WARNING")

    import uvicorn
    from pipecat.processors.aggregators import llm_response_universal as aggregators
    from pipecat.turns.user_turn_strategies import UserTurnStrategies

    from bench.oracle import Board, BriefLLM, BriefTTS, OracleSTT, add_oracle
    from bench.oracle_turns import StockToldStop
    from bench.peers.stock_pipecat import make_app

    board, stock_params = Board(), aggregators.LLMUserAggregatorParams

    def user_params(**named: Any) -> Any:
        if board.row == "machine":
            named["user_turn_strategies"] = UserTurnStrategies(stop=[StockToldStop(board)])
        return stock_params(**named)

    # The bot's file is frozen: it finds its strategies by this name when it is made.
    setattr(aggregators, "LLMUserAggregatorParams", user_params)  # noqa: B010
    app = make_app(lambda: (OracleSTT(board), BriefLLM(), BriefTTS()))
    add_oracle(app, board)
    config = uvicorn.Config(app, loop="auto", log_level="warning", timeout_graceful_shutdown=4)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
