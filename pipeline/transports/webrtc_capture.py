"""The learner's audio over WebRTC: RTP packets in, 20 ms frames of 16 kHz pcm16 with their media time out, without gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from loguru import logger

from pipeline.messages import INPUT_RATE_HZ
from pipeline.transports import opus_library
from pipeline.transports.jitter import LIMIT_S, JitterBuffer, Piece
from pipeline.transports.opus import FRAME_S, BadPacket, Decoder, Pcm16, packet_duration_s
from pipeline.transports.timing import CaptureClock

_GAP_S = 0.001
_FRAME_BYTES = int(INPUT_RATE_HZ * FRAME_S) * 2
_FADE_FROM_S, _FADE_TO_S = 0.06, 0.18
"""What is made up fades out between these lengths of a loss: a syllable may be bridged, a word must not be invented."""


@dataclass(frozen=True, slots=True)
class Reception:
    """How the packets of a call have been arriving. Counts and seconds are totals of the call."""

    packets: int
    """Received, of whatever kind."""
    lost: int
    """Given up as missing."""
    late: int
    """Came after their time had been made up, and were dropped."""
    duplicates: int
    undecodable: int
    concealed_s: float
    """Audio made up from what was heard before, or silence where the line stayed silent."""
    restored_s: float
    """Audio of lost packets decoded from the copies in the packets after them (in-band FEC)."""
    depth_s: float
    """How long a missing packet is waited for at present."""
    jitter_s: float
    """RFC 3550's interarrival jitter at present."""


class AudioCapture:
    """Feeds a ``CaptureClock`` with every packet's arrival and hands on the decoded audio in order.

    After each packet, and after each ``tick``, ``tick`` is to be called at ``due_at``.

    Args:
        clock: Observes each packet, by arrival, not by decoding.
        on_frame: Called with 20 ms of pcm16 (640 bytes) and the media time of its end, in seconds.
        limit_s: Longest wait for a packet that is missing.
        conceal: Make up what was lost; otherwise it is left out, and media time steps over it.
    """

    def __init__(
        self,
        clock: CaptureClock,
        on_frame: Callable[[bytes, float], None],
        *,
        limit_s: float = LIMIT_S,
        conceal: bool = True,
    ) -> None:
        self._on_frame = on_frame
        self._conceal = conceal
        self._buffer = JitterBuffer(clock, limit_s)
        library = opus_library.load()
        self._decoder = Decoder() if library is None else opus_library.LibraryDecoder(library)
        self._pending = bytearray()  # audio of less than a frame
        self._pending_end_s = 0.0
        self._made_up_s = 0.0  # since the last packet
        self._concealed_s = 0.0
        self._restored_s = 0.0
        self.packets = 0
        """Packets received."""
        self.undecodable = 0
        """Packets that were not Opus."""

    @property
    def due_at(self) -> float | None:
        """The monotonic time at which ``tick`` has something to do unless a packet comes first."""
        return self._buffer.due_at

    def reception(self) -> Reception:
        """How the packets have been arriving until now."""
        buffer = self._buffer
        return Reception(
            packets=self.packets,
            lost=buffer.lost,
            late=buffer.late,
            duplicates=buffer.duplicates,
            undecodable=self.undecodable,
            concealed_s=self._concealed_s,
            restored_s=self._restored_s,
            depth_s=buffer.depth_s,
            jitter_s=buffer.jitter_s,
        )

    def on_packet(self, source: int, sequence: int, timestamp: int, payload: bytes, arrived_at: float) -> None:
        """Take one RTP packet (SSRC, 16-bit number, 32-bit timestamp, Opus payload) that arrived at ``arrived_at``."""
        self.packets += 1
        try:
            duration_s = packet_duration_s(payload)
        except BadPacket as e:
            self._refused(e)
            return
        for piece in self._buffer.push(source, sequence, timestamp, payload, duration_s, arrived_at):
            self._take(piece)

    def tick(self, now: float) -> None:
        """Hand on what is due at ``now``, the monotonic time."""
        for piece in self._buffer.tick(now):
            self._take(piece)

    def _take(self, piece: Piece) -> None:
        wanted = round((piece.end_s - piece.start_s) * INPUT_RATE_HZ)
        if wanted == 0:
            return
        samples = self._decode(piece.payload) if piece.payload is not None else None
        if samples is not None:
            self._made_up_s = 0.0
        elif self._conceal:
            samples = self._make_up(piece, wanted)
        else:
            return
        if abs(piece.start_s - self._pending_end_s) > _GAP_S:
            self._pending.clear()  # it does not continue in this piece
        self._pending_end_s = piece.end_s
        self._pending += samples[-wanted:].tobytes()
        while len(self._pending) >= _FRAME_BYTES:
            frame = bytes(self._pending[:_FRAME_BYTES])
            del self._pending[:_FRAME_BYTES]
            after_s = len(self._pending) / 2 / INPUT_RATE_HZ
            self._on_frame(frame, piece.end_s - self._decoder.delay_s - after_s)

    def _decode(self, payload: bytes) -> Pcm16 | None:
        try:
            return self._decoder.decode(payload)
        except BadPacket as e:
            self._refused(e)
            return None

    def _refused(self, error: BadPacket) -> None:
        self.undecodable += 1
        if self.undecodable == 1:
            logger.warning(f"dropping audio that is not Opus: {error}")

    def _make_up(self, piece: Piece, wanted: int) -> Pcm16:
        length_s = piece.end_s - piece.start_s
        if piece.following is not None and self._decoder.can_restore(piece.following):
            self._restored_s += length_s
            self._made_up_s = 0.0
            return self._decoder.conceal(wanted, piece.following)
        self._concealed_s += length_s
        before_s, self._made_up_s = self._made_up_s, self._made_up_s + length_s
        if before_s >= _FADE_TO_S:
            return np.zeros(wanted, np.int16)
        run_s = before_s + np.arange(1, wanted + 1) / INPUT_RATE_HZ
        gain = np.clip((_FADE_TO_S - run_s) / (_FADE_TO_S - _FADE_FROM_S), 0.0, 1.0)
        return (self._decoder.conceal(wanted) * gain).astype(np.int16)
