"""The peer: the smallest stock pipecat bot over SmallWebRTC, as pipecat's own documentation builds it. Frozen.

Silero VAD and smart-turn with their defaults, RTVI on by default, pipecat's request handler, output track and jitter buffer as
they come. ``python -m bench.peers.stock_pipecat``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from bench.subject import add_probe, announce, prepare


def main() -> None:
    """Serve until a signal."""
    listener, _ = prepare()
    announce(listener)

    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="WARNING")

    import uvicorn

    config = uvicorn.Config(make_app(), loop="auto", log_level="warning", timeout_graceful_shutdown=4)
    uvicorn.Server(config).run(sockets=[listener])


def make_app(stages: Callable[[], tuple[Any, Any, Any]] | None = None) -> Any:
    """The bot's FastAPI app: ``POST`` / ``PATCH /api/offer``, and ``/ready`` for the benchmark.

    ``stages`` makes STT, LLM and TTS of one bot; the fakes unless given.
    """
    from fastapi import FastAPI
    from pipecat.audio.vad.silero import SileroVADAnalyzer
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
    from pipecat.transports.base_transport import TransportParams
    from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
    from pipecat.transports.smallwebrtc.request_handler import (
        IceCandidate,
        SmallWebRTCPatchRequest,
        SmallWebRTCRequest,
        SmallWebRTCRequestHandler,
    )
    from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
    from pipecat.workers.runner import WorkerRunner

    from bench.fakes import FakeLLM, FakeSTT, FakeTTS

    make_stages = stages or (lambda: (FakeSTT(), FakeLLM(), FakeTTS()))
    app, handler = FastAPI(), SmallWebRTCRequestHandler()
    bots: set[asyncio.Task[None]] = set()

    async def run_bot(transport: SmallWebRTCTransport) -> None:
        user_params = LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
        aggregators = LLMContextAggregatorPair(LLMContext(), user_params=user_params)
        stt, llm, tts = make_stages()
        chain = [
            transport.input(),
            stt,
            aggregators.user(),
            llm,
            tts,
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

    async def start_bot(connection: SmallWebRTCConnection) -> None:
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        bot = asyncio.create_task(run_bot(SmallWebRTCTransport(webrtc_connection=connection, params=params)))
        bots.add(bot)
        bot.add_done_callback(bots.discard)

    @app.get("/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/api/offer")
    async def offer(body: dict[str, Any]) -> Any:
        return await handler.handle_web_request(SmallWebRTCRequest.from_dict(body), start_bot)

    @app.patch("/api/offer")
    async def patch(body: dict[str, Any]) -> dict[str, str]:
        candidates = [IceCandidate(**candidate) for candidate in body["candidates"]]
        await handler.handle_patch_request(SmallWebRTCPatchRequest(pc_id=body["pc_id"], candidates=candidates))
        return {}

    add_probe(app)
    return app


if __name__ == "__main__":
    main()
