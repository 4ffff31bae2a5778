"""The learner's audio over WebRTC: RTP packets in, 20 ms frames of 16 kHz pcm16 with their media time out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from pipeline.messages import INPUT_RATE_HZ
from pipeline.transports.opus import FRAME_S, RESAMPLER_DELAY_S, BadPacket, Decoder, packet_duration_s
from pipeline.transports.rtp import ReorderBuffer, RtpClock
from pipeline.transports.timing import CaptureClock

_GAP_S = 0.001
_FRAME_BYTES = int(INPUT_RATE_HZ * FRAME_S) * 2


@dataclass(frozen=True, slots=True)
class _Packet:
    payload: bytes
    start_s: float
    end_s: float


class AudioCapture:
    """Feeds a ``CaptureClock`` with every packet's arrival and hands on the decoded audio in order.

    Args:
        clock: Observes each packet, by arrival, not by decoding.
        on_frame: Called with 20 ms of pcm16 (640 bytes) and the media time of its end, in seconds.
        prefetch: Packets that are always held back (20 ms each).
    """

    def __init__(self, clock: CaptureClock, on_frame: Callable[[bytes, float], None], prefetch: int = 0) -> None:
        self._clock = clock
        self._on_frame = on_frame
        self._rtp = RtpClock()
        self._order: ReorderBuffer[_Packet] = ReorderBuffer(prefetch)
        self._decoder = Decoder()
        self._pending = bytearray()  # audio of less than a frame
        self._pending_end_s = 0.0
        self.packets = 0
        """Packets received."""
        self.undecodable = 0
        """Packets that were not Opus."""

    @property
    def lost(self) -> int:
        """Packets given up as lost."""
        return self._order.lost

    def on_packet(self, source: int, sequence: int, timestamp: int, payload: bytes, arrived_at: float) -> None:
        """Take one RTP packet (SSRC, 16-bit number, 32-bit timestamp, Opus payload) that arrived at ``arrived_at``."""
        self.packets += 1
        try:
            duration_s = packet_duration_s(payload)
        except BadPacket:
            self.undecodable += 1
            return
        start_s, new_stream = self._rtp.position_s(source, timestamp, arrived_at)
        if new_stream:
            for packet in self._order.reset():
                self._decode(packet)
            self._clock.reset()
        end_s = start_s + duration_s
        self._clock.observe(end_s, arrived_at)
        for packet in self._order.push(sequence, _Packet(payload, start_s, end_s), arrived_at):
            self._decode(packet)

    def _decode(self, packet: _Packet) -> None:
        try:
            samples = self._decoder.decode(packet.payload)
        except BadPacket as e:
            self.undecodable += 1
            if self.undecodable == 1:
                logger.warning(f"dropping audio that is not Opus: {e}")
            return
        if abs(packet.start_s - self._pending_end_s) > _GAP_S:
            self._pending.clear()  # it does not continue in this packet
        self._pending_end_s = packet.end_s
        self._pending += samples.tobytes()
        while len(self._pending) >= _FRAME_BYTES:
            frame = bytes(self._pending[:_FRAME_BYTES])
            del self._pending[:_FRAME_BYTES]
            after_s = len(self._pending) / 2 / INPUT_RATE_HZ
            self._on_frame(frame, packet.end_s - RESAMPLER_DELAY_S - after_s)
