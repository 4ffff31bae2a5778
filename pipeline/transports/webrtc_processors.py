"""The two ends of a pipeline over WebRTC: audio frames in with their media time, audio frames out to the track."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    ClientConnectedFrame,
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

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from pipeline.pipecat_private import AudioPath
from pipeline.transports import aiortc_private
from pipeline.transports.webrtc_track import OutputTrack

_MAX_WAITING_FRAMES = 250  # 5 s of audio that a stuck pipeline has not taken; more is dropped
_MAX_EARLY_MESSAGES = 64


def transport_params() -> TransportParams:
    """Audio only: 16 kHz in, 24 kHz out in chunks of 20 ms, nothing after the end."""
    return TransportParams(
        audio_in_enabled=True,
        audio_in_sample_rate=INPUT_RATE_HZ,
        audio_out_enabled=True,
        audio_out_sample_rate=OUTPUT_RATE_HZ,
        audio_out_10ms_chunks=2,
        audio_out_end_silence_secs=0,
    )


class WebRTCInput(BaseInputTransport):
    """Pushes the learner's audio and RTVI messages; what comes before the pipeline has started waits or is dropped."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.audio_path: AudioPath | None = None
        self._started = False
        self._client_connected = False
        self._early: list[dict[str, Any]] = []
        self._overrun = False

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._started = True
        if self._client_connected:
            await self.push_frame(ClientConnectedFrame())
        early, self._early = self._early, []
        for message in early:
            await self.take_message(message)

    def take_audio(self, pcm: bytes, end_s: float) -> None:
        """Queue 20 ms of 16 kHz pcm16 that ends at ``end_s`` of media time."""
        if not self._started:
            return
        frame = InputAudioRawFrame(audio=pcm, sample_rate=INPUT_RATE_HZ, num_channels=1)
        frame.metadata["capture_end_s"] = end_s
        if self.audio_path is not None:
            taken = self.audio_path.put(frame, _MAX_WAITING_FRAMES)
        else:
            taken = aiortc_private.queue_input_audio(self, frame, _MAX_WAITING_FRAMES)
        if not taken:
            if not self._overrun:
                logger.error("the pipeline does not take the learner's audio: dropping it")
            self._overrun = True
        else:
            self._overrun = False

    async def take_message(self, message: dict[str, Any]) -> None:
        """Push a message of RTVI to both sides: its processor stands before this one."""
        if self._started:
            await self.broadcast_frame(InputTransportMessageFrame, message=message)
        elif len(self._early) < _MAX_EARLY_MESSAGES:
            self._early.append(message)

    async def connected(self) -> None:
        """The client's media is connected."""
        if not self._client_connected:
            self._client_connected = True
            if self._started:
                await self.push_frame(ClientConnectedFrame())


class WebRTCOutput(BaseOutputTransport):
    """Writes audio to the track under the utterance that it belongs to, and messages to the data channel.

    An utterance is a TTS context: its ``TTSStartedFrame`` waits in the audio queue behind the audio of the one before, so each
    chunk is written under its own. Audio that is not speech (``TTSAudioRawFrame``) belongs to none.
    """

    def __init__(
        self, params: TransportParams, track: Callable[[], OutputTrack], post: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(params)
        self._track = track
        self._post = post
        self._utterance: str | None = None
        self._interrupting = False

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if not isinstance(frame, InterruptionFrame):
            await super().process_frame(frame, direction)
            return
        # The call below empties the audio queue, but passes the frame on first: until then the queue must not refill the track.
        self._interrupting = True
        self._track().clear()
        try:
            await super().process_frame(frame, direction)
        finally:
            self._interrupting = False

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        if self._interrupting:
            return False
        return await self._track().write(frame.audio, self._utterance if isinstance(frame, TTSAudioRawFrame) else None)

    async def write_transport_frame(self, frame: Frame) -> None:
        if isinstance(frame, TTSStartedFrame):
            self._utterance = frame.context_id or f"tts-{frame.id}"

    async def send_message(self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame) -> None:
        if isinstance(frame.message, dict):
            self._post(frame.message)
