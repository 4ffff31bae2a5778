"""The sound of one call as RTP: packets to pcm16 at 8 kHz and back, keys, and where the other side's packets really come from.
Pure: the time is passed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pipeline.transports.codecs import Codec
from pipeline.transports.jitter import JitterBuffer, Piece
from pipeline.transports.timing import CaptureClock
from web.doors.phone.sip import rtp
from web.doors.phone.sip.answering import Address
from web.doors.phone.sip.rtp import PIECE_SAMPLES, RATE_HZ, BadPacket, Packet
from web.doors.phone.sip.sdp import PCMA, PCMU, Media

CODECS = {PCMU: Codec("mulaw", RATE_HZ), PCMA: Codec("alaw", RATE_HZ)}
LEAST_SAMPLES = 40
"""Packets of less than 5 ms are no speech."""
MAX_QUEUED = 50
"""Pieces of the tutor's voice that wait to leave; the transport's pace keeps it at two or three."""
PROBATION = 5
"""Packets in a row from one address until it counts as the caller's, where it is not the one that was agreed on."""


@dataclass(slots=True)
class Heard:
    """What one packet brought."""

    pcm16: bytes = b""
    """At 8 kHz, in order, silence where packets are missing."""
    key: str | None = None


class Receiver:
    """The caller's packets."""

    def __init__(self, media: Media) -> None:
        self.media = media
        """What was agreed on; it may change."""
        self.ignored = 0
        """Packets of payload types that were not agreed on, or too short."""
        self._buffer = JitterBuffer(CaptureClock(), rate_hz=RATE_HZ)
        self._keys = rtp.Keys()

    @property
    def due_at(self) -> float | None:
        """When ``tick`` has something to give, unless a packet comes first."""
        return self._buffer.due_at

    def put(self, packet: Packet, now: float) -> Heard:
        """Take a packet."""
        key, timestamp, samples = None, packet.timestamp, len(packet.payload)
        if packet.payload_type == self.media.events:
            try:
                event = rtp.parse_event(packet.payload)
                key = self._keys.put(packet)
            except BadPacket:
                self.ignored += 1
                return Heard()
            # All packets of an event have the time of its beginning, and there is no sound besides.
            timestamp, samples = (timestamp + max(0, event.duration - PIECE_SAMPLES)) & 0xFFFFFFFF, PIECE_SAMPLES
        elif packet.payload_type not in CODECS or samples < LEAST_SAMPLES:
            self.ignored += 1
            return Heard()
        payload = b"" if packet.payload_type not in CODECS else bytes([packet.payload_type]) + packet.payload
        pieces = self._buffer.push(packet.source, packet.sequence, timestamp, payload, samples / RATE_HZ, now)
        return Heard(self._decoded(pieces), key)

    def tick(self, now: float) -> bytes:
        """What is due without a packet: pcm16 at 8 kHz."""
        return self._decoded(self._buffer.tick(now))

    @staticmethod
    def _decoded(pieces: list[Piece]) -> bytes:
        decoded = bytearray()
        for piece in pieces:
            size = 2 * round((piece.end_s - piece.start_s) * RATE_HZ)
            if not piece.payload:
                decoded += bytes(size)
            elif size:
                decoded += CODECS[piece.payload[0]].decode(piece.payload[1:])[-size:]
        return bytes(decoded)


class Sender:
    """The tutor's voice: one packet every 20 ms, silence where there is nothing to say, so that routers keep the way open.

    Args:
        media: What was agreed on; it may change.
        writer: Numbers the packets.
    """

    def __init__(self, media: Media, writer: rtp.Writer) -> None:
        self.media = media
        self._writer = writer
        self._queue: deque[bytes] = deque(maxlen=MAX_QUEUED)

    @property
    def queued(self) -> int:
        """Pieces that have not left."""
        return len(self._queue)

    def play(self, pcm16: bytes) -> None:
        """Queue a piece of 20 ms."""
        self._queue.append(pcm16)

    def clear(self) -> None:
        """Throw away what has not left."""
        self._queue.clear()

    def next(self) -> bytes | None:
        """The packet of the next 20 ms; ``None`` while the other side wants none."""
        pcm16 = self._queue.popleft() if self._queue else bytes(2 * PIECE_SAMPLES)
        if not self.media.sends:
            self._writer.skip(PIECE_SAMPLES)
            return None
        return self._writer.packet(self.media.payload_type, CODECS[self.media.payload_type].encode(pcm16))

    def skip(self, pieces: int) -> None:
        """So many times 20 ms have passed without a packet."""
        self._writer.skip(pieces * PIECE_SAMPLES)


@dataclass(slots=True)
class Way:
    """Where the caller's packets come from, and so where the tutor's go: behind a router that is another address than the one
    agreed on (symmetric RTP, RFC 4961).

    The agreed address is believed at once; another one after ``PROBATION`` packets in a row, as long as none came from there.
    Whoever finds the port later is not heard, and hears nothing.
    """

    agreed: Address
    settled: Address | None = None
    _candidate: Address | None = None
    _seen: int = field(default=0)

    @property
    def to(self) -> Address:
        """Where to send."""
        return self.settled or self.agreed

    def admits(self, source: Address) -> bool:
        """Whether a packet from ``source`` is the caller's."""
        if self.settled is not None:
            return source == self.settled
        if source == self.agreed:
            self.settled = source
            return True
        self._seen = self._seen + 1 if source == self._candidate else 1
        self._candidate = source
        if self._seen < PROBATION:
            return False
        self.settled = source
        return True

    def agree_anew(self, agreed: Address) -> None:
        """The other side names an address, perhaps another one."""
        if agreed != self.agreed:
            self.agreed, self.settled, self._candidate, self._seen = agreed, None, None, 0
