"""The engines of configs/cpu.yaml as pipecat stages. The two libraries need weights, so small modules stand in for them."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from pipecat.frames.frames import (
    ErrorFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.workers.runner import WorkerRunner

from pipeline.engine import AtCapacity, CallState
from pipeline.registry import UnknownEngine, make_engine
from pipeline.settings.load import load_settings
from pipeline.settings.tree import Settings
from pipeline.stt.once import recognise_once

ROOT = Path(__file__).resolve().parents[2]
CALL = CallState("one", "beginner", "introductions")
RATE_HZ = 16_000


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch):
    """The stand-ins, as fresh as the engines' modules."""
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("libraries")))
    for name in ("faster_whisper", "pocket_tts", "pipeline.stt.whisper", "pipeline.tts.pocket"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    yield
    for name in ("faster_whisper", "pocket_tts", "pipeline.stt.whisper", "pipeline.tts.pocket"):
        sys.modules.pop(name, None)


def tone(seconds: float) -> bytes:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (12_000 * np.sin(2 * np.pi * 300 * t)).astype(np.int16).tobytes()


def settings(tmp_path: Path, **sections) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, **sections})


@pytest.mark.parametrize(("stage", "name", "module"), [("stt", "whisper", "faster_whisper"), ("tts", "pocket", "pocket_tts")])
def test_without_its_package_an_engine_says_what_adds_it(tmp_path, stage, name, module, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"pipeline.{stage}.{name}", raising=False)
    with pytest.raises(UnknownEngine) as raised:
        make_engine(stage, name, settings(tmp_path))
    said = f"{stage}.engine: {name} needs the Python module {module}, which is not installed"
    assert str(raised.value) == f"{said}; pip install -r requirements/cpu.txt adds it"


def test_the_configuration_chooses_them() -> None:
    chosen = load_settings(ROOT / "configs" / "cpu.yaml", env={}, dotenv=None)
    assert (chosen.stt.engine, chosen.llm.engine, chosen.tts.engine) == ("whisper", "vllm", "pocket")
    assert chosen.engines == {}, "nothing is started"


async def test_whisper_recognises_utterances_off_the_loop(libraries, tmp_path) -> None:
    engine = make_engine("stt", "whisper", settings(tmp_path, stt={"whisper": {"model": "tiny.en", "threads": 1}}))
    with pytest.raises(AtCapacity):
        engine.admit()
    await engine.load()
    try:
        engine.admit()
        import faster_whisper

        (model,) = faster_whisper.MADE
        assert model.model == "tiny.en"
        assert model.options["download_root"] == str(tmp_path / "models")
        assert (model.options["compute_type"], model.options["cpu_threads"]) == ("int8", 1)
        heard = await recognise_once(engine.create(CALL), tone(0.5))
        assert heard.text == "w0 w1 w2 w3 w4", "and not what is more likely no speech"
        assert [w.text for w in heard.words] == heard.text.split()
        assert heard.words[1].start_s == pytest.approx(0.1)
        assert heard.confidence == 0.5
        assert (await recognise_once(engine.create(CALL), bytes(2 * RATE_HZ))).text == "", "silence has no words"
        assert all(name.startswith("whisper") for name in model.threads)
        together = await asyncio.gather(*(recognise_once(engine.create(CALL), tone(n / 10)) for n in (2, 4, 6)))
        assert [len(r.words) for r in together] == [2, 4, 6]
        assert engine.status().detail["waiting"] == 0
    finally:
        await engine.close()
    assert engine.status().state == "unloaded"
    assert not [t for t in threading.enumerate() if t.name.startswith("whisper")]
    await engine.load()
    await engine.close()


async def test_a_whisper_that_cannot_load_says_why(libraries, tmp_path) -> None:
    engine = make_engine("stt", "whisper", settings(tmp_path, stt={"whisper": {"model": "missing"}}))
    with pytest.raises(ValueError, match="Invalid model size"):
        await engine.load()
    assert engine.status().state == "failed"
    await engine.close()


async def spoken(engine, texts: list[str], *, interrupt_after: int | None = None):
    """What the stage makes of a reply: audio, errors, and the words with their times."""
    stage = engine.create(CALL)
    frames, words, done = [], [], asyncio.Event()
    stage.on_words = lambda _, some: words.extend(some)
    worker = PipelineWorker(
        Pipeline([stage]),
        params=PipelineParams(audio_out_sample_rate=RATE_HZ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )

    async def pushed(_stage, frame) -> None:
        frames.append(frame)
        if isinstance(frame, TTSStoppedFrame | ErrorFrame):
            done.set()
        if interrupt_after and sum(isinstance(f, TTSAudioRawFrame) for f in frames) == interrupt_after:
            await worker.queue_frame(InterruptionFrame())
            done.set()

    stage.add_event_handler("on_before_push_frame", pushed)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await worker.queue_frame(LLMFullResponseStartFrame())
    for text in texts:
        await worker.queue_frame(LLMTextFrame(text))
    await worker.queue_frame(LLMFullResponseEndFrame())
    async with asyncio.timeout(30):
        await done.wait()
    await worker.cancel()
    await running
    audio = [f for f in frames if isinstance(f, TTSAudioRawFrame)]
    return audio, [f for f in frames if isinstance(f, ErrorFrame)], words


async def test_pocket_speaks_clause_by_clause_and_times_its_words(libraries, tmp_path) -> None:
    engine = make_engine("tts", "pocket", settings(tmp_path))
    await engine.load()
    try:
        import pocket_tts

        assert len(pocket_tts.MADE) == 2
        audio, errors, words = await spoken(engine, ["Good morning. ", "How are you today?"])
        assert errors == []
        assert [w.text for w in words] == ["Good", "morning.", "How", "are", "you", "today?"]
        assert {len(f.audio) for f in audio} == {640}
        assert {f.sample_rate for f in audio} == {RATE_HZ}
        seconds = sum(len(f.audio) for f in audio) / 2 / RATE_HZ
        assert seconds == pytest.approx(6 * 0.2, abs=0.05)
        starts = [w.start_s for w in words]
        assert starts == sorted(starts)
        assert starts[2] == pytest.approx(0.4, abs=0.05), "the second clause's words follow the first one's sound"
        assert words[-1].end_s <= seconds + 0.001
        loud = np.frombuffer(b"".join(f.audio for f in audio), np.int16)
        assert np.abs(loud).max() == pytest.approx(0.3 * 32_767, rel=0.05)
        together = await asyncio.gather(*(spoken(engine, ["One two three."]) for _ in range(4)))
        assert all(not e and len(w) == 3 for _, e, w in together), "four replies share two copies"
    finally:
        await engine.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("pocket")]


async def test_an_interruption_stops_pocket_in_the_middle(libraries, tmp_path) -> None:
    engine = make_engine("tts", "pocket", settings(tmp_path, tts={"pocket": {"at_once": 1}}))
    await engine.load()
    try:
        import pocket_tts

        (model,) = pocket_tts.MADE
        await spoken(engine, [f"{' '.join(['word'] * 200)}."], interrupt_after=10)
        async with asyncio.timeout(10):
            while engine.status().detail["active"]:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        assert 0 < model.made < 100
        _, errors, words = await spoken(engine, ["And on we go."])
        assert (errors, len(words)) == ([], 4), "the next reply is spoken"
    finally:
        await engine.close()


async def test_what_pocket_cannot_say_is_an_error_and_the_next_reply_is_spoken(libraries, tmp_path) -> None:
    engine = make_engine("tts", "pocket", settings(tmp_path, tts={"pocket": {"at_once": 1}}))
    await engine.load()
    try:
        _, errors, _ = await spoken(engine, ["I cannot."])
        assert "cannot say it" in str(errors[0].error)
        _, errors, words = await spoken(engine, ["Now I can."])
        assert (errors, len(words)) == ([], 3)
    finally:
        await engine.close()
    wrong = make_engine("tts", "pocket", settings(tmp_path, tts={"pocket": {"voice": "nobody"}}))
    with pytest.raises(ValueError, match="no such voice"):
        await wrong.load()
    assert wrong.status().state == "failed"
    await wrong.close()
