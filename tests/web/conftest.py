"""The web application with its real sessions, store, pipeline and transports; the engines are small stand-ins.

The engines are what these tests are not about: they answer at once, with words and a tone, and need no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from websockets.asyncio.client import ClientConnection, connect

from pipeline.analyst import Analyst
from pipeline.engine import AtCapacity, CallState, EngineStatus
from pipeline.options import OptionName
from pipeline.settings.tree import Settings
from web.app import create_app
from web.serving import prepare_socket, uvicorn_options
from web.state import WebState

LIVENESS_S = 20.0


class Ears(FrameProcessor):
    """Hears nothing, and counts the audio that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_bytes = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if hasattr(frame, "audio") and direction is FrameDirection.DOWNSTREAM:
            self.audio_bytes += len(frame.audio)
        await self.push_frame(frame, direction)


class Mind(FrameProcessor):
    """Answers every turn with a numbered sentence."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            said = sum(m.get("role") == "user" for m in frame.context.messages)
            await self.push_frame(LLMFullResponseStartFrame())
            for word in ("Answer ", f"{said}."):
                await self.push_frame(LLMTextFrame(word))
            await self.push_frame(LLMFullResponseEndFrame())
        else:
            await self.push_frame(frame, direction)


class Mouth(FrameProcessor):
    """Speaks every reply as a tone of ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._numbers = itertools.count()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, LLMFullResponseEndFrame):
            name = f"utterance-{next(self._numbers)}"
            t = np.arange(int(self._seconds * 24_000)) / 24_000
            tone = (8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16).tobytes()
            await self.push_frame(TTSStartedFrame(context_id=name))
            await self.push_frame(TTSAudioRawFrame(audio=tone, sample_rate=24_000, num_channels=1, context_id=name))
            await self.push_frame(TTSStoppedFrame(context_id=name))


class NeverStarted(Analyst):
    """Makes reports without the process that has the word lists, which takes longer to start than most tests."""

    async def start(self) -> None:
        pass


class StandIn:
    """An engine of the processors above. ``full`` refuses, ``broken`` fails to build, ``hold`` delays loading."""

    def __init__(self, stage: Literal["stt", "llm", "tts"], make: Callable[[], FrameProcessor]) -> None:
        self.name = f"stand-in {stage}"
        self.stage: Literal["stt", "llm", "tts"] = stage
        self.honours: frozenset[OptionName] = frozenset()
        self.full = False
        self.broken = False
        self.load_error: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.made: list[Any] = []
        self.calls: list[CallState] = []
        self.loads = self.closes = 0
        self._make = make

    async def load(self) -> None:
        self.loads += 1
        await self.hold.wait()
        if self.load_error is not None:
            raise self.load_error

    async def close(self) -> None:
        self.closes += 1

    def status(self) -> EngineStatus:
        return EngineStatus(self.name, self.stage, "ready", {"made": len(self.made)})

    def admit(self) -> None:
        if self.full:
            raise AtCapacity(f"the {self.stage} engine is busy", retry_after_s=7)

    def create(self, call: CallState) -> FrameProcessor:
        if self.broken:
            raise RuntimeError("it broke")
        self.made.append(self._make())
        self.calls.append(call)
        processor: FrameProcessor = self.made[-1]
        return processor


def stand_ins(speech_s: float = 0.3) -> dict[str, StandIn]:
    return {"stt": StandIn("stt", Ears), "llm": StandIn("llm", Mind), "tts": StandIn("tts", lambda: Mouth(speech_s))}


@pytest.fixture
def make_engines() -> Callable[[], dict[str, StandIn]]:
    """Stand-in engines by stage, for a test that changes them before the server starts."""
    return stand_ins


def merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **base,
        **{k: {**base[k], **v} if isinstance(base.get(k), dict) and isinstance(v, Mapping) else v for k, v in over.items()},
    }


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings for a test: state in its own folder, and a session rate that is not in the way."""

    def make(**overrides: Any) -> Settings:
        base = {
            "data_dir": tmp_path / "data",
            "server": {"session_rate_per_minute": 10_000},
            "session": {"resume_for_s": 20.0},
            # How late this machine's timers are is not what most tests are about.
            "limits": {"max_loop_lag_ms": 0, "max_packet_late_ms": 0},
        }
        return Settings.model_validate(merged(base, overrides))

    return make


class Chat:
    """A WebSocket client with waits that fail with what was seen."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self.audio = bytearray()
        self.kinds: list[str] = []
        """Types in order; runs of audio count once."""

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        await self.socket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def next(self) -> dict[str, Any]:
        """The next JSON message; audio on the way is kept."""
        while True:
            data = await asyncio.wait_for(self.socket.recv(), LIVENESS_S)
            if isinstance(data, bytes):
                self.audio += data
                if self.kinds[-1:] != ["audio"]:
                    self.kinds.append("audio")
                continue
            message: dict[str, Any] = json.loads(data)
            self.kinds.append(message["type"])
            self.seen.append(message)
            return message

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while True:
                    message = await self.next()
                    if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
                        return message
        except TimeoutError:
            raise AssertionError(f"no {kind} {fields}; saw {self.seen[-20:]}") from None

    async def closed(self) -> tuple[int | None, str]:
        """Read to the end; the close code and reason."""
        with contextlib.suppress(Exception):
            while True:
                await self.next()
        await asyncio.wait_for(self.socket.wait_closed(), LIVENESS_S)
        return self.socket.close_code, self.socket.close_reason or ""


@dataclass
class Running:
    """A server in this process, on a port of its own."""

    app: FastAPI
    engines: dict[str, StandIn]
    port: int
    server: uvicorn.Server
    task: asyncio.Task[None]

    @property
    def state(self) -> WebState:
        state: WebState = self.app.state.parley
        return state

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def chat(self, query: str = "", *, hello: bool = True, **options: Any) -> AsyncIterator[Chat]:
        async with connect(
            f"ws://127.0.0.1:{self.port}/ws/conversation{query}", max_size=None, max_queue=None, **options
        ) as ws:
            chat = Chat(ws)
            if hello:
                assert (await chat.next())["type"] == "connected"
            yield chat

    def http(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=LIVENESS_S, trust_env=False, **options)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time") from None

    async def stop(self) -> None:
        self.server.should_exit = True
        await asyncio.wait_for(asyncio.shield(self.task), LIVENESS_S)


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Serve]:
    """``await serve(server={...}, limits={...})``: a running server with those settings, ready for calls.

    Its reports are made without word lists unless ``word_lists`` is set.
    """
    servers: list[Running] = []

    async def start(
        *,
        engines: dict[str, StandIn] | None = None,
        speech_s: float = 0.3,
        ready: bool = True,
        page_dir: Path | None = None,
        processes: dict[str, Any] | None = None,
        word_lists: bool = False,
        **overrides: Any,
    ) -> Running:
        settings, engines = make_settings(engines=processes or {}, **overrides), engines or stand_ins(speech_s)
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        prepare_socket(listening)
        app = create_app(settings, engines=engines, page_dir=page_dir or tmp_path / "no page")
        if not word_lists:
            app.state.parley.sessions.analyst = NeverStarted()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, **uvicorn_options(settings)))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        running = Running(app, engines, listening.getsockname()[1], server, task)
        servers.append(running)
        await running.until(lambda: server.started or task.done(), "the server starts")
        if ready:
            await running.until(lambda: running.state.ready or running.state.load_error, "the server is ready")
            assert running.state.load_error is None, running.state.load_error
        return running

    yield start
    for running in servers:
        await running.stop()
