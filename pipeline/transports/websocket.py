"""A call over a WebSocket: pcm16 at 16 kHz in, pcm16 at 24 kHz out, and the messages of ``pipeline.messages`` as JSON.

The door owns the socket's read loop and feeds what it reads into ``WebSocketTransport``; the transport writes through a
``Sink``. A door with a protocol of its own turns what it reads into these, and gives a ``Sink`` that turns them into what it
writes; it may have the tutor's voice at another rate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from pipeline.messages import (
    EXTRA_SERVER_TYPES,
    INPUT_RATE_HZ,
    OUTPUT_RATE_HZ,
    AiAudioStart,
    Error,
    GoOn,
    Hold,
    Interrupted,
    Playout,
    ServerMessage,
    to_wire,
)
from pipeline.pipecat_private import AudioPath
from pipeline.transports.base import CommandHandler, LostHandler
from pipeline.transports.outbox import Outbox, Sink
from pipeline.transports.pacing import Intake, OutputPacer
from pipeline.transports.timing import CaptureClock, PlayoutLedger
from pipeline.turns.voiced import FLOOR_RMS

__all__ = ["Sink", "WebSocketTransport"]

AHEAD_S = 0.2
GAP_S = 1.0  # silence of the client after which its capture clock starts anew
FADE_S = 0.005
DROP_NOTICE_S = 1.0  # at most one notice of dropped audio in this time
CLOSE_TIMEOUT_S = 2.0


class WebSocketTransport:
    """One connection of one WebSocket client; see ``pipeline.transports.base.CallTransport``.

    ``extras`` is whether the client asked for more than the fixed protocol: without it, ``send`` drops the extra messages.
    ``client_holds`` is whether it stops playing at ``hold`` and goes on at ``go_on`` by itself; as ``extras`` by default.
    ``rate_hz`` is that of the tutor's voice, which leaves up to ``ahead_s`` before it is due.
    ``max_audio_speed`` is the multiple of real time at which the learner's audio may enter the pipeline. ``send_timeout_s`` is
    how long one write may take before the client counts as gone. ``position`` counts the samples that another transport has
    sent over the same socket before. ``greets`` is whether the tutor is told when the client can hear, and so speaks first.
    """

    speaks_rtvi = False

    def __init__(
        self,
        sink: Sink,
        *,
        door: str = "websocket",
        extras: bool = False,
        client_holds: bool | None = None,
        rate_hz: int = OUTPUT_RATE_HZ,
        ahead_s: float = AHEAD_S,
        max_audio_speed: float = 4.0,
        send_timeout_s: float = 5.0,
        position: int = 0,
        greets: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.door = door
        self.greets = greets
        self.extras = extras
        self.client_holds = extras if client_holds is None else client_holds
        self.ahead_s = ahead_s
        self.capture = CaptureClock()
        self.playout = PlayoutLedger(rate_hz, position=position)
        self.on_command: CommandHandler | None = None
        self.on_lost: LostHandler | None = None
        self.on_ready: Callable[[], Awaitable[None]] | None = None
        self.clock = clock
        self.outbox = Outbox(sink, on_failed=self._write_failed, timeout_s=send_timeout_s)
        self.intake = Intake(INPUT_RATE_HZ, speed=max_audio_speed)
        self._sink = sink
        self._closed = False
        self._lost = False
        self.lost_reason: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_audio_at: float | None = None
        self._dropped_s = 0.0
        self._noticed_at = float("-inf")
        self._input = _Input(self)
        self._output = _Output(self)

    def input(self) -> BaseInputTransport:
        """The processor that stands first in the pipeline."""
        return self._input

    def output(self) -> BaseOutputTransport:
        """The processor that sends audio."""
        return self._output

    def feed_audio(self, pcm16: bytes, arrived_at: float) -> None:
        """Take in audio of the learner: mono, 16 kHz, whole samples, any length. Never blocks; old audio may be dropped."""
        if self._closed:
            return
        if self._last_audio_at is not None and arrived_at - self._last_audio_at > GAP_S:
            # The client stopped its microphone: its sample count no longer follows the clock.
            self.capture.reset()
        self._last_audio_at = arrived_at
        self._dropped_s += self.intake.put(pcm16)
        self.capture.observe(self.intake.position_s, arrived_at)
        if self._dropped_s > 0 and arrived_at - self._noticed_at >= DROP_NOTICE_S:
            self._noticed_at = arrived_at
            self._queue(
                Error(message=f"audio arrives faster than it is spoken: the oldest {self._dropped_s:.2f} s were dropped")
            )
            self._dropped_s = 0.0
        self._input.audio_arrived()

    def report_playout(self, message: Playout, at: float) -> None:
        """The client has played its stream up to a sample."""
        if message.sample is None:
            self._queue(Error(message="playout: 'sample' is required over a WebSocket"))
        else:
            self.playout.reported(message.sample, at)

    def hold(self) -> None:
        """Send no more of the tutor's voice for now; a client with extras also stops playing what it has."""
        if self._output.hold():
            if self.client_holds:
                self.playout.hold(self.clock())
            self._queue(Hold())

    def resume(self) -> None:
        """Go on with the very next sample."""
        if self._output.resume():
            self.playout.go_on(self.clock())
            self._queue(GoOn())

    async def send(self, message: ServerMessage) -> None:
        """Send a message, in order with the audio. Never raises for a client that is gone; never waits for a slow one."""
        if isinstance(message, Interrupted):
            # The frame that will say so to the output may still be on its way through the pipeline, but a client that clears
            # its buffer at this message must get nothing more of what was interrupted.
            self._output.silence()
        self._queue(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection after what was sent has left. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await self.outbox.flush(CLOSE_TIMEOUT_S)
        await self.outbox.stop()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._sink.close(code, reason)
        except TimeoutError:
            logger.debug("the client did not take the close message")
        await self._settle()

    async def release(self) -> None:
        """Stop using the socket but leave it open, for another transport to take over."""
        self._closed = True
        await self.outbox.flush(CLOSE_TIMEOUT_S)
        await self.outbox.stop()
        await self._settle()

    async def lost(self, reason: str) -> None:
        """The client is gone: tell the call, once. Does nothing after ``close`` or ``release``."""
        if self._lost or self._closed:
            return
        self._lost, self.lost_reason = True, reason
        self.outbox.clear_audio()
        await self.outbox.stop()
        if self.on_lost is not None:
            await self.on_lost(reason)

    async def expel(self, code: int, reason: str) -> None:
        """Close the connection against the client's will, after what was sent has left; the call takes it as a loss."""
        await self.outbox.flush(CLOSE_TIMEOUT_S)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._sink.close(code, reason)
        except TimeoutError:
            logger.debug("the client did not take the close message")
        await self.lost(reason)

    async def until_ready(self) -> None:
        """Wait until the client can hear, where its protocol has it say so."""

    def post(self, message: dict[str, Any]) -> None:
        """Send a message that is in the client's own form already, in order with the audio."""
        if not self._closed:
            self.outbox.put(message)

    def _queue(self, message: ServerMessage) -> None:
        if not self._closed and (self.extras or message.type not in EXTRA_SERVER_TYPES):
            self.outbox.put(to_wire(message))

    def _write_failed(self, reason: str) -> None:
        # Called by the outbox's own task, which ``lost`` ends: so not from here.
        task = asyncio.create_task(self._give_up(reason), name="websocket lost")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_up(self, reason: str) -> None:
        await self.lost(reason)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._sink.close(1008, reason)
        except TimeoutError:
            logger.debug("the client did not take the close message")

    async def _settle(self) -> None:
        others = [t for t in self._tasks if t is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=CLOSE_TIMEOUT_S)


class _Input(BaseInputTransport):
    """Moves the learner's audio from the intake into the pipeline."""

    def __init__(self, transport: WebSocketTransport) -> None:
        super().__init__(
            TransportParams(audio_in_enabled=True, audio_in_sample_rate=INPUT_RATE_HZ), name="WebSocketTransport#input"
        )
        self._transport = transport
        self._arrived = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self.audio_path: AudioPath | None = None

    def audio_arrived(self) -> None:
        """There is audio in the intake."""
        self._arrived.set()

    async def take_message(self, message: dict[str, Any]) -> None:
        """Push a message of the client's protocol to both sides: who reads it may stand before this processor."""
        await self.broadcast_frame(InputTransportMessageFrame, message=message)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        if self._pump is None:
            self._pump = self.create_task(self._move(), "pump")

    async def stop(self, frame: EndFrame) -> None:
        await self._stop_pump()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._stop_pump()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        await self._stop_pump()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def _stop_pump(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            await self.cancel_task(pump)

    async def _move(self) -> None:
        intake, clock = self._transport.intake, self._transport.clock
        while True:
            item = intake.take(clock())
            if item is not None:
                frame = InputAudioRawFrame(audio=item.pcm16, sample_rate=INPUT_RATE_HZ, num_channels=1)
                frame.metadata["capture_end_s"] = item.end_s
                if self.audio_path is not None:
                    self.audio_path.put(frame)
                else:
                    await self.push_audio_frame(frame)
                continue
            wait_s = intake.wait_s(clock())
            if wait_s is None:
                self._arrived.clear()
                await self._arrived.wait()
            else:
                await asyncio.sleep(wait_s)


class _Output(BaseOutputTransport):
    """Sends the tutor's audio at real time."""

    def __init__(self, transport: WebSocketTransport) -> None:
        super().__init__(
            TransportParams(
                audio_out_enabled=True,
                audio_out_sample_rate=transport.playout.rate_hz,
                audio_out_10ms_chunks=2,
                audio_out_end_silence_secs=0,
            ),
            name="WebSocketTransport#output",
        )
        self._transport = transport
        self._pacer = OutputPacer(transport.playout.rate_hz, transport.ahead_s)
        self._fade_bytes = 2 * int(FADE_S * transport.playout.rate_hz)
        self._interruptions = 0
        self._silenced = False
        self._utterance: str | None = None
        self._announced = False
        self._greeting: asyncio.Task[None] | None = None
        self._going = asyncio.Event()  # cleared while the voice is held
        self._going.set()

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        if self._transport.greets and self._transport.on_ready is not None and self._greeting is None:
            # Not awaited: it may push frames into the pipeline that is being started.
            self._greeting = self.create_task(self._greet(self._transport.on_ready), "on_ready")

    async def _greet(self, on_ready: Callable[[], Awaitable[None]]) -> None:
        await self._transport.until_ready()
        await on_ready()

    async def send_message(self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame) -> None:
        """A message for the client from within the pipeline."""
        if isinstance(frame.message, dict):
            self._transport.post(frame.message)

    async def cleanup(self) -> None:
        greeting, self._greeting = self._greeting, None
        if greeting is not None:
            await self.cancel_task(greeting)
        await super().cleanup()  # type: ignore[no-untyped-call]

    def silence(self) -> None:
        """Drop all audio that has not left, and what follows until the interruption has passed or a new utterance begins."""
        self._silenced = True
        self._interruptions += 1
        self._going.set()
        self._transport.playout.go_on(self._transport.clock())
        self._transport.outbox.clear_audio()

    def hold(self) -> bool:
        """Send nothing more until ``resume`` or an interruption. False where that is so already."""
        held = self._going.is_set()
        self._going.clear()
        return held

    def resume(self) -> bool:
        """Go on. False where nothing was held."""
        held = not self._going.is_set()
        self._going.set()
        return held

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            self.silence()
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._silenced = False

    async def write_transport_frame(self, frame: Frame) -> None:
        """A frame that came through the audio queue: an utterance begins where ``TTSStartedFrame`` stands in it."""
        if isinstance(frame, TTSStartedFrame):
            self._utterance = frame.context_id or f"utterance-{frame.id}"
            self._announced = self._silenced = False

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Send 20 ms of audio when they are due."""
        transport, interruptions = self._transport, self._interruptions
        samples = len(frame.audio) // 2
        begun = transport.clock()
        delay_s = self._pacer.delay(samples, begun)
        if delay_s > 0:
            await asyncio.sleep(delay_s)
            if transport.playout.on_late is not None:
                # Only what had to wait has a time at which it is due; what a slow client adds later is not this process's.
                woke = transport.clock()
                transport.playout.on_late(woke - begun - delay_s, woke)
        if not self._going.is_set():
            return await self._write_held(frame, interruptions)
        return await self._write(frame, frame.audio, interruptions)

    async def _write_held(self, frame: OutputAudioRawFrame, interruptions: int) -> bool:
        """Fade out, wait for the end of the hold, fade in. A client that holds stops in what it has, and fades by itself."""
        fades = not self._transport.client_holds
        cut = self._fade_bytes if fades else 0
        if cut and self._pacer.ahead_s(self._transport.clock()) > 0:
            await self._write(frame, _ramped(frame.audio[:cut], fade_in=False), interruptions)
        else:
            cut = 0
        await self._going.wait()
        rest = frame.audio[cut:]
        if fades:
            rest = _ramped(rest[: self._fade_bytes], fade_in=True) + rest[self._fade_bytes :]
        return await self._write(frame, rest, interruptions)

    async def _write(self, frame: OutputAudioRawFrame, pcm16: bytes, interruptions: int) -> bool:
        transport, samples = self._transport, len(pcm16) // 2
        if self._silenced or interruptions != self._interruptions:
            return False
        if not self._announced:
            self._announced = True
            await transport.send(AiAudioStart())
        if not await transport.outbox.put_audio(pcm16):
            return False
        now = transport.clock()
        plays_at = now + self._pacer.ahead_s(now)
        self._pacer.sent(samples, now)
        speech = isinstance(frame, TTSAudioRawFrame) and self._utterance is not None
        if speech and self._utterance is not None:
            transport.playout.begin(self._utterance)
        transport.playout.sent(samples, now, speech=speech, voiced=_is_voiced(pcm16), due_at=plays_at)
        if transport.playout.on_audio is not None:
            transport.playout.on_audio(pcm16, plays_at)
        if transport.playout.on_played is not None:
            transport.playout.on_played(pcm16, plays_at)
        return True


def _ramped(pcm16: bytes, *, fade_in: bool) -> bytes:
    samples = np.frombuffer(pcm16, np.int16)
    gain = np.arange(len(samples), dtype=np.float32) / max(1, len(samples))
    return (samples * (gain if fade_in else 1.0 - gain)).astype(np.int16).tobytes()


def _is_voiced(pcm16: bytes) -> bool:
    samples = np.frombuffer(pcm16, np.int16).astype(np.float32)
    return bool(np.sqrt(np.mean(samples * samples)) >= FLOOR_RMS)
