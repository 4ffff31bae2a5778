"""A recorded call over each door: both voices stand where they were said, by the clients' own clocks."""

from __future__ import annotations

import asyncio
import io
import time
from datetime import datetime

import httpx
import numpy as np
import pytest
import soundfile

TOLERANCE_S = 0.04
CLIENT_DB = {"websocket": 0.0, "webrtc": -3.01}
"""What the test's own client does to the level: aiortc's encoder makes two channels of one, each 1/sqrt(2) as loud."""


def tone(rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return (8_000 * np.sin(2 * np.pi * 1_000 * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def onset_s(channel: np.ndarray, rate_hz: int) -> float:
    """Where the 1 kHz tone begins: the first 10 ms window in which it is as loud as half its loudest."""
    window = rate_hz // 100
    frames = channel[: len(channel) // window * window].reshape(-1, window)
    carrier = np.exp(-2j * np.pi * 1_000 * np.arange(window) / rate_hz)
    levels = np.abs(frames @ carrier)
    return float(np.argmax(levels > levels.max() / 2) * window / rate_hz)


@pytest.fixture(scope="module")
def recorder(module_server):
    return module_server(PARLEY_RECORDING__ENABLED="true", PARLEY_TTS__ESPEAK__RATE_WPM="450")


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
async def test_the_learners_tone_stands_at_its_place_and_level(recorder, join, door):
    learner = await join(recorder.url, door)
    connected = await learner.until("connected")
    assert connected["recording"] is True
    session_id = connected["session_id"]
    await learner.until("turn_complete", 60)
    microphone = learner.client.microphone
    utterance = microphone.say(tone(microphone.rate_hz))
    await asyncio.wait_for(utterance.done.wait(), 30)
    onset = microphone.onset_at(utterance)
    assert onset is not None
    said_at = time.time() - (time.monotonic() - onset)
    await asyncio.sleep(0.5)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    detail = recorder.wait_for(
        lambda: (kept := recorder.get(f"/api/sessions/{session_id}"))["recorded"] and kept, "the finished recording"
    )
    data = await asyncio.to_thread(httpx.get, f"{recorder.url}/api/sessions/{session_id}/audio", timeout=20)
    audio, rate_hz = soundfile.read(io.BytesIO(data.content))
    began = datetime.fromisoformat(detail["recording_started_at"]).timestamp()
    place = onset_s(audio[:, 0], rate_hz)
    assert abs(place - (said_at - began)) <= TOLERANCE_S
    middle = audio[int((place + 0.1) * rate_hz) : int((place + 0.4) * rate_hz), 0]
    level_db = 20 * np.log10(np.sqrt(np.mean(middle**2)) / (8_000 / 32768 / np.sqrt(2)))
    assert abs(level_db - CLIENT_DB[door]) < 1
    # The tutor spoke on the other side, from about where its turn begins.
    greeting = next(t for t in detail["turns"] if t["role"] == "tutor")
    start = datetime.fromisoformat(greeting["started_at"]).timestamp() - began
    end = datetime.fromisoformat(greeting["ended_at"]).timestamp() - began
    right = audio[:, 1]
    assert np.sqrt(np.mean(right[int(max(0, start) * rate_hz) : int(end * rate_hz)] ** 2)) > 0.01
    print(f"{door}: off by {1000 * (place - (said_at - began)):.1f} ms, {level_db:+.2f} dB")
