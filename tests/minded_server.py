"""A real server whose tutor is a stand-in for a language model's server: one server a module, one model a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.pipeline.llm.fake_vllm import FakeVLLM, kept_port, serving
from tests.running_server import RunningServer


@pytest.fixture(scope="module")
def address() -> Iterator[socket.socket]:
    """Where each test's ``mind`` listens."""
    with kept_port() as listening:
        yield listening


@pytest.fixture
async def mind(address: socket.socket) -> AsyncIterator[FakeVLLM]:
    """A language model's server that does as the test says."""
    async with serving(at=address) as fake:
        yield fake


def minded(address: socket.socket, make: Callable[..., RunningServer], **env: str) -> RunningServer:
    """A server made by ``module_server`` whose tutor is what listens at ``address``. Lost calls do not wait for long."""

    async def start() -> RunningServer:
        async with serving(at=address) as fake:
            settings = {
                "PARLEY_LLM__ENGINE": "vllm",
                "PARLEY_LLM__VLLM__URL": fake.url,
                "PARLEY_SERVER__SESSION_RATE_PER_MINUTE": "10000",
                "PARLEY_SESSION__RESUME_FOR_S": "1",
            }
            return await asyncio.to_thread(make, **settings, **env)

    return asyncio.run(start())


@asynccontextmanager
async def left_empty(server: RunningServer) -> AsyncIterator[RunningServer]:
    """The server for one test, whose calls then end: they would ask the next test's model."""
    yield server

    def empty() -> bool:
        status = server.get("/status")
        return not status["active_calls"] and not status["detached_calls"]

    await asyncio.to_thread(server.wait_for, empty, "every call ends", 60)
