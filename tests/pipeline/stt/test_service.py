"""The STT stage of a call, in a small real pipeline: stock user aggregator, Silero VAD, flite's voice at the microphone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    STTMuteFrame,
    TranscriptionFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from pipeline.engine import AtCapacity, CallState
from pipeline.settings.tree import PocketsphinxSettings
from pipeline.stt.pocketsphinx import NOTHING_HEARD, PocketsphinxEngine, PocketsphinxSTTService
from pipeline.stt.sphinx_pool import SphinxPool
from tests.pipeline.stt.speech import COFFEE, MARKET, YEARS, room_tone

Say = Callable[..., bytes]
SOON_S = 60.0
SETTINGS = PocketsphinxSettings(workers=2, queue_deadline_s=60, utterance_timeout_s=60)


class Call:
    """One call's pipeline up to the user aggregator, or, with ``vad=False``, the STT stage alone."""

    def __init__(
        self, pool: SphinxPool, *, settings: PocketsphinxSettings = SETTINGS, vad: bool = True, stop_s: float = 0.2
    ) -> None:
        self.state = CallState("test", "beginner", "introductions")
        self.stt = PocketsphinxSTTService(pool, self.state, settings=settings)
        self.frames: list[Frame] = []
        self.errors: list[ErrorFrame] = []
        self.turns: list[str] = []
        self.context = LLMContext()
        self.stt.add_event_handler("on_before_push_frame", self._on_stt)
        chain: list[FrameProcessor] = [self.stt]
        if vad:
            params = LLMUserAggregatorParams(
                vad_analyzer=SileroVADAnalyzer(params=VADParams(min_volume=0.0)),
                user_turn_strategies=UserTurnStrategies(
                    start=[VADUserTurnStartStrategy()], stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=1.0)]
                ),
                user_turn_stop_timeout=1000.0,
                empty_user_turn=None,
            )
            user = LLMContextAggregatorPair(self.context, user_params=params).user()
            user.add_event_handler("on_user_turn_stopped", self._on_turn)
            chain.append(user)
        self.worker = PipelineWorker(
            Pipeline(chain),
            params=PipelineParams(audio_in_sample_rate=16_000),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self.worker.add_event_handler("on_pipeline_error", self._on_error)
        self.started = asyncio.Event()
        self.worker.add_event_handler("on_pipeline_started", lambda _worker, _frame: self.started.set())

    async def run(self) -> None:
        runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(self.worker)
        await runner.run()

    def _on_stt(self, _stt: FrameProcessor, frame: Frame) -> None:
        self.frames.append(frame)

    async def _on_error(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        self.errors.append(frame)

    async def _on_turn(self, _user: object, _strategy: object, message: object) -> None:
        self.turns.append(message.content or "")  # type: ignore[attr-defined]

    @property
    def finals(self) -> list[TranscriptionFrame]:
        return [f for f in self.frames if isinstance(f, TranscriptionFrame)]

    @property
    def partials(self) -> list[InterimTranscriptionFrame]:
        return [f for f in self.frames if isinstance(f, InterimTranscriptionFrame)]

    async def hear(self, pcm: bytes, speed: float = 2.0) -> None:
        for at in range(0, len(pcm), 640):
            await self.worker.queue_frame(InputAudioRawFrame(pcm[at : at + 640], 16_000, 1))
            await asyncio.sleep(0.02 / speed)

    async def tell(self, *frames: Frame) -> None:
        """Frames that the STT stage gets from the rest of the call."""
        for frame in frames:
            await self.stt.queue_frame(frame, FrameDirection.UPSTREAM)
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def calling(call: Call) -> AsyncIterator[Call]:
    running = asyncio.create_task(call.run())
    try:
        await asyncio.wait_for(call.started.wait(), SOON_S)
        yield call
    finally:
        await call.worker.cancel()
        await asyncio.wait_for(running, SOON_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  (what is waited for tells nobody)
            await asyncio.sleep(0.02)


async def test_a_sentence_becomes_partials_a_final_and_a_turn(pool: SphinxPool, say: Say) -> None:
    async with calling(Call(pool)) as call:
        speech = say(MARKET)
        middle = len(speech) // 1280 * 640
        await call.hear(room_tone(1.0) + speech[:middle])
        await until(lambda: bool(call.partials))  # a machine that is behind leaves them out once the speech is over
        await call.hear(speech[middle:] + room_tone(1.0))
        await until(lambda: bool(call.turns))
        (final,) = call.finals
        assert final.text == MARKET
        assert final.finalized
        assert not final.interruptible
        assert final.result.text == MARKET
        assert [w.text for w in final.result.words] == MARKET.split()
        assert call.frames.index(call.partials[0]) < call.frames.index(final)
        assert all(call.frames.index(p) < call.frames.index(final) for p in call.partials)
        assert call.turns == [MARKET]
        # The utterance began before the VAD noticed: in the room tone.
        assert 0.3 < final.result.started_s < 1.6
        assert call.errors == []
    assert pool.status()["calls"] == 0


async def test_a_pause_inside_a_turn_makes_two_finals_in_order(pool: SphinxPool, say: Say) -> None:
    async with calling(Call(pool)) as call:
        await call.hear(room_tone(0.6) + say(COFFEE) + room_tone(0.1) + say(YEARS) + room_tone(1.0))
        await until(lambda: bool(call.turns))
        assert [f.text for f in call.finals] == [COFFEE, YEARS]
        first, second = (f.result for f in call.finals)
        assert second.started_s >= first.started_s + first.audio_s - 0.1
        assert call.turns == [f"{COFFEE} {YEARS}"]


async def test_a_turn_without_words_ends_all_the_same(pool: SphinxPool) -> None:
    """The aggregator's own time-out is far away in this call: only the stage's blank final can end the turn."""
    async with calling(Call(pool, vad=True)) as call:
        await call.hear(room_tone(1.0), speed=10)
        user = call.stt.next
        assert user is not None
        for frame in (VADUserStartedSpeakingFrame(start_secs=0.2), VADUserStoppedSpeakingFrame(stop_secs=0.2)):
            await user.queue_frame(frame)
            await call.tell(type(frame)(**{k: v for k, v in vars(frame).items() if k in ("start_secs", "stop_secs")}))
        await until(lambda: bool(call.turns))
        assert [f.text for f in call.finals] == [NOTHING_HEARD]
        assert call.finals[0].result.text == ""
        assert call.turns == [""]
        assert call.context.messages == []


async def test_an_interruption_loses_nothing(pool: SphinxPool, say: Say) -> None:
    async with calling(Call(pool, vad=False)) as call:
        pcm = say(COFFEE)
        half = len(pcm) // 2 // 640 * 640
        await call.hear(pcm[:half])
        await call.tell(VADUserStartedSpeakingFrame(start_secs=1.2), InterruptionFrame())
        await call.hear(pcm[half:])
        await call.tell(InterruptionFrame(), VADUserStoppedSpeakingFrame(stop_secs=0.2), InterruptionFrame())
        await until(lambda: bool(call.finals))
        assert call.finals[0].text == COFFEE


async def test_the_expected_replies_of_the_moment_are_used(pool: SphinxPool, say: Say) -> None:
    async with calling(Call(pool)) as call:
        call.state.expected = ["A cup of tea, please.", "I would like a cup of coffee, please."]
        await call.hear(room_tone(0.6) + say(COFFEE) + room_tone(0.8))
        await until(lambda: bool(call.turns))
        assert call.finals[0].result.source == "expected"
        assert call.turns == ["I would like a cup of coffee, please."]


async def test_a_final_is_not_the_turns_last_while_the_learner_speaks_again(pool: SphinxPool, say: Say) -> None:
    async with calling(Call(pool, vad=False)) as call:
        worker_pids = pool.status()["pids"]
        await call.tell(VADUserStartedSpeakingFrame())
        await call.hear(say(COFFEE), speed=20)
        for pid in worker_pids:
            os.kill(pid, signal.SIGSTOP)
        await call.tell(VADUserStoppedSpeakingFrame(), VADUserStartedSpeakingFrame())
        for pid in worker_pids:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: len(call.finals) == 1)
        assert not call.finals[0].finalized
        await call.hear(say(YEARS), speed=20)
        await call.tell(VADUserStoppedSpeakingFrame())
        await until(lambda: len(call.finals) == 2)
        assert [f.text for f in call.finals] == [COFFEE, YEARS]
        assert call.finals[1].finalized


async def test_speech_without_a_pause_is_cut_not_lost(say: Say) -> None:
    settings = SETTINGS.model_copy(update={"max_utterance_s": 5.0})
    async with (
        SphinxPool(2, max_utterance_s=5.0, queue_deadline_s=60, utterance_timeout_s=60) as pool,
        calling(Call(pool, settings=settings, vad=False)) as call,
    ):
        await call.tell(VADUserStartedSpeakingFrame())
        await call.hear(say(MARKET) + room_tone(2.0) + say(COFFEE), speed=20)
        await call.tell(VADUserStoppedSpeakingFrame())
        await until(lambda: len(call.finals) == 2)
        assert call.finals[0].text == MARKET
        assert call.finals[1].text.startswith(COFFEE)
        assert call.finals[1].finalized
        first, second = (f.result for f in call.finals)
        assert first.audio_s == 5.0
        assert second.started_s == pytest.approx(first.started_s + 5.0)


async def test_a_busy_recogniser_is_an_error_and_the_call_goes_on(say: Say) -> None:
    async with SphinxPool(1, queue_deadline_s=0.3, utterance_timeout_s=60) as pool:
        settings = PocketsphinxSettings(workers=1, queue_deadline_s=0.3)
        async with calling(Call(pool, settings=settings, vad=False)) as call:
            (pid,) = pool.status()["pids"]
            os.kill(pid, signal.SIGSTOP)
            blocker = pool.open()
            blocker.feed(say(YEARS))
            blocked = blocker.finish()
            await call.tell(VADUserStartedSpeakingFrame())
            await call.hear(say(COFFEE), speed=20)
            await call.tell(VADUserStoppedSpeakingFrame())
            await until(lambda: bool(call.finals and call.errors))
            os.kill(pid, signal.SIGCONT)
            assert "came free within" in call.errors[0].error
            assert not call.errors[0].fatal
            assert call.errors[0].processor is call.stt
            assert call.finals[0].text == NOTHING_HEARD
            assert call.finals[0].finalized
            await asyncio.wait_for(blocked, SOON_S)
            await call.tell(VADUserStartedSpeakingFrame())
            await call.hear(say(YEARS), speed=20)
            await call.tell(VADUserStoppedSpeakingFrame())
            await until(lambda: len(call.finals) == 2)
            assert call.finals[1].text == YEARS


async def test_what_was_said_before_the_end_is_still_delivered(pool: SphinxPool, say: Say) -> None:
    call = Call(pool, vad=False)
    running = asyncio.create_task(call.run())
    await asyncio.wait_for(call.started.wait(), SOON_S)
    await call.tell(VADUserStartedSpeakingFrame())
    await call.hear(say(COFFEE))
    await call.tell(VADUserStoppedSpeakingFrame())
    await call.worker.queue_frame(EndFrame())
    await asyncio.wait_for(running, SOON_S)
    assert [f.text for f in call.finals] == [COFFEE]
    assert pool.status()["open_utterances"] == 0
    assert pool.status()["calls"] == 0


@pytest.mark.parametrize("ending", ["end", "cancel"])
async def test_a_call_that_ends_in_the_middle_of_a_word_leaves_nothing(pool: SphinxPool, say: Say, ending: str) -> None:
    call = Call(pool, vad=False)
    running = asyncio.create_task(call.run())
    await asyncio.wait_for(call.started.wait(), SOON_S)
    assert pool.status()["calls"] == 1
    await call.tell(VADUserStartedSpeakingFrame())
    await call.hear(say(MARKET)[:48_000], speed=20)
    assert pool.status()["open_utterances"] == 1
    await (call.worker.queue_frame(EndFrame()) if ending == "end" else call.worker.cancel())
    await asyncio.wait_for(running, SOON_S)
    assert call.finals == []
    assert pool.status()["open_utterances"] == 0
    assert pool.status()["calls"] == 0
    assert pool.status()["restarts"] == 0


async def test_a_muted_learner_is_not_heard(pool: SphinxPool, say: Say) -> None:
    async with calling(Call(pool, vad=False)) as call:
        await call.hear(say(COFFEE), speed=20)
        await call.tell(STTMuteFrame(mute=True), VADUserStartedSpeakingFrame(start_secs=1.0))
        await call.hear(say(YEARS), speed=20)
        await call.tell(VADUserStoppedSpeakingFrame())
        await until(lambda: bool(call.finals))
        assert call.finals[0].text == NOTHING_HEARD


async def test_the_engine_from_load_to_close(say: Say) -> None:
    engine = PocketsphinxEngine(PocketsphinxSettings(workers=1))
    assert engine.status().state == "unloaded"
    with pytest.raises(AtCapacity, match="unloaded"):
        engine.admit()
    await engine.load()
    try:
        engine.admit()
        status = engine.status()
        assert (status.name, status.stage, status.state) == ("pocketsphinx", "stt", "ready")
        assert {"workers", "queue_depth", "busy", "partials_dropped", "restarts", "real_time_factor"} <= set(status.detail)
        stage = engine.create(CallState("a", "beginner", "introductions"))
        assert isinstance(stage, PocketsphinxSTTService)
        assert stage.service_metadata_frame().ttfs_p99_latency > PocketsphinxSettings().queue_deadline_s
    finally:
        await engine.close()
    await engine.close()
    assert engine.status().state == "unloaded"


async def test_turn_frames_pass_through(pool: SphinxPool) -> None:
    async with calling(Call(pool, vad=False)) as call:
        await call.tell(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), UserStoppedSpeakingFrame())
        await until(lambda: bool(call.finals))
        passed = [type(f) for f in call.frames]
        assert {VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame, UserStoppedSpeakingFrame} <= set(passed)
