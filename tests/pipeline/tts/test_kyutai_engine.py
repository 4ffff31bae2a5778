"""The Kyutai voice from Parley's own engine: its real process, on a tiny model with random weights in the real file format.

What such a model says is noise, but all else is as it is with the real one: when a word begins is for the model to say, and
slots, voices and sound go through the real sockets.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from pipecat.frames.frames import InterruptionFrame, LLMFullResponseStartFrame, LLMTextFrame, TTSAudioRawFrame, TTSStoppedFrame

from tests.pipeline.tts.kyutai_call import Bench, speaking

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-engines-test" / "bin" / "python"
pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="not run: the speech engines' environment is missing (.venv-engines-test)"
)
START_S = 180.0
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "NO_TORCH_COMPILE": "1"}
SLOTS = 2
REPLY = "Good morning, my friend. It costs $3.50 today 😀 and no more."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an engine with two slots."""
    folder = tmp_path_factory.mktemp("kyutai")
    subprocess.run([PYTHON, "-m", "tests.engines.tiny_tts", folder / "model"], cwd=ROOT, env=ENV, check=True)
    config = folder / "tts.yaml"
    settings = {"model": str(folder / "model"), "port": 0, "slots": SLOTS, "front_ends": 1, "device": "cpu", "dtype": "float32"}
    config.write_text(yaml.safe_dump({**settings, "seed": 1}), encoding="utf-8")
    log = folder / "log"
    with log.open("wb") as out:
        command = [PYTHON, "-m", "engines.kyutai", "tts", "--config", config]
        process = subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield _ready(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, log.read_text()[-3000:]


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        if found := re.search(r"listening on \S+:(\d+)", log.read_text()):
            url = f"http://127.0.0.1:{found[1]}"
            try:
                if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                    return url
            except httpx.HTTPError:
                pass
        time.sleep(0.1)
    raise AssertionError(f"the engine was not ready:\n{log.read_text()[-3000:]}")


async def slots_are_free(url: str) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        while (await client.get(f"{url}/health", timeout=10)).json()["slots_used"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def check(bench: Bench, context_id: str, text: str, rate_hz: int) -> None:
    audio, words = bench.audio(context_id), bench.words[context_id]
    assert bench.text(context_id) == text
    assert audio.any()
    times = [t for w in words for t in (w.start_s, w.end_s)]
    assert times == sorted(times)
    assert times[-1] <= len(audio) / rate_hz
    assert bench.errors == []


@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
async def test_a_reply(engine: str, rate_hz: int) -> None:
    async with speaking(engine, rate_hz) as bench:
        first, second = await bench.reply(REPLY), await bench.reply("Go on.")
        check(bench, first, REPLY, rate_hz)
        check(bench, second, "Go on.", rate_hz)
        # It says something, and not one thing.
        assert np.std(bench.audio(first).astype(float)) > 10
    await slots_are_free(engine)


async def test_an_interruption_frees_the_slot(engine: str) -> None:
    async with speaking(engine) as bench:
        for _ in range(3 * SLOTS):
            heard, seen = len(bench.out.of(TTSAudioRawFrame)), len(bench.out.of(InterruptionFrame))
            await bench.send(LLMFullResponseStartFrame(), LLMTextFrame(REPLY * 3))
            await bench.out.wait(lambda heard=heard: len(bench.out.of(TTSAudioRawFrame)) > heard)
            await bench.send(InterruptionFrame())
            await bench.out.wait(lambda seen=seen: len(bench.out.of(InterruptionFrame)) > seen)
            await slots_are_free(engine)
        check(bench, await bench.reply(REPLY), REPLY, 24_000)


async def test_more_calls_than_slots(engine: str) -> None:
    """Two speak; a third is told that no slot is free, and may try again."""
    async with speaking(engine) as one, speaking(engine) as two, speaking(engine) as three:
        for bench in (one, two):
            await bench.send(LLMFullResponseStartFrame(), LLMTextFrame(REPLY))
            await bench.out.wait(lambda bench=bench: len(bench.out.of(TTSAudioRawFrame)) > 0)
        await three.write(REPLY)
        await asyncio.wait_for(three.failed.wait(), 60)
        assert "no free channels" in three.errors[0]
        await one.send(InterruptionFrame())
        await one.out.wait(lambda: len(one.out.of(InterruptionFrame)) > 0)
        await three.out.wait(lambda: len(three.out.of(TTSStoppedFrame)) == 1)
        three.errors.clear()
        check(three, await three.reply("Here I am."), "Here I am.", 24_000)
        await two.send(InterruptionFrame())
    await slots_are_free(engine)


async def test_an_unknown_voice_is_named(engine: str) -> None:
    async with speaking(engine, voice="nobody.wav") as bench:
        await bench.write("Hello.")
        await asyncio.wait_for(bench.failed.wait(), 60)
        assert "unknown voice 'nobody.wav'" in bench.errors[0]
    async with speaking(engine, voice="ben.wav") as bench:
        check(bench, await bench.reply("Hello."), "Hello.", 24_000)
