"""The whole speech-to-text engine, as it is started, on a tiny model: what clients are told is what moshi's own loop writes of
their sound."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
import numpy as np
import psutil
import pytest
import sphn
import torch

from engines.kyutai.front.recording import decoded
from engines.kyutai.model.checkpoint import load_stt
from engines.kyutai.model.interface import FRAME_SAMPLES, Floats
from engines.kyutai.schedule.words import heard_frame
from engines.kyutai.text import WordHeard
from engines.kyutai.transcript import Transcript
from engines.wire.kyutai import (
    STT_PATH,
    Audio,
    Commit,
    Committed,
    EndWord,
    Flush,
    Flushed,
    Init,
    Marker,
    OggOpus,
    Pcm16,
    Ready,
    Step,
    Withdraw,
    Word,
)
from tests.engines.moshi_stt import MoshiStt, sound
from tests.engines.stt_client import Client, ready, talking
from tests.engines.tiny_stt import write_tiny_stt

STARTS_WITHIN_S = 120.0
ENDS_WITHIN_S = 20.0
FRAMES = 60
SLOTS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_stt(tmp_path_factory.mktemp("stt"), seed=5))


@dataclass
class Engine:
    process: subprocess.Popen[str]
    url: str

    def fronts(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def started(folder: str, at: Path) -> Engine:
    """The engine as its command starts it, on a port of its own choice."""
    config = at / "stt.yaml"
    config.write_text(
        f"model: {folder}\nport: 0\nslots: {SLOTS}\nbuckets: [1, 2, {SLOTS}]\ndevice: cpu\ndtype: float32\nfront_ends: 2\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "engines.kyutai", "stt", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_TORCH_COMPILE": "1"},
    )
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if (found := re.search(r"listening on (\S+)$", line)) is not None:
            # Whatever it still says must not fill the pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return Engine(process, f"http://{found[1]}")
    raise AssertionError("".join(seen))


def is_ready(engine: Engine) -> bool:
    try:
        with urlopen(f"{engine.url}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def engine(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    one = started(folder, tmp_path_factory.mktemp("config"))
    deadline = time.monotonic() + STARTS_WITHIN_S
    # All its processes are there when it is ready: none is taken for one that a test has left behind.
    while not is_ready(one):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield one
    one.process.terminate()
    assert one.process.wait(ENDS_WITHIN_S) == 0


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(engine.url) as session:
        yield session


@cache
def oracle(folder: str) -> MoshiStt:
    torch.set_num_threads(1)
    return MoshiStt(load_stt(folder))


@dataclass
class Foretold:
    """What is to be told of a sound: words and their ends with their times, pauses."""

    words: list[Word | EndWord]
    pauses: np.ndarray
    texts: list[str]


def foretold(folder: str, frames: Floats) -> Foretold:
    moshi = oracle(folder)
    tokens, pauses = moshi.hears(frames)
    delay = moshi.parts.delay
    transcript = Transcript(moshi.parts.tokenizer.decode, delay)
    words: list[Word | EndWord] = []
    for step, token in enumerate(tokens):
        words += [
            Word(one.text, one.start_s) if isinstance(one, WordHeard) else EndWord(one.stop_s)
            for one in transcript.stepped(token, heard_frame(range(step + 1), delay))
        ]
    return Foretold(words, pauses, [one.text for one in words if isinstance(one, Word)])


async def told(one: Client, steps: int) -> tuple[list[Any], np.ndarray]:
    """Words and their ends until so many steps were made, and the pauses of those."""
    words: list[Any] = []
    pauses: list[list[float]] = []
    while len(pauses) < steps:
        message = await one.next(Word, EndWord, Step)
        assert message is not None
        if isinstance(message, Step):
            pauses.append(message.prs)
        else:
            words.append(message)
    # The words of a step come behind it: a marker that is not due yet would not help, an Init is answered in order.
    await one.send(Init())
    while not isinstance(message := await one.next(Word, EndWord, Ready), Ready):
        words.append(message)
    return words, np.array(pauses)


async def says(one: Client, voice: Floats, seed: int) -> None:
    """In pieces of odd sizes."""
    draw = np.random.default_rng(seed)
    at = 0
    while at < len(voice):
        size = int(draw.integers(1, 4000))
        await one.send(Audio(voice[at : at + size].tolist()))
        at += size
        await asyncio.sleep(draw.uniform(0, 0.004))


async def test_sessions_are_told_what_moshi_writes_of_their_own_sound(folder: str, client: aiohttp.ClientSession) -> None:
    expected = [foretold(folder, sound(seed, FRAMES)) for seed in range(10)]
    assert len({tuple(one.texts) for one in expected}) == 10
    assert all(len(set(one.texts)) > 3 for one in expected)
    gate = asyncio.Semaphore(SLOTS)

    async def session(seed: int) -> None:
        async with gate:
            # Who went before may not have been noticed yet.
            while True:
                async with talking(client) as one:
                    if not isinstance(await one.next(), Ready):
                        await asyncio.sleep(0.01)
                        continue
                    saying = asyncio.create_task(says(one, sound(seed, FRAMES).reshape(-1), seed))
                    words, pauses = await told(one, FRAMES)
                    await saying
                    break
        assert words == expected[seed].words
        np.testing.assert_allclose(pauses, expected[seed].pauses, atol=1e-4)

    await asyncio.gather(*(session(seed) for seed in range(10)))


async def test_flushes_tell_what_silence_would_bring_and_leave_no_trace(folder: str, client: aiohttp.ClientSession) -> None:
    voice = sound(42, FRAMES)
    cuts = range(5, FRAMES + 1, 5)
    # Foretold before, since moshi's loop would keep the client from answering its pings.
    silence = np.zeros((oracle(folder).parts.delay, FRAME_SAMPLES), np.float32)
    with_silence = {cut: foretold(folder, np.concatenate([voice[:cut], silence])).texts for cut in cuts}
    expected = foretold(folder, voice)
    words: list[Any] = []
    found = 0
    async with talking(client, "?extensions=flush") as one:
        await one.next(Ready)
        for cut in cuts:
            await one.send(Audio(voice[cut - 5 : cut].reshape(-1).tolist()), Flush(cut))
            while not isinstance(message := await one.next(Word, EndWord, Flushed), Flushed):
                words.append(message)
            assert message.id == cut
            wanted = with_silence[cut][sum(isinstance(word, Word) for word in words) :]
            # A word that is not over when the flush ends is told, too.
            assert [word.text for word in message.words][: len(wanted)] == wanted
            assert len(message.words) <= len(wanted) + 1
            found += len(message.words)
            await one.send(Withdraw(cut))
        await one.send(Init())
        while not isinstance(message := await one.next(Word, EndWord, Ready), Ready):
            words.append(message)
    assert found > 3
    assert words == expected.words


async def test_a_committed_flush_and_live_steps_tell_each_word_once(folder: str, client: aiohttp.ClientSession) -> None:
    voice = sound(43, FRAMES)
    quiet = np.zeros((10, FRAME_SAMPLES), np.float32)
    async with talking(client, "?extensions=flush,pcm16") as one:
        await one.next(Ready)
        heard = (np.concatenate([voice, quiet]).reshape(-1) * 32767).clip(-32768, 32767).astype("<i2")
        cut = voice.size
        await one.send(Pcm16(heard[:cut].tobytes()), Flush(1), Commit(1))
        words: list[str] = []
        while not isinstance(message := await one.next(Word, Committed), Committed):
            words.append(message.text)
        words += [word.text for word in message.words]
        await one.send(Pcm16(heard[cut:].tobytes()), Init())
        while not isinstance(message := await one.next(Word, Ready), Ready):
            words.append(message.text)
    expected = foretold(folder, (heard.astype(np.float32) / 32768).reshape(-1, FRAME_SAMPLES)).texts
    # The zeros were heard by the flush as by the live steps, but the last word of the flush is told as far as it was written.
    delay = oracle(folder).parts.delay
    assert words[: len(expected) - delay] == expected[: len(expected) - delay]
    assert len(expected) > delay + 3


async def test_a_stream_of_opus_is_heard(folder: str, client: aiohttp.ClientSession) -> None:
    writer, reader = sphn.OpusStreamWriter(24_000), sphn.OpusStreamReader(24_000)
    pages = [bytes(writer.append_pcm(frame)) for frame in sound(44, FRAMES)]
    pcm = np.concatenate([np.asarray(reader.append_bytes(page), np.float32) for page in pages])
    frames = len(pcm) // FRAME_SAMPLES
    async with talking(client) as one:
        await one.next(Ready)
        await one.send(*(OggOpus(page) for page in pages if page))
        words, _ = await told(one, frames)
        await one.send(OggOpus(b"no pages" * 100))
        assert "OggOpus" in (await one.next()).message
    expected = foretold(folder, pcm[: frames * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES))
    assert words == expected.words
    assert len(set(expected.texts)) > 3


async def test_a_recording_is_answered_with_the_words_of_all_of_it(
    folder: str, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    voice = sound(45, FRAMES)
    path = tmp_path / "voice.wav"
    sphn.write_wav(str(path), voice.reshape(-1), 24_000)
    answer = await client.post(STT_PATH, data=path.read_bytes())
    words = await answer.json()
    heard, _ = sphn.read(str(path))
    delay = oracle(folder).parts.delay
    silence = np.zeros((delay, FRAME_SAMPLES), np.float32)
    expected = foretold(folder, np.concatenate([heard[0].reshape(-1, FRAME_SAMPLES), silence])).words
    assert [one["type"] for one in words] == [type(one).__name__ for one in expected]
    assert [one.get("text") for one in words] == [getattr(one, "text", None) for one in expected]
    assert len(expected) > 5
    # Where all slots are taken, it waits for one.
    async with AsyncExitStack() as stack:
        for _ in range(SLOTS):
            assert isinstance(await (await stack.enter_async_context(talking(client))).next(), Ready)
        posted = asyncio.create_task(client.post(STT_PATH, data=path.read_bytes()))
        await asyncio.sleep(0.3)
        assert not posted.done()
    assert await (await posted).json() == words
    assert (await client.post(STT_PATH, data=b"no recording")).status == 400


def test_a_recording_of_another_rate_is_as_long_and_as_high(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    for rate_hz in (8_000, 16_000, 44_100, 48_000):
        tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz)
        sphn.write_wav(str(path), tone.astype(np.float32), rate_hz)
        heard = decoded(path.read_bytes())
        assert len(heard) == 24_000
        spectrum = np.abs(np.fft.rfft(heard))
        assert spectrum.argmax() == 1000
        assert 20 * np.log10(np.sqrt(2 * np.mean(heard[2000:-2000] ** 2)) / 0.5) == pytest.approx(0, abs=1)


async def test_the_metrics_tell_of_it(client: aiohttp.ClientSession) -> None:
    async with talking(client, "?extensions=flush") as one:
        await one.next(Ready)
        await one.send(Audio([0.1] * FRAME_SAMPLES), Flush(1), Marker(1))
        await one.next(Flushed)
        text = await (await client.get("/metrics")).text()
    for name in (
        "slots_used",
        "slots",
        "queue",
        "headroom",
        "step_seconds_bucket",
        "flush_seconds_count",
        "dropped_frames_total",
    ):
        assert f"\nkyutai_stt_{name}" in text
    assert f"kyutai_stt_slots {SLOTS}.0" in text


async def test_it_ends_with_its_step_process_and_when_it_is_asked(folder: str, tmp_path: Path) -> None:
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        one = await asyncio.to_thread(started, folder, tmp_path)
        async with aiohttp.ClientSession(one.url) as session:
            async with asyncio.timeout(STARTS_WITHIN_S):
                await ready(session)
            fronts = one.fronts()
            assert len(fronts) == 2
            async with talking(session) as talk:
                await talk.next(Ready)
                one.process.send_signal(number)
                await talk.all()
        assert await asyncio.to_thread(one.process.wait, ENDS_WITHIN_S) == code
        _, alive = await asyncio.to_thread(psutil.wait_procs, fronts, ENDS_WITHIN_S)
        assert alive == []


async def test_it_may_be_stopped_while_the_model_is_loaded(folder: str, tmp_path: Path) -> None:
    one = await asyncio.to_thread(started, folder, tmp_path)
    fronts = one.fronts()
    one.process.terminate()
    assert await asyncio.to_thread(one.process.wait, ENDS_WITHIN_S) == 0
    _, alive = await asyncio.to_thread(psutil.wait_procs, fronts, ENDS_WITHIN_S)
    assert alive == []
