"""The stock pipecat bot behind a WebSocket, as pipecat's own documentation builds it: ``/ws``, protobuf frames. Frozen.

The same bot as ``bench.peers.stock_pipecat``, with its stand-ins for engines. ``python -m bench.peers.abuse_stock_pipecat``.
"""

from __future__ import annotations

import sys
from typing import Any

from bench.subject import add_probe, announce, prepare


def main() -> None:
    """Serve until a signal."""
    listener, _ = prepare()
    announce(listener)

    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="ERROR")

    import uvicorn

    config = uvicorn.Config(make_app(), loop="auto", log_level="error", timeout_graceful_shutdown=4)
    uvicorn.Server(config).run(sockets=[listener])


def make_app() -> Any:
    """The bot's FastAPI app: ``/ws``, and ``/ready`` for the benchmark."""
    from fastapi import FastAPI
    from pipecat.audio.vad.silero import SileroVADAnalyzer
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
    from pipecat.serializers.protobuf import ProtobufFrameSerializer
    from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
    from pipecat.workers.runner import WorkerRunner
    from starlette.websockets import WebSocket

    from bench.fakes import FakeLLM, FakeSTT, FakeTTS

    app = FastAPI()

    async def bot(websocket: WebSocket) -> None:
        await websocket.accept()
        transport = FastAPIWebsocketTransport(
            websocket=websocket,
            params=FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=ProtobufFrameSerializer()),
        )
        user_params = LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
        aggregators = LLMContextAggregatorPair(LLMContext(), user_params=user_params)
        chain = [
            transport.input(),
            FakeSTT(),
            aggregators.user(),
            FakeLLM(),
            FakeTTS(),
            transport.output(),
            aggregators.assistant(),
        ]
        worker = PipelineWorker(Pipeline(chain), params=PipelineParams())

        async def hung_up(_transport: Any, _client: Any) -> None:
            await worker.cancel()

        transport.add_event_handler("on_client_disconnected", hung_up)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    app.router.add_websocket_route("/ws", bot)

    @app.get("/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    add_probe(app)
    return app


if __name__ == "__main__":
    main()
