"""The WebSocket transport inside a real pipeline, with a sink in place of the socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipeline.messages import AiText, Connected, Interrupted, Playout, Pong, Speaking
from pipeline.transports.websocket import AHEAD_S, WebSocketTransport

LIVENESS_S = 20.0


class RecordingSink:
    """Keeps what was written. ``gate`` cleared: the peer does not read. ``gone``: writing fails."""

    def __init__(self) -> None:
        self.items: list[tuple[float, dict[str, Any] | bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = False

    async def send_json(self, data: dict[str, Any]) -> None:
        await self._take(data)

    async def send_bytes(self, data: bytes) -> None:
        await self._take(data)

    async def _take(self, item: dict[str, Any] | bytes) -> None:
        await self.gate.wait()
        if self.gone:
            raise ConnectionError("gone")
        self.items.append((time.monotonic(), item))

    async def close(self, code: int, reason: str) -> None:
        await self.gate.wait()
        self.closed = self.closed or (code, reason)

    @property
    def kinds(self) -> list[str]:
        """Types in the order of writing; runs of audio count once."""
        kinds: list[str] = []
        for _, item in self.items:
            kind = "audio" if isinstance(item, bytes) else item["type"]
            if kind != "audio" or kinds[-1:] != ["audio"]:
                kinds.append(kind)
        return kinds

    @property
    def audio(self) -> bytes:
        return b"".join(item for _, item in self.items if isinstance(item, bytes))


class Probe(FrameProcessor):
    """Stands where the stages of a call would: keeps what comes from the input, and lets a test speak."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[InputAudioRawFrame] = []
        self.stopped = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.heard.append(frame)
            return
        if isinstance(frame, BotStoppedSpeakingFrame):
            self.stopped.set()
        await self.push_frame(frame, direction)

    async def speak(self, utterance: str, seconds: float, rate: int = 24_000) -> None:
        tone = tone_pcm16(seconds, rate)
        await self.push_frame(TTSStartedFrame(context_id=utterance))
        for i in range(0, len(tone), rate // 5):
            await self.push_frame(
                TTSAudioRawFrame(audio=tone[i : i + rate // 5], sample_rate=rate, num_channels=1, context_id=utterance)
            )
        await self.push_frame(TTSStoppedFrame(context_id=utterance))


def tone_pcm16(seconds: float, rate: int) -> bytes:
    t = np.arange(int(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * 1000 * t)).astype(np.int16).tobytes()


@asynccontextmanager
async def running(transport: WebSocketTransport) -> AsyncIterator[Probe]:
    probe, started = Probe(), asyncio.Event()
    worker = PipelineWorker(
        Pipeline([transport.input(), probe, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=transport.playout.rate_hz),
        enable_rtvi=False,
        idle_timeout_secs=None,
    )
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    task = asyncio.create_task(runner.run(auto_end=True))
    try:
        await asyncio.wait_for(started.wait(), LIVENESS_S)
        yield probe
    finally:
        await worker.cancel()
        await asyncio.wait_for(task, LIVENESS_S)
        await transport.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIVENESS_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_audio_comes_in_as_dated_frames_whatever_the_message_sizes() -> None:
    transport = WebSocketTransport(RecordingSink())
    async with running(transport) as probe:
        data, start = tone_pcm16(0.5, 16_000), time.monotonic()
        at = 0
        for size in (2, 638, 1280, 6, 5000, 9074):
            transport.feed_audio(data[at : at + size], start + (at + size) / 32_000)
            at += size
        assert at == len(data)
        await until(lambda: len(probe.heard) == 25)
        assert b"".join(f.audio for f in probe.heard) == data
        assert {(f.sample_rate, f.num_channels, len(f.audio)) for f in probe.heard} == {(16_000, 1, 640)}
        ends = [f.metadata["capture_end_s"] for f in probe.heard]
        assert ends == pytest.approx([0.02 * i for i in range(1, 26)])
        assert transport.capture.time_of(ends[-1]) == pytest.approx(start + 0.5)


async def test_the_capture_clock_starts_anew_after_a_muted_microphone() -> None:
    transport = WebSocketTransport(RecordingSink())
    transport.feed_audio(bytes(640), 100.0)
    transport.feed_audio(bytes(640), 130.0)
    assert transport.capture.time_of(0.04) == pytest.approx(130.0)


async def test_a_flood_is_bounded_and_said() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink)
    async with running(transport) as probe:
        now = time.monotonic()
        for i in range(6000):  # two minutes of audio in (nearly) no time
            transport.feed_audio(bytes(640), now + i * 0.0002)
        assert transport.intake.backlog_s <= 5.0
        await until(lambda: sink.kinds.count("error") >= 1)
        assert "faster" in sink.items[0][1]["message"]  # type: ignore[call-overload,index]
        assert sink.kinds.count("error") <= 3
        assert len(probe.heard) < 400


async def test_speech_goes_out_announced_in_order_and_at_real_time() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, extras=True)
    voiced: list[str] = []
    transport.playout.on_first_voiced = lambda utterance, _: voiced.append(utterance)
    async with running(transport) as probe:
        await transport.send(AiText(text="hello", is_complete=False))
        await probe.speak("one", 0.5)
        await until(lambda: len(sink.audio) == 24_000)
        await transport.send(AiText(text="hello", is_complete=True))
        await probe.speak("two", 0.3)
        await until(lambda: len(sink.audio) == 24_000 + 14_400)
    assert sink.kinds == ["ai_text", "ai_audio_start", "audio", "ai_text", "ai_audio_start", "audio"]
    assert sink.items[1][1] == {"type": "ai_audio_start", "sample_rate": 24_000}
    assert voiced == ["one", "two"]
    assert transport.playout.sent_s("one") == pytest.approx(0.5)
    assert transport.playout.position == 0.8 * 24_000
    sent_s, first = 0.0, None
    for at, item in sink.items:
        if isinstance(item, bytes):
            first = at if first is None else first
            sent_s += len(item) / 48_000
            # A late clock only ever makes it slower, so this bound does not depend on the machine.
            assert sent_s - (at - first) <= AHEAD_S + 0.001


async def test_another_rate_is_resampled_to_the_door() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink)
    async with running(transport) as probe:
        await probe.speak("espeak", 1.0, rate=22_050)
        await until(lambda: transport.playout.sent_s("espeak") >= 1.0)
    samples = np.frombuffer(sink.audio, np.int16).astype(float)
    middle = samples[6_000:18_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 24_000 / len(middle) == pytest.approx(1000, abs=4)
    assert 20 * np.log10(np.sqrt(np.mean(middle**2)) / (8000 / np.sqrt(2))) == pytest.approx(0, abs=1)


async def test_a_door_with_a_rate_of_its_own_gets_20_ms_of_it_a_message() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, door="phone", extras=True, client_holds=False, rate_hz=8_000, ahead_s=0.1)
    async with running(transport) as probe:
        await probe.speak("u1", 1.0)
        await until(lambda: transport.playout.sent_s("u1") >= 0.99)
    pieces = [item for _, item in sink.items if isinstance(item, bytes)]
    assert {len(piece) for piece in pieces} == {320}
    samples = np.frombuffer(sink.audio, np.int16)[:8_000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(int(spectrum.argmax()) * 8_000 / len(samples) - 1_000) < 5
    assert 8_000 * 10 ** (-1 / 20) < np.abs(samples[1_000:-1_000]).max() < 8_000 * 10 ** (1 / 20)


async def test_an_interruption_drops_what_has_not_been_sent() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, extras=True)
    async with running(transport) as probe:
        await probe.speak("long", 30.0)
        await until(lambda: transport.playout.sent_s("long") > 0.3)
        await probe.push_frame(InterruptionFrame())
        await asyncio.wait_for(probe.stopped.wait(), LIVENESS_S)
        await transport.send(Interrupted(text="so far"))
        await until(lambda: "interrupted" in sink.kinds)
        sent_s = transport.playout.sent_s("long")
        await asyncio.sleep(0.3)
        assert transport.playout.sent_s("long") == sent_s < 20
        assert sink.kinds[-1] == "interrupted"
        await probe.speak("next", 0.1)
        await until(lambda: transport.playout.sent_s("next") >= 0.1)
    assert sink.kinds[-2:] == ["ai_audio_start", "audio"]


@pytest.mark.parametrize("extras", [True, False])
async def test_a_hold_sends_nothing_and_what_follows_goes_on_at_the_very_sample(extras: bool) -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, extras=extras)
    async with running(transport) as probe:
        await probe.speak("long", 1.0)
        await until(lambda: transport.playout.sent_s("long") > 0.3)
        transport.hold()
        transport.hold()
        await asyncio.sleep(0.1)
        held_s = transport.playout.sent_s("long")
        held_bytes = len(sink.audio)
        await asyncio.sleep(0.4)
        assert len(sink.audio) == held_bytes
        assert transport.playout.sent_s("long") == held_s
        transport.resume()
        transport.resume()
        await until(lambda: transport.playout.sent_s("long") >= 1.0)
        await asyncio.wait_for(probe.stopped.wait(), LIVENESS_S)
    said, sent = np.frombuffer(tone_pcm16(1.0, 24_000), np.int16), np.frombuffer(sink.audio, np.int16)
    assert len(sent) == len(said)
    differ = np.flatnonzero(sent != said)
    if extras:
        assert len(differ) == 0
        assert [kind for kind in sink.kinds if kind != "audio"] == ["ai_audio_start", "hold", "go_on"]
    else:
        # A client that knows no hold runs dry: what it plays last fades out, and what it plays next fades in.
        assert held_bytes // 2 - 120 <= differ.min() <= differ.max() < held_bytes // 2 + 120
        assert (np.abs(sent) <= np.abs(said)).all()
        assert sink.kinds == ["ai_audio_start", "audio"]


async def test_an_interruption_drops_what_was_held() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, extras=True)
    async with running(transport) as probe:
        await probe.speak("long", 30.0)
        await until(lambda: transport.playout.sent_s("long") > 0.3)
        transport.hold()
        await asyncio.sleep(0.1)
        sent_s = transport.playout.sent_s("long")
        await probe.push_frame(InterruptionFrame())
        await asyncio.wait_for(probe.stopped.wait(), LIVENESS_S)
        await probe.speak("next", 0.1)
        await until(lambda: transport.playout.sent_s("next") >= 0.1)
        assert transport.playout.sent_s("long") == sent_s


async def test_an_utterance_interrupted_before_its_audio_is_not_announced() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink)
    async with running(transport) as probe:
        await probe.push_frame(TTSStartedFrame(context_id="silent"))
        await probe.push_frame(InterruptionFrame())
        await probe.speak("next", 0.1)
        await until(lambda: transport.playout.sent_s("next") >= 0.1)
    assert sink.kinds == ["ai_audio_start", "audio"]


async def test_a_client_that_stops_reading_is_lost_without_holding_the_call() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, send_timeout_s=0.3)
    lost: list[str] = []

    async def on_lost(reason: str) -> None:
        lost.append(reason)

    transport.on_lost = on_lost
    async with running(transport) as probe:
        sink.gate.clear()
        await probe.speak("unheard", 60.0)
        for _ in range(10_000):
            await transport.send(Pong())  # returns although nothing is read
        assert transport.outbox.waiting <= 1_000
        await until(lambda: bool(lost))
    assert len(lost) == 1
    assert transport.playout.position == 0


async def test_a_stalled_client_with_few_messages_is_lost_by_the_timeout() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, send_timeout_s=0.2)
    lost: list[str] = []

    async def on_lost(reason: str) -> None:
        lost.append(reason)

    transport.on_lost = on_lost
    sink.gate.clear()
    await transport.send(Pong())
    await until(lambda: bool(lost))
    assert "read nothing" in lost[0]
    await transport.close()


async def test_a_failing_socket_is_a_loss_told_once() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink)
    lost: list[str] = []

    async def on_lost(reason: str) -> None:
        lost.append(reason)

    transport.on_lost = on_lost
    sink.gone = True
    for _ in range(5):
        await transport.send(Pong())
    await until(lambda: bool(lost))
    await transport.lost("again")
    assert len(lost) == 1
    await transport.send(Pong())
    await transport.close()
    await transport.close()


async def test_a_closed_transport_is_not_lost_and_sends_what_waited_first() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink)
    lost: list[str] = []

    async def on_lost(reason: str) -> None:
        lost.append(reason)

    transport.on_lost = on_lost
    for _ in range(20):
        await transport.send(Pong())
    await transport.close(1000, "done")
    await transport.lost("late")
    assert sink.kinds == ["pong"] * 20
    assert sink.closed == (1000, "done")
    assert not lost


async def test_a_released_transport_leaves_the_socket_open_and_is_silent() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink)
    await transport.send(Pong())
    await transport.release()
    await transport.send(Pong())
    await transport.close()
    assert sink.kinds == ["pong"]
    assert sink.closed is None


async def test_extras_reach_only_those_who_asked() -> None:
    for extras, expected in ((False, ["connected"]), (True, ["connected", "speaking", "interrupted"])):
        sink = RecordingSink()
        transport = WebSocketTransport(sink, extras=extras)
        await transport.send(Connected(session_id="s"))
        await transport.send(Speaking(who="learner", active=True))
        await transport.send(Interrupted(text=""))
        await transport.close()
        assert sink.kinds == expected
        assert sink.items[0][1] == {"type": "connected", "session_id": "s"}


async def test_a_playout_report_moves_the_ledger() -> None:
    sink = RecordingSink()
    transport = WebSocketTransport(sink, extras=True)
    async with running(transport) as probe:
        await probe.speak("one", 0.4)
        await until(lambda: transport.playout.sent_s("one") >= 0.4)
        at = time.monotonic()
        transport.report_playout(Playout(sample=4800), at)
        assert transport.playout.heard_s("one", at) == pytest.approx(0.2)
        assert transport.playout.heard_at("one") is not None
        transport.report_playout(Playout(rtp_timestamp=1), at)
        await until(lambda: sink.kinds[-1] == "error")


async def test_on_ready_is_called_once_the_pipeline_can_send() -> None:
    transport = WebSocketTransport(RecordingSink())
    ready: list[int] = []

    async def on_ready() -> None:
        ready.append(1)

    transport.on_ready = on_ready
    async with running(transport):
        await until(lambda: bool(ready))
    assert ready == [1]


async def test_no_task_outlives_the_transport() -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        transport = WebSocketTransport(RecordingSink())
        async with running(transport) as probe:
            transport.feed_audio(bytes(6400), time.monotonic())
            await probe.speak("one", 0.5)
    await asyncio.sleep(0.05)
    left = {t.get_name() for t in asyncio.all_tasks() - before}
    assert not left
