"""The espeak service inside a running pipeline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    TTSUpdateSettingsFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.services.settings import TTSSettings
from pipecat.workers.runner import WorkerRunner

from agent.record import Word
from pipeline.engine import CallState
from pipeline.options import CallOptions
from pipeline.settings.tree import EspeakSettings
from pipeline.tts.clauses import ClauseAggregator
from pipeline.tts.espeak import LEVEL_RATE, EspeakEngine, EspeakTTSService
from pipeline.tts.espeak_library import EspeakError, UnknownVoice
from tests.pipeline.tts.collector import LIVE_S, Collector

REPLY = "Good morning, my dear friend. I am glad that you came! What did you eat today?"


@dataclass
class Bench:
    """A pipeline of the service alone."""

    call: CallState
    service: EspeakTTSService
    out: Collector
    worker: PipelineWorker
    words: dict[str, list[Word]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    async def send(self, *frames: Frame) -> None:
        await self.worker.queue_frames(list(frames))

    async def reply(self, text: str) -> str:
        """Speak a reply, written word by word, to its end; returns its context id."""
        stopped = len(self.out.of(TTSStoppedFrame))
        await self.send(
            LLMFullResponseStartFrame(), *(LLMTextFrame(w + " ") for w in text.split(" ")), LLMFullResponseEndFrame()
        )
        await self.out.wait(lambda: len(self.out.of(TTSStoppedFrame)) > stopped)
        context_id = self.out.of(TTSStoppedFrame)[stopped].context_id
        assert context_id is not None
        return context_id

    async def closed(self) -> None:
        """Until no audio context is open: pipecat closes one just behind its last frame."""
        async with asyncio.timeout(LIVE_S):
            while self.service.get_audio_contexts():  # noqa: ASYNC110  # pipecat has no event for it
                await asyncio.sleep(0.005)

    def audio(self, context_id: str) -> np.ndarray:
        """int16 (samples,) of one context."""
        return np.frombuffer(
            b"".join(f.audio for f in self.out.of(TTSAudioRawFrame) if f.context_id == context_id), dtype=np.int16
        )


Make = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


@pytest.fixture
async def engine() -> AsyncIterator[EspeakEngine]:
    e = EspeakEngine(EspeakSettings())
    await e.load()
    yield e
    await e.close()


@pytest.fixture
def bench(engine: EspeakEngine) -> Make:
    @contextlib.asynccontextmanager
    async def make(rate_hz: int = 24_000) -> AsyncIterator[Bench]:
        call = CallState("s1", "intermediate", "introductions")
        service, out = engine.create(call), Collector()
        worker = PipelineWorker(
            Pipeline([service, out]),
            params=PipelineParams(audio_out_sample_rate=rate_hz),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        b = Bench(call, service, out, worker)
        service.on_words = lambda context_id, words: b.words.setdefault(context_id, []).extend(words)
        service.add_event_handler("on_error", lambda _service, error: b.errors.append(error.error))
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run(auto_end=True))
        try:
            yield b
        finally:
            await worker.queue_frame(EndFrame())
            async with asyncio.timeout(LIVE_S):
                await running

    return make


@pytest.mark.parametrize("rate_hz", [24_000, 48_000, 16_000])
async def test_a_reply_is_one_context_of_20_ms_frames(bench: Make, rate_hz: int) -> None:
    async with bench(rate_hz) as b:
        context_id = await b.reply(REPLY)
        audio = b.out.of(TTSAudioRawFrame)
        assert {f.context_id for f in audio} == {context_id}
        assert {(f.sample_rate, f.num_channels, len(f.audio)) for f in audio} == {(rate_hz, 1, 2 * rate_hz // 50)}
        assert [f.context_id for f in b.out.of(TTSStartedFrame)] == [context_id]
        assert [f.context_id for f in b.out.of(TTSStoppedFrame)] == [context_id]
        kinds = [type(f) for f in b.out.frames]
        assert kinds.index(TTSStartedFrame) < kinds.index(TTSAudioRawFrame)
        assert kinds.index(TTSStoppedFrame) > len(kinds) - 1 - kinds[::-1].index(TTSAudioRawFrame)
        assert 4 < len(b.audio(context_id)) / rate_hz < 8
        assert b.errors == []


async def test_words_are_timed_over_the_whole_reply(bench: Make) -> None:
    async with bench() as b:
        context_id = await b.reply(REPLY)
        words, audio = b.words[context_id], b.audio(context_id)
        assert " ".join(w.text for w in words) == REPLY
        assert " ".join(f.text for f in b.out.of(TTSTextFrame)) == REPLY
        times = [t for w in words for t in (w.start_s, w.end_s)]
        assert times == sorted(times)
        assert times[-1] <= len(audio) / 24_000

        def level(from_s: float, to_s: float) -> float:
            return float(np.sqrt(np.mean(np.square(audio[int(from_s * 24_000) : int(to_s * 24_000)].astype(float)))))

        # The reply came in four pieces, cut behind "morning," "friend." and "came!": silence before a piece, voice in it.
        firsts = [i for i, w in enumerate(words) if i and words[i - 1].text[-1] in ",.!"]
        assert len(firsts) >= 3
        for i in firsts:
            assert words[i].start_s - words[i - 1].end_s > 0.1
            assert level(words[i - 1].end_s + 0.01, words[i].start_s - 0.01) < 50
            assert level(words[i].start_s, words[i].start_s + 0.15) > 300


async def test_word_frames_are_stamped_in_the_order_of_the_words(bench: Make) -> None:
    async with bench() as b:
        context_id = await b.reply(REPLY)
        stamps = [f.pts for f in b.out.of(TTSTextFrame)]
        assert stamps == sorted(stamps)
        spoken_s = (stamps[-1] - stamps[0]) / 1e9
        words = b.words[context_id]
        assert spoken_s == pytest.approx(words[-1].start_s - words[0].start_s, abs=0.01)


async def test_the_first_piece_leaves_before_the_reply_is_written(bench: Make) -> None:
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("Thank you very much,"))
        await b.out.wait(lambda: len(b.out.of(TTSAudioRawFrame)) > 0)
        await b.send(LLMTextFrame(" that was good."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        (context_id,) = b.words
        assert " ".join(w.text for w in b.words[context_id]) == "Thank you very much, that was good."


async def test_an_interruption_stops_the_reply_and_the_next_one_is_clean(bench: Make) -> None:
    async with bench() as b:
        interrupted = False
        heard_after: list[str | None] = []

        async def interrupt(frame: Frame) -> None:
            nonlocal interrupted
            if isinstance(frame, TTSAudioRawFrame) and not interrupted:
                interrupted = True
                await b.send(InterruptionFrame())

        b.out.on_frame = interrupt
        long = "Now I will tell you a very long story about the sea and the ships " * 25
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame(long + "."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(InterruptionFrame)) > 0)
        b.out.on_frame = None
        at = b.out.frames.index(b.out.of(InterruptionFrame)[0])
        before = b.out.of(TTSAudioRawFrame)
        old = before[0].context_id
        spoken_s = len(before) * 0.02
        assert spoken_s < 60  # of the two minutes that the story takes
        assert b.service._synthesizer.active == 0

        context_id = await b.reply("Sorry. Please go on.")
        heard_after = [f.context_id for f in b.out.frames[at:] if isinstance(f, TTSAudioRawFrame | TTSTextFrame)]
        assert context_id != old
        assert set(heard_after) == {context_id}
        assert " ".join(w.text for w in b.words[context_id]) == "Sorry. Please go on."
        assert b.words[context_id][0].start_s < 0.1
        assert b.errors == []


async def test_many_interruptions_leave_nothing(bench: Make) -> None:
    async with bench() as b:
        await b.reply("Hello.")
        for _ in range(30):
            seen = len(b.out.of(InterruptionFrame))
            await b.send(LLMFullResponseStartFrame(), LLMTextFrame(REPLY * 5), LLMFullResponseEndFrame(), InterruptionFrame())
            await b.out.wait(lambda seen=seen: len(b.out.of(InterruptionFrame)) > seen)
        await b.reply("Good.")
        await b.closed()
        assert b.service._synthesizer.active == 0
        assert len(b.service._replies) <= 16


async def test_the_level_sets_the_rate_of_the_next_reply(bench: Make) -> None:
    async with bench() as b:
        lengths = {}
        for level in LEVEL_RATE:
            b.call.level = level
            context_id = await b.reply("I would like to know what you did on the weekend with your family.")
            lengths[level] = b.words[context_id][-1].end_s
        assert lengths["beginner"] > 1.1 * lengths["intermediate"] > 1.2 * lengths["advanced"]


async def test_the_option_speech_rate_changes_the_length_of_the_next_reply(bench: Make) -> None:
    async with bench() as b:
        lengths = {}
        for rate in (0.8, 1.0, 1.3):
            b.call.options = CallOptions(speech_rate=rate)
            lengths[rate] = b.audio(await b.reply(REPLY)).size
    assert lengths[1.0] / lengths[1.3] == pytest.approx(1.3, rel=0.12)
    assert lengths[0.8] / lengths[1.0] == pytest.approx(1.25, rel=0.12)


async def test_a_change_of_level_waits_for_the_next_reply(bench: Make) -> None:
    sentence = "I would like to know what you did on the weekend."
    async with bench() as b:
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame(sentence))
        await b.out.wait(lambda: len(b.out.of(TTSAudioRawFrame)) > 0)
        b.call.level = "beginner"
        await b.send(LLMTextFrame(" " + sentence), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        (words,) = b.words.values()
        first, second = words[: len(words) // 2], words[len(words) // 2 :]
        assert second[-1].end_s - second[0].start_s == pytest.approx(first[-1].end_s - first[0].start_s, rel=0.03)


async def test_pieces_without_speech_keep_the_service_alive(bench: Make) -> None:
    """pipecat writes a service off after three silent replies, and leaves a context without audio open for its timeout."""
    async with bench() as b:
        for text in ("😀", "...", "🎉 🎉", "?!", "😀"):
            context_id = await b.reply(text)
            assert len(b.audio(context_id)) == 480
            assert not b.audio(context_id).any()
        context_id = await b.reply("Now 😀 we speak.")
        assert " ".join(w.text for w in b.words[context_id]) == "Now 😀 we speak."
        assert b.service.is_usable
        assert b.errors == []


async def test_a_reply_that_ends_in_an_emoji_is_closed(bench: Make) -> None:
    async with bench() as b:
        context_id = await b.reply("That is right! 😀")
        await b.closed()
        assert [f.context_id for f in b.out.of(TTSStoppedFrame)] == [context_id]


async def test_a_reply_that_goes_on_after_pipecat_closed_it(bench: Make) -> None:
    """The words' own times go on, and those of pipecat start anew with the context that it opens again."""
    async with bench() as b:
        b.service._stop_frame_timeout_s = 0.2
        await b.send(LLMFullResponseStartFrame(), LLMTextFrame("I need a moment."))
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        await b.send(LLMTextFrame(" Here it is."), LLMFullResponseEndFrame())
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 2)
        (context_id,) = b.words
        words, audio = b.words[context_id], b.audio(context_id)
        assert " ".join(w.text for w in words) == "I need a moment. Here it is."
        times = [t for w in words for t in (w.start_s, w.end_s)]
        assert times == sorted(times)
        assert times[-1] <= len(audio) / 24_000
        at = next(i for i, w in enumerate(words) if w.text == "Here")
        assert words[at].start_s - words[at - 1].end_s > 0.3
        frames = b.out.of(TTSTextFrame)
        gap_s = (frames[-1].pts - frames[at].pts) / 1e9
        assert gap_s == pytest.approx(words[-1].start_s - words[at].start_s, abs=0.01)
        # "Here" stands 0.38 s behind the start of the second context, which began behind the last word or in the past.
        began = max(frames[at - 1].pts, b.service.get_clock().get_time())
        assert frames[at].pts <= began + 0.45e9


async def test_a_speak_frame_is_a_reply_of_its_own(bench: Make) -> None:
    async with bench() as b:
        await b.send(TTSSpeakFrame("Welcome back. Shall we begin?"))
        await b.out.wait(lambda: len(b.out.of(TTSStoppedFrame)) == 1)
        (words,) = b.words.values()
        assert " ".join(w.text for w in words) == "Welcome back. Shall we begin?"


async def test_a_wrong_voice_is_an_error_and_the_call_goes_on(bench: Make) -> None:
    async with bench() as b:
        await b.send(TTSUpdateSettingsFrame(delta=TTSSettings(voice="klingon-9")))
        await b.reply("Hello.")
        assert any("no voice 'klingon-9'" in e for e in b.errors)
        await b.send(TTSUpdateSettingsFrame(delta=TTSSettings(voice="en-gb")))
        context_id = await b.reply("Hello.")
        assert [w.text for w in b.words[context_id]] == ["Hello."]
        assert b.out.of(ErrorFrame) == []


async def test_two_calls_at_a_time(bench: Make, engine: EspeakEngine) -> None:
    async with bench() as a, bench(48_000) as b:
        first, second = await asyncio.gather(a.reply(REPLY), b.reply("Well. " + REPLY))
        assert " ".join(w.text for w in a.words[first]) == REPLY
        assert " ".join(w.text for w in b.words[second]) == "Well. " + REPLY
        assert engine.status().detail["active"] == 0


async def test_the_service_cuts_clauses_itself(engine: EspeakEngine) -> None:
    service = engine.create(CallState("s1", "beginner", "introductions"))
    assert isinstance(service._text_aggregator, ClauseAggregator)


async def test_the_engine_tells_its_state() -> None:
    engine = EspeakEngine(EspeakSettings())
    assert engine.status().state == "unloaded"
    with pytest.raises(EspeakError, match="not loaded"):
        engine.admit()
    await engine.load()
    status = engine.status()
    assert (status.name, status.stage, status.state) == ("espeak", "tts", "ready")
    assert status.detail["sample_rate_hz"] == 22_050
    engine.admit()
    await engine.close()
    await engine.close()
    assert engine.status().state == "unloaded"


async def test_a_wrong_voice_in_the_settings_fails_the_load() -> None:
    engine = EspeakEngine(EspeakSettings(voice="klingon-9"))
    with pytest.raises(UnknownVoice, match=r"no voice 'klingon-9'; it has .*en-us"):
        await engine.load()
    status = engine.status()
    assert status.state == "failed"
    assert "klingon-9" in status.detail["error"]
    await engine.close()
