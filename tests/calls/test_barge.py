"""Voices over the tutor: what wants no turn lets it go on, what does stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.calls.conftest import Learner
from web.talk.client import Server
from web.talk.wavs import read_wav
from web.talk.ws_client import WSClient


class Listener(Learner):
    """A learner over a WebSocket who keeps every sample of the tutor's."""

    def __init__(self, url: str, flite_wav: Callable[..., Path]) -> None:
        self.pcm: list[npt.NDArray[np.int16]] = []
        super().__init__(WSClient(Server(url), on_audio=lambda pcm, _rate, _at: self.pcm.append(pcm)), flite_wav)

    @property
    def heard(self) -> npt.NDArray[np.int16]:
        return np.concatenate(self.pcm)

    def sound(self, pcm: npt.NDArray[np.float64]) -> Any:
        return self.client.microphone.say((pcm * 32767).astype(np.int16))


@pytest.fixture
async def listen(flite_wav: Callable[..., Path]) -> Any:
    listeners: list[Listener] = []

    async def make(url: str) -> Listener:
        listener = Listener(url, flite_wav)
        listeners.append(listener)
        await listener.client.connect()
        return listener

    yield make
    for listener in listeners:
        await listener.client.close()


def cough(seconds: float = 0.3) -> npt.NDArray[np.float64]:
    """A burst of noise through a throat: a sharp onset, two resonances, a voiced end. Peak 0.6 of full scale."""
    rng = np.random.default_rng(7)
    count = int(seconds * 16_000)
    t = np.arange(count) / 16_000
    source = rng.normal(0, 1, count) * np.exp(-9 * t) + 0.6 * np.sign(np.sin(2 * np.pi * 110 * t)) * np.exp(-6 * t)
    out = np.zeros(count)
    for hz, width in ((650.0, 150.0), (1_350.0, 200.0), (2_600.0, 300.0)):
        r, w = np.exp(-np.pi * width / 16_000), 2 * np.pi * hz / 16_000
        y1 = y2 = 0.0
        for i in range(count):
            y = source[i] + 2 * r * np.cos(w) * y1 - r * r * y2
            y1, y2 = y, y1
            out[i] += y
    return 0.6 * out / np.abs(out).max()


async def hear_greeting(listener: Listener, *sounds: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The greeting to its end, with ``sounds`` over it, too far apart for one who insists."""
    connected = await listener.until("connected")
    await listener.until("speaking", who="tutor", active=True)
    for i, sound in enumerate(sounds):
        await asyncio.sleep(2.0 if i else 0.7)
        await listener.sound(sound).done.wait()
    await listener.until("turn_complete", 60)
    return connected


async def test_coughs_and_mm_hms_let_the_tutor_say_all_of_its_line(server, listen, flite_wav):
    undisturbed = await listen(server.url)
    await hear_greeting(undisturbed)
    await undisturbed.client.close()
    listener = await listen(server.url)
    mm_hm = read_wav(flite_wav("uh huh"), 16_000) / 32768
    connected = await hear_greeting(listener, cough(), mm_hm)
    await asyncio.sleep(1.0)
    assert not listener.of("interrupted")
    assert len(listener.of("hold")) == len(listener.of("go_on")) >= 1, "nothing of it was even noticed"
    # This voice never says a line twice in the same length.
    assert len(listener.heard) == pytest.approx(len(undisturbed.heard), rel=0.02)
    # Nothing of it is taken for the answer.
    await listener.say("my name is anna")
    said = await listener.until("transcript", 30, is_final=True)
    while not said["text"]:
        said = await listener.until("transcript", 30, is_final=True)
    assert said["text"].lower().split()[0] == "my"
    await listener.until("ai_text", 30, is_complete=True)
    await listener.client.send({"type": "end_conversation"})
    await listener.until("analysis")
    turns = server.get(f"/api/sessions/{connected['session_id']}")["turns"]
    assert [t["role"] for t in turns[:2]] == ["tutor", "learner"]
    assert not turns[0]["interrupted"]
    assert turns[1]["text"] == said["text"]


async def test_a_sentence_stops_the_tutor_which_has_said_what_was_heard(server, listen):
    listener = await listen(server.url)
    connected = await listener.until("connected")
    await listener.until("speaking", who="tutor", active=True)
    await asyncio.sleep(1.5)
    await listener.say("wait a moment please I want to ask something", wait=False)
    interrupted = await listener.until("interrupted", 10)
    assert listener.of("hold")
    full = next(m["text"] for m in listener.of("ai_text") if m["is_complete"])
    assert full.startswith(interrupted["text"])
    assert 0 < len(interrupted["text"]) < len(full)
    row = await listener.until("metrics", 30)
    while row["row"]["barge_in_ms"] is None:
        row = await listener.until("metrics", 30)
    assert row["row"]["verdict"] == "real"
    assert row["row"]["onset"] <= row["row"]["ducked"] <= row["row"]["stopped"]
    await listener.until("ai_text", 30, is_complete=True)
    await listener.client.send({"type": "end_conversation"})
    await listener.until("analysis")
    turns = server.get(f"/api/sessions/{connected['session_id']}")["turns"]
    assert turns[0]["interrupted"]
    assert turns[0]["text"] == interrupted["text"]
    assert turns[1]["text"].lower().startswith("wait")
