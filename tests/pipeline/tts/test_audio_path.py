"""A 1 kHz tone through each resampling path of a WebRTC call, for ten minutes: its level, its pitch, and no drift.

The media tests of the doors send short tones through real connections. Here the same codecs and resamplers run without the
network and its clock, so that ten minutes take seconds.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import soxr
from av import AudioFrame, CodecContext
from av.packet import Packet
from pipecat.frames.frames import (
    EndFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from pipeline.engine import CallState
from pipeline.settings.tree import EspeakSettings
from pipeline.transports.opus import Decoder, Encoder
from pipeline.tts.espeak import EspeakEngine
from pipeline.tts.resample import StreamResampler

LEVEL = 8_000
MINUTES = 10
HZ = 1_000


def tone(start: int, samples: int, rate_hz: int) -> np.ndarray:
    """int16 (samples,): the tone from sample ``start`` on."""
    return np.round(LEVEL * np.sin(2 * np.pi * HZ * (np.arange(samples) + start) / rate_hz)).astype(np.int16)


def check(audio: np.ndarray, rate_hz: int, seconds: float) -> None:
    """``audio``, int16 (samples,): 1 kHz at its level and no drift over all of it."""
    assert abs(len(audio) / rate_hz - seconds) < 0.03  # a codec's frame and its look-ahead

    def phase_and_level(at: int) -> tuple[float, float]:
        n = np.arange(rate_hz)
        part = audio[at : at + rate_hz].astype(float)
        # One bin of the Fourier transform, at 1 kHz, against time counted in samples from the very start.
        bin_ = 2 * np.mean(part * np.exp(-2j * np.pi * HZ * (n + at) / rate_hz))
        return float(np.angle(bin_)), float(np.abs(bin_))

    places = np.linspace(rate_hz, len(audio) - 2 * rate_hz, 40).astype(int)
    measured = [phase_and_level(int(at)) for at in places]
    for _, level in measured:
        assert abs(20 * math.log10(level / LEVEL)) < 1
    turns = np.unwrap([phase for phase, _ in measured])
    # A lost or doubled sample at 16 kHz is 22 degrees, a clock wrong by one part in a million 216 after ten minutes.
    assert np.max(np.abs(turns - turns[0])) < math.radians(10)


def test_the_tutors_voice_to_a_webrtc_client() -> None:
    resampler, encoder = StreamResampler(22_050, 24_000), Encoder(96_000, 5)
    client = CodecContext.create("libopus", "r")
    client.format, client.layout, client.sample_rate = "s16", "mono", 48_000  # type: ignore[attr-defined]
    pending, out = np.zeros(0, np.int16), []
    total, chunk = MINUTES * 60 * 22_050, 1_323
    for start in range(0, total, chunk):
        pcm = resampler.process(tone(start, min(chunk, total - start), 22_050).tobytes())
        if start + chunk >= total:
            pcm += resampler.flush()
        pending = np.concatenate([pending, np.frombuffer(pcm, np.int16)])
        while len(pending) >= 480:
            out += [f.to_ndarray().reshape(-1) for f in client.decode(Packet(encoder.encode(pending[:480])))]  # type: ignore[attr-defined]
            pending = pending[480:]
    assert len(pending) == 0
    check(np.concatenate(out), 48_000, MINUTES * 60)


def test_the_learners_voice_from_a_webrtc_client() -> None:
    decoder = Decoder()
    client = CodecContext.create("libopus", "w")
    client.format, client.layout, client.sample_rate, client.bit_rate = "s16", "mono", 48_000, 64_000  # type: ignore[attr-defined]
    out = []
    for i in range(MINUTES * 60 * 50):
        frame = AudioFrame.from_ndarray(tone(i * 960, 960, 48_000).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, i * 960, Fraction(1, 48_000)
        out += [decoder.decode(bytes(packet)) for packet in client.encode(frame)]  # type: ignore[attr-defined]
    assert {len(part) for part in out} == {320}
    check(np.concatenate(out), 16_000, MINUTES * 60)


class Door(BaseOutputTransport):
    """pipecat's own output with its chunking and resampling, which keeps what it would send."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True))
        self.sent: list[OutputAudioRawFrame] = []

    async def start(self, frame: object) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self.sent.append(frame)
        return True


@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
async def test_the_voice_is_resampled_once(rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[float, float]] = []
    resample_stream = soxr.ResampleStream

    def count(in_rate: float, out_rate: float, *args: object, **kwargs: object) -> object:
        made.append((in_rate, out_rate))
        return resample_stream(in_rate, out_rate, *args, **kwargs)

    monkeypatch.setattr(soxr, "ResampleStream", count)
    engine = EspeakEngine(EspeakSettings())
    await engine.load()
    door = Door()
    worker = PipelineWorker(
        Pipeline([engine.create(CallState("s1", "intermediate", "introductions")), door]),
        params=PipelineParams(audio_out_sample_rate=rate_hz),
        enable_rtvi=False,
        enable_turn_tracking=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await worker.queue_frames(
        [LLMFullResponseStartFrame(), LLMTextFrame("Good morning, my dear friend."), LLMFullResponseEndFrame(), EndFrame()]
    )
    await runner.run(auto_end=True)
    await engine.close()
    assert made == [(22_050, rate_hz)]
    sent = np.frombuffer(b"".join(f.audio for f in door.sent), np.int16)
    assert {f.sample_rate for f in door.sent} == {rate_hz}
    assert np.std(sent) > 300
