"""What the private adapter relies on in pipecat is still there and gives what the stock analyzers give."""

import asyncio
import importlib.metadata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams, VADState
from pipecat.frames.frames import Frame, InputAudioRawFrame, TextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipeline.pipecat_private import (
    SUPPORTED_PIPECAT,
    AudioPath,
    SharedSileroVAD,
    SharedSmartTurn,
    load_silero,
    load_smart_turn,
    quieten_observers,
)


def test_the_adapter_was_written_for_the_installed_version():
    assert importlib.metadata.version("pipecat-ai") == SUPPORTED_PIPECAT


def speechlike(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    t = np.arange(int(16_000 * seconds)) / 16_000
    pitch = 120 + 30 * np.sin(2 * np.pi * 2 * t)
    voice = sum(np.sin(2 * np.pi * np.cumsum(pitch * k) / 16_000) / k for k in range(1, 12))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * t)
    return (6000 * voice * envelope + rng.normal(0, 100, len(t))).clip(-32768, 32767).astype(np.int16)


async def test_two_detectors_on_one_session_each_give_what_the_stock_one_gives():
    session = load_silero()
    audio = np.concatenate([np.zeros(8000, np.int16), speechlike(1.5), np.zeros(8000, np.int16)]).tobytes()
    stock = SileroVADAnalyzer(params=VADParams())
    ours = [SharedSileroVAD(session, VADParams()) for _ in range(2)]
    for analyzer in (stock, *ours):
        analyzer.set_sample_rate(16_000)
    differences = 0.0
    voiced = 0.0
    for i in range(0, len(audio) - 1024, 1024):
        want = float(np.ravel(stock.voice_confidence(audio[i : i + 1024]))[0])
        got = [float(np.ravel(a.voice_confidence(audio[i : i + 1024]))[0]) for a in ours]
        differences = max(differences, *(abs(want - g) for g in got))
        voiced = max(voiced, want)
    assert differences < 1e-5
    assert voiced > 0.1, "the test sound should move the detector at all"
    for analyzer in (stock, *ours):
        await analyzer.cleanup()


async def test_a_listener_gets_every_window_once_and_in_order():
    detector = SharedSileroVAD(load_silero(), VADParams())
    detector.set_sample_rate(16_000)
    heard: list[tuple[float, bytes]] = []
    detector.on_window(lambda probability, window: heard.append((probability, window)))
    audio = speechlike(1.0).tobytes()
    for i in range(0, len(audio), 640):
        await detector.analyze_audio(audio[i : i + 640])
    assert b"".join(window for _, window in heard) == audio[: len(heard) * 1024]
    assert len(heard) == len(audio) // 1024
    assert all(0.0 <= probability <= 1.0 for probability, _ in heard)
    await detector.cleanup()


async def test_windows_put_off_in_silence_change_no_decision_by_more_than_one_window():
    session = load_silero()
    quiet = np.random.default_rng(5).normal(0.0, 4.0, 16_000 * 5).astype(np.int16)
    audio = np.concatenate([quiet, speechlike(1.5), quiet[: 16_000 * 3], speechlike(1.0), quiet[:16_000]])
    states = []
    for eager in (False, True):
        detector = SharedSileroVAD(session, VADParams(confidence=0.1, min_volume=0.1))
        detector.set_sample_rate(16_000)
        probabilities: list[float] = []
        detector.on_window(lambda probability, _window, to=probabilities: to.append(probability))
        if eager:
            detector._is_lasting_silence = lambda _window: False  # type: ignore[method-assign]
        judged: list[int] = []
        model = detector._model
        detector._model = lambda x, rate, model=model, judged=judged: judged.append(1) or model(x, rate)
        detector._model.reset_states = model.reset_states
        states.append([await detector.analyze_audio(audio[i : i + 512].tobytes()) for i in range(0, len(audio) - 512, 512)])
        assert len(probabilities) == len(states[-1])
        if not eager:
            assert len(judged) < 0.6 * len(states[-1]), "most of the silence needs no judging"
        await detector.cleanup()
    speaking = [[state is VADState.SPEAKING for state in each] for each in states]
    changes = [[i for i in range(1, len(each)) if each[i] != each[i - 1]] for each in speaking]
    assert len(changes[0]) == len(changes[1]) >= 2
    assert all(abs(a - b) <= 1 for a, b in zip(*changes, strict=True))


async def test_the_shared_turn_model_judges_as_the_stock_one_does():
    stock = LocalSmartTurnAnalyzerV3()
    with ThreadPoolExecutor(1) as executor:
        ours = SharedSmartTurn(load_smart_turn(), executor)
        results = []
        for analyzer in (stock, ours):
            analyzer.set_sample_rate(16_000)
            for part in np.array_split(speechlike(2.0), 100):
                analyzer.append_audio(part.tobytes(), True)
            _, metrics = await analyzer.analyze_end_of_turn()
            results.append(metrics.probability)
            await analyzer.cleanup()
        assert results[0] == pytest.approx(results[1], abs=1e-5)
        assert executor.submit(int).result(timeout=5) == 0, "cleaning up one call must leave the shared executor running"


class Stage(FrameProcessor):
    """Passes everything on and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Frame] = []
        self.text = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame | TextFrame):
            self.seen.append(frame)
        if isinstance(frame, TextFrame):
            self.text.set()
        await self.push_frame(frame, direction)


async def test_audio_reaches_recogniser_and_detector_in_order_and_nobody_behind_them():
    source, stt, user, behind = Stage(), Stage(), Stage(), Stage()
    listened: list[Frame] = []

    def fails(_source: FrameProcessor, frame: Frame) -> None:
        raise ValueError("a listener of its own")

    source.add_event_handler("on_before_push_frame", fails)
    source.add_event_handler("on_before_push_frame", lambda _source, frame: listened.append(frame))
    path = AudioPath(source, stt, user)
    worker = PipelineWorker(Pipeline([source, stt, user, behind]), enable_rtvi=True, idle_timeout_secs=None)
    quieten_observers(worker)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    audio = [InputAudioRawFrame(bytes(640), 16_000, 1) for _ in range(4)]
    # Before the start it waits for the stages; later it comes straight, or as a frame that somebody pushed.
    assert path.put(audio[0])
    await worker.queue_frame(audio[1])
    await worker.queue_frame(TextFrame("one"))
    await asyncio.wait_for(behind.text.wait(), 20)
    behind.text.clear()
    assert path.put(audio[2])
    assert path.put(audio[3])
    assert not path.put(audio[3], limit=1), "one waits already"
    await worker.queue_frame(TextFrame("two"))
    await asyncio.wait_for(behind.text.wait(), 20)
    await worker.cancel()
    await running
    for stage in (stt, user):
        assert [frame for frame in stage.seen if isinstance(frame, InputAudioRawFrame)] == audio
    assert [frame for frame in listened if isinstance(frame, InputAudioRawFrame)] == audio
    assert [frame.text for frame in behind.seen if isinstance(frame, TextFrame)] == ["one", "two"]
    assert len(behind.seen) == 2
