"""Learners with real (synthetic) voices, over either door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.running_server import module_server, own_server, server  # noqa: F401  (fixtures)
from web.talk.client import Server, TalkClient
from web.talk.rtc_client import RTCClient
from web.talk.wavs import read_wav
from web.talk.ws_client import WSClient


@pytest.fixture(scope="session")
def server_env() -> dict[str, str]:
    """A tutor who talks as fast as can still be interrupted: most tests wait until it has spoken."""
    return {"PARLEY_TTS__ESPEAK__RATE_WPM": "250"}


class Learner:
    """A client with everything it received, in order, and waits that fail with what was seen."""

    def __init__(self, client: TalkClient, flite_wav: Callable[..., Path]) -> None:
        self.client = client
        self.messages: list[dict[str, Any]] = []
        self.times: list[float] = []
        self._flite_wav = flite_wav
        self._read_to = 0

    async def say(self, text: str, *, wait: bool = True, voice: str = "slt") -> Any:
        return await self.play(self._flite_wav(text, voice), wait=wait)

    async def play(self, wav: Path, *, wait: bool = True) -> Any:
        utterance = self.client.microphone.say(read_wav(wav, self.client.microphone.rate_hz))
        if wait:
            await asyncio.wait_for(utterance.done.wait(), 60)
        return utterance

    async def until(self, kind: str, timeout_s: float = 30, **fields: Any) -> dict[str, Any]:
        """The next message of ``kind`` whose ``fields`` match; earlier ones are passed over and kept in ``messages``."""
        deadline = time.monotonic() + timeout_s
        while True:
            while self._read_to < len(self.messages):
                message = self.messages[self._read_to]
                self._read_to += 1
                if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
                    return message
            remaining = deadline - time.monotonic()
            item = await self.client.receive(max(0.01, remaining)) if remaining > 0 else None
            if item is None:
                raise AssertionError(f"no {kind} {fields} within {timeout_s} s; got {self.summary()}")
            self.messages.append(item[0])
            self.times.append(item[1])

    def summary(self) -> list[str]:
        return [f"{m['type']}:{str(m.get('text', m.get('message', '')))[:40]}" for m in self.messages[-40:]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind]


@pytest.fixture
async def join(flite_wav: Callable[..., Path]) -> Any:
    """Joins a call: ``await join(url, "websocket")`` gives a ``Learner`` that is hung up at the test's end."""
    learners: list[Learner] = []

    async def make(url: str, door: str, resume: str | None = None) -> Learner:
        client: TalkClient
        if door == "websocket":
            client = WSClient(Server(url))
        else:
            client = RTCClient(Server(url), request_data={"resume": resume} if resume else None)
        learner = Learner(client, flite_wav)
        learners.append(learner)
        await client.connect()
        if resume and door == "websocket":
            await client.send({"type": "resume", "token": resume})
        return learner

    yield make
    for learner in learners:
        await learner.client.close()
