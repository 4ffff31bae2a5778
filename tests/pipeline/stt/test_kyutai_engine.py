"""The stage against Parley's own engine: its real process, on a tiny model with random weights in the real file format.

What such a model hears is nonsense, but it hangs on every sample; so that the same words come whatever is asked in between
says that nothing was lost, told twice, or left in the model's memory.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from pipeline.engine import CallState
from pipeline.settings.tree import KyutaiSTTSettings
from pipeline.stt.kyutai import KyutaiEngine
from pipeline.stt.once import recognise_once
from tests.pipeline.stt.kyutai_call import StageCall, Wav, calling, until
from tests.pipeline.stt.speech import COFFEE, MARKET, read_pcm, room_tone

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-engines-test" / "bin" / "python"
pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason="not run: the speech engines' environment is missing (.venv-engines-test)"),
]
START_S = 120.0
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "NO_TORCH_COMPILE": "1"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an engine with two slots."""
    folder = tmp_path_factory.mktemp("kyutai")
    subprocess.run([PYTHON, "-m", "tests.engines.tiny_stt", folder / "model"], cwd=ROOT, env=ENV, check=True)
    config = folder / "stt.yaml"
    settings = {"model": str(folder / "model"), "port": 0, "slots": 2, "front_ends": 1, "device": "cpu", "dtype": "float32"}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    log = folder / "log"
    with log.open("wb") as out:
        command = [PYTHON, "-m", "engines.kyutai", "stt", "--config", config]
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


def _two_sentences(flite_wav: Wav) -> tuple[bytes, bytes]:
    first, second = (read_pcm(flite_wav(text)) for text in (MARKET, COFFEE))
    return (room_tone(0.6) + first)[: 2 * 960 * 50], (room_tone(0.24) + second)[: 2 * 960 * 40]


async def _heard(url: str, first: bytes, second: bytes, *, ask: bool) -> StageCall:
    """One voice over both; ``ask``: with a flush after the first and another before the end."""
    async with calling(StageCall(url, answer_timeout_s=20, noise={"enabled": False})) as call:
        await call.connected()
        await call.voice()
        await call.hear(first, speed=2)
        if ask:
            await call.flush()
            await until(lambda: len(call.eager) == 1)
        await call.hear(second, speed=2)
        if ask:
            await call.flush()
            await until(lambda: len(call.eager) == 2)
            await call.flush(commit=True)
        await call.silence()
        await until(lambda: bool(call.finals))
        await call.hear(room_tone(1.2), speed=2)
        return call


async def test_words_are_the_same_whatever_was_asked_in_between(engine: str, flite_wav: Wav) -> None:
    first, second = _two_sentences(flite_wav)
    plain, asked = [await _heard(engine, first, second, ask=ask) for ask in (False, True)]
    assert len(plain.said) == len(asked.said) == 1
    words, asked_words = plain.said[0].split(), asked.said[0].split()
    assert len(set(words)) >= 5  # a model that says the same all the time would prove nothing
    assert asked.eager[1] == asked.said[0]
    assert len(asked.eager[0].split()) < len(asked_words)
    # What was asked without more speech ends with what the model makes of zeros; the other heard the room.
    same = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(words, asked_words, strict=False)))
    assert len(same) >= len(asked_words) - 3
    for call in (plain, asked):
        assert call.errors == []
        assert call.shared.connections == 1
        times = [w.start_s for w in call.finals[0].result.words]
        assert times == sorted(times)
        assert call.partials
    assert asked.pauses
    assert all(0.0 <= p <= 1.0 for p in asked.pauses)


async def test_a_third_call_is_told_that_no_slot_is_free_and_gets_the_next(engine: str) -> None:
    async with calling(StageCall(engine)) as one, calling(StageCall(engine)) as two, calling(StageCall(engine)) as three:
        await one.connected()
        await two.connected()
        await until(lambda: three.stt.link_state == "full")
        await one.worker.cancel()
        await three.voice()
        await three.connected()
    await _slots_are_free(engine)


async def test_a_file_is_heard_without_a_frame_dropped(engine: str, flite_wav: Wav) -> None:
    first, second = _two_sentences(flite_wav)
    audio = (first + second) * 4
    assert len(audio) / 32_000 > 12  # the engine lets 10 s wait
    recogniser = KyutaiEngine(KyutaiSTTSettings(url=engine), None)
    await recogniser.load()
    heard = await recognise_once(recogniser.create(CallState("a", "beginner", "introductions")), audio)
    assert len(heard.words) > 20
    # Words were heard all along the file.
    assert heard.words[0].start_s < 3
    assert heard.words[-1].start_s > len(audio) / 32_000 - 3
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{engine}/metrics", timeout=10)).text
    assert re.search(r"^kyutai_stt_dropped_frames_total 0\.0$", metrics, re.M), metrics
    await _slots_are_free(engine)


async def _slots_are_free(url: str) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        while (await client.get(f"{url}/health", timeout=10)).json()["slots_used"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
