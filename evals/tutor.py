"""The tutor alone, in writing: the LLM stage of the settings behind pipecat's eval transport.

``python -m evals.tutor --port PORT [--config FILE] [--runner-body FILE]``; the body is JSON with ``level`` and ``lesson``. What
a call does besides (voices, turns, faults) has tests of its own; here a model is judged by what it says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.evals.transport import EvalTransportParams
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.runner.types import WebSocketRunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.workers.runner import WorkerRunner

from pipeline.engine import CallState, Engine
from pipeline.engine_manager.launch import with_addresses
from pipeline.registry import make_engine
from pipeline.settings.load import load_settings


async def converse(engine: Engine, websocket: WebSocket, body: dict[str, Any]) -> None:
    """One conversation with the harness, from its connection to its end."""
    arguments = WebSocketRunnerArguments(websocket=websocket)
    transport: Any = await create_transport(arguments, {"eval": EvalTransportParams})
    call = CallState("eval", body.get("level", "beginner"), body.get("lesson", "introductions"))
    context = LLMContext()
    pair = LLMContextAggregatorPair(context)
    stage = engine.create(call)
    worker = PipelineWorker(
        Pipeline([transport.input(), pair.user(), stage, transport.output(), pair.assistant()]),
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )

    @worker.rtvi.event_handler("on_client_ready")
    async def greet(_rtvi: Any) -> None:
        if body.get("greet", True):
            await worker.queue_frame(LLMRunFrame())

    @transport.event_handler("on_client_disconnected")
    async def leave(_transport: Any, _websocket: Any) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    await runner.run()


def make_app(engine: Engine, body: dict[str, Any]) -> FastAPI:
    """The server that the harness connects to."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await engine.load()
        yield
        await engine.close()

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def eval_session(websocket: WebSocket) -> None:
        await websocket.accept()
        await converse(engine, websocket, body)

    return app


def main() -> None:
    """Serve until the harness ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--runner-body", type=Path)
    wanted = parser.parse_args()
    body = json.loads(wanted.runner_body.read_text(encoding="utf-8")) if wanted.runner_body else {}
    # Engines that a configuration would start must run already; only their addresses are taken from it.
    settings = with_addresses(load_settings(wanted.config))
    app = make_app(make_engine("llm", settings.llm.engine, settings), body)
    uvicorn.run(app, host="localhost", port=wanted.port, log_level="warning")


if __name__ == "__main__":
    main()
