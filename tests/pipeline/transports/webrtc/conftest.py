"""A real aiortc client, and the smallest call: a pipeline of the transport's two ends and a processor that watches."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame
from pipecat.frames.frames import Frame, InputAudioRawFrame, InputTransportMessageFrame, TTSAudioRawFrame, TTSStartedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipeline.settings.tree import WebRTCSettings
from pipeline.transports.signalling import Signalling
from pipeline.transports.webrtc import WebRTCTransport

RATE = 24_000


def tone(hz: float, seconds: float, rate: int = RATE, amplitude: float = 8_000) -> np.ndarray:
    """int16 of shape (seconds * rate,)."""
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def level_db(samples: np.ndarray, hz: float, rate: int) -> float:
    """Level of the component at ``hz``, in dB over amplitude 1."""
    t = np.arange(len(samples)) / rate
    wave = samples.astype(np.float64)
    amplitude = 2 * abs(np.mean(wave * np.exp(-2j * np.pi * hz * t)))
    return float(20 * np.log10(amplitude + 1e-9))


async def eventually(condition: Callable[[], Any], timeout_s: float = 20.0, what: str = "") -> Any:
    """Wait until ``condition`` is true; the timeout is for liveness only."""
    until = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < until, f"did not happen: {what or condition}"
        await asyncio.sleep(0.01)
    return value


class Microphone(MediaStreamTrack):
    """A tone in real time, 48 kHz and the same in both channels (from mono, FFmpeg makes stereo that is 3 dB lower)."""

    kind = "audio"

    def __init__(self, hz: float = 1_000.0, amplitude: float = 8_000) -> None:
        super().__init__()
        self._samples = tone(hz, 60, 48_000, amplitude)
        self._sent = 0
        self._start: float | None = None
        self.paused = asyncio.Event()
        self.paused.set()

    async def recv(self) -> AudioFrame:
        await self.paused.wait()
        now = time.monotonic()
        self._start = self._start or now
        await asyncio.sleep(max(0.0, self._start + self._sent / 48_000 - now))
        chunk = self._samples[self._sent % len(self._samples) :][:960]
        frame = AudioFrame.from_ndarray(np.repeat(chunk, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = 48_000
        frame.pts = self._sent
        frame.time_base = Fraction(1, 48_000)
        self._sent += 960
        return frame


@dataclass
class Packet:
    """An RTP packet as the client received it."""

    sequence: int
    timestamp: int
    payload: bytes
    arrived_at: float


class Client:
    """A real aiortc peer. ``packets`` are the tutor's RTP packets; ``messages`` what came over the data channel."""

    def __init__(self, microphone: MediaStreamTrack | None = None, channel: bool = True) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.microphone = microphone or Microphone()
        self.pc.addTrack(self.microphone)
        self.messages: list[Any] = []
        self.packets: list[Packet] = []
        self.channel = self.pc.createDataChannel("chat") if channel else None
        self.closed = asyncio.Event()
        if self.channel is not None:
            self.channel.on("message", lambda text: self.messages.append(json.loads(text)))
            self.channel.on("close", self.closed.set)
        self.pc_id: str | None = None
        receiver = self.pc.getReceivers()[0]
        take = receiver._handle_rtp_packet

        async def handle(packet: Any, arrival_time_ms: int) -> None:
            self.packets.append(Packet(packet.sequence_number, packet.timestamp, packet.payload, time.monotonic()))
            await take(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = handle  # type: ignore[method-assign]

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def accept(self, answer: Any) -> None:
        self.pc_id = answer["pc_id"]
        await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    async def send(self, message: Any) -> None:
        assert self.channel is not None
        await eventually(lambda: self.channel.readyState == "open", what="data channel open")
        self.channel.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def of_type(self, kind: str) -> list[Any]:
        """Our messages of this type, in either language."""
        plain = [m.get("data", m) if m.get("type") == "server-message" else m for m in self.messages]
        return [m for m in plain if m.get("type") == kind]

    async def close(self) -> None:
        self.microphone.stop()
        await self.pc.close()


class Probe(FrameProcessor):
    """Keeps what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def audio(self) -> list[InputAudioRawFrame]:
        return [f for f in self.frames if isinstance(f, InputAudioRawFrame)]

    def rtvi(self) -> list[dict[str, Any]]:
        return [f.message for f in self.frames if isinstance(f, InputTransportMessageFrame)]


@dataclass
class Call:
    """The smallest call over a transport."""

    transport: WebRTCTransport
    probe: Probe = field(default_factory=Probe)
    commands: list[Any] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    ready: int = 0
    rtvi: bool = False

    async def start(self) -> None:
        self.transport.on_command = self._command
        self.transport.on_lost = self._lost
        self.transport.on_ready = self._ready
        self.worker = PipelineWorker(
            Pipeline([self.transport.input(), self.probe, self.transport.output()]),
            params=PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=RATE),
            enable_rtvi=self.rtvi,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self.runner = WorkerRunner(handle_sigint=False)
        await self.runner.add_workers(self.worker)
        self.task = asyncio.create_task(self.runner.run())

    async def _command(self, message: Any) -> None:
        self.commands.append(message)

    async def _lost(self, reason: str) -> None:
        self.lost.append(reason)

    async def _ready(self) -> None:
        self.ready += 1

    async def say(self, samples: np.ndarray, context: str | None = None) -> None:
        """Queue speech as a TTS stage would."""
        if context is not None:
            await self.worker.queue_frame(TTSStartedFrame(context_id=context))
        await self.worker.queue_frame(TTSAudioRawFrame(audio=samples.tobytes(), sample_rate=RATE, num_channels=1))

    async def stop(self) -> None:
        await self.transport.close()
        await self.worker.cancel()
        await self.task


class Room:
    """Signalling and everything that was made with it."""

    def __init__(self, **settings: Any) -> None:
        self.detach_after_s = settings.pop("detach_after_s", 30.0)
        self.rtvi = settings.pop("rtvi", False)
        self.settings = WebRTCSettings(**settings)
        self.signalling = Signalling(self.settings, detach_after_s=self.detach_after_s)
        self.clients: list[Client] = []
        self.calls: list[Call] = []

    async def build(self, transport: WebRTCTransport) -> Call:
        call = Call(transport, rtvi=self.rtvi)
        await call.start()
        self.calls.append(call)
        return call

    async def connect(self, client: Client | None = None) -> tuple[Client, Call]:
        """Connect a client and wait until audio flows in both directions."""
        client = client or Client()
        self.clients.append(client)
        answer, call = await self.signalling.offer(await client.offer(), "offer", self.build)
        await client.accept(answer)
        await eventually(lambda: len(client.packets) > 2, what="tutor's packets")
        return client, call

    async def close(self) -> None:
        for call in self.calls:
            await call.stop()
        for client in self.clients:
            await client.close()
        await self.signalling.close()


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    room = Room()
    yield room
    await room.close()


@pytest.fixture
async def rtvi_room() -> AsyncIterator[Room]:
    """One whose calls have pipecat's RTVI processor."""
    room = Room(rtvi=True)
    yield room
    await room.close()


@pytest.fixture
async def impatient_room() -> AsyncIterator[Room]:
    """One that loses a client after half a second of silence."""
    room = Room(detach_after_s=0.5)
    yield room
    await room.close()


@pytest.fixture
def kit() -> Any:
    """What tests need by name; a conftest cannot be imported."""

    class Kit:
        client = Client
        microphone = Microphone
        room = Room
        eventually = staticmethod(eventually)
        tone = staticmethod(tone)
        level_db = staticmethod(level_db)
        rate = RATE

    return Kit
