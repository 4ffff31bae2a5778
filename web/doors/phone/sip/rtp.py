"""RTP packets (RFC 3550, section 5.1), and pressed keys in them (RFC 4733, section 2.3). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.transports.rtp import difference_32

RATE_HZ = 8_000
PIECE_SAMPLES = 160
"""20 ms."""
MAX_PAYLOAD_BYTES = 1_600
"""0.2 s of G.711; longer packets do not pass a network in one piece."""
KEYS = "0123456789*#ABCD"
"""By the number of their event."""
_LONGEST_EVENT = 0xFFFF


class BadPacket(ValueError):
    """No RTP packet; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; sequence number, timestamp and source are 16, 32 and 32 bits."""

    payload_type: int
    sequence: int
    timestamp: int
    source: int
    payload: bytes
    marker: bool = False


def parse(data: bytes) -> Packet:
    """A datagram as a packet.

    Raises:
        BadPacket: it is none (RTCP on the same port is none either: RFC 5761, section 4).
    """
    if len(data) < 12 or data[0] >> 6 != 2:
        raise BadPacket("no RTP")
    if 192 <= data[1] <= 223:
        raise BadPacket("RTCP")
    sequence, timestamp, source = struct.unpack_from("!HII", data, 2)
    start, end = 12 + 4 * (data[0] & 0x0F), len(data)
    if data[0] & 0x10:
        if start + 4 > end:
            raise BadPacket("half an extension")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
    if data[0] & 0x20:
        end -= data[-1] or len(data)
    if start > end:
        raise BadPacket("shorter than it says")
    if end - start > MAX_PAYLOAD_BYTES:
        raise BadPacket(f"{end - start} bytes of payload")
    return Packet(data[1] & 0x7F, sequence, timestamp, source, data[start:end], bool(data[1] & 0x80))


def encode(packet: Packet) -> bytes:
    """A packet as it is sent."""
    second = packet.payload_type | (0x80 if packet.marker else 0)
    return struct.pack("!BBHII", 0x80, second, packet.sequence, packet.timestamp, packet.source) + packet.payload


class Writer:
    """Numbers and dates the packets of one outgoing stream. Where it begins is random, and so an argument (RFC 3550, 5.1)."""

    def __init__(self, source: int, sequence: int, timestamp: int) -> None:
        self._source = source & 0xFFFFFFFF
        self._sequence = sequence & 0xFFFF
        self._timestamp = timestamp & 0xFFFFFFFF
        self._marker = True

    def packet(self, payload_type: int, payload: bytes) -> bytes:
        """The next packet, of one byte a sample."""
        data = encode(Packet(payload_type, self._sequence, self._timestamp, self._source, payload, self._marker))
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.skip(len(payload), marker=False)
        return data

    def skip(self, samples: int, *, marker: bool = True) -> None:
        """Time passes in which nothing is sent."""
        self._timestamp = (self._timestamp + samples) & 0xFFFFFFFF
        self._marker = marker


@dataclass(frozen=True, slots=True)
class Event:
    """What one packet says of a key that is held down."""

    code: int
    duration: int
    """Samples so far."""
    end: bool


def parse_event(payload: bytes) -> Event:
    """The payload of a telephone-event packet.

    Raises:
        BadPacket: it is too short.
    """
    if len(payload) < 4:
        raise BadPacket("half an event")
    return Event(payload[0], int.from_bytes(payload[2:4]), bool(payload[1] & 0x80))


class Keys:
    """Tells keys that were pressed from the many packets that tell of each, in whatever order they come."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None  # source and timestamp of the newest event
        self._duration = 0

    def put(self, packet: Packet) -> str | None:
        """The key, with the first packet that tells of it; ``None`` with the others.

        Raises:
            BadPacket: no event.
        """
        event = parse_event(packet.payload)
        if self._last is not None and self._last[0] == packet.source:
            step = difference_32(packet.timestamp, self._last[1])
            if step <= 0:
                self._duration = max(self._duration, event.duration) if step == 0 else self._duration
                return None
            # A key that is held for longer than a duration can say goes on as another event right behind (section 2.5.1.3).
            held_on = not packet.marker and step == self._duration == _LONGEST_EVENT
        else:
            held_on = False
        self._last, self._duration = (packet.source, packet.timestamp), event.duration
        return KEYS[event.code] if event.code < len(KEYS) and not held_on else None
