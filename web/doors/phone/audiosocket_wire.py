"""AudioSocket, the wire between an Asterisk and a server of its own, as Asterisk's documentation has it ("AudioSocket" under
Channel Drivers). Pure: bytes in, events of ``web.doors.phone.carrier`` out.

A frame is a byte that says its kind, the payload's length in two bytes (big-endian), and the payload. The first frame of a
connection is the call's UUID; then come audio (signed 16-bit samples, little-endian, mono: one kind for each sample rate) and
digits, until a hang-up or the end of the connection.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from web.doors.phone.carrier import Audio, BadFrame, Digit, Event, Failed, Started, Stopped

HANG_UP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES_HZ = {
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
"""Sample rates by kind. An Asterisk before the release of autumn 2025 knows the first alone."""
KINDS = {rate: kind for kind, rate in RATES_HZ.items()}
HEADER_BYTES, UUID_BYTES, MAX_PAYLOAD_BYTES = 3, 16, 65_535
DIGITS = "0123456789*#ABCD"
ERRORS = {0x00: "no reason given", 0x01: "the caller has hung up", 0x02: "a frame could not be passed on", 0x04: "no memory"}


class Frame(NamedTuple):
    """One frame."""

    kind: int
    payload: bytes


def encode(kind: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent.

    Raises:
        ValueError: the payload is longer than a frame can say.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit in a frame")
    return bytes((kind,)) + len(payload).to_bytes(2) + payload


class Frames:
    """Cuts a stream of bytes into frames. Never holds more than one frame that is not complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = False

    def put(self, data: bytes) -> list[Frame]:
        """Take what was read. Returns the frames that it completes.

        Raises:
            BadFrame: the stream does not begin with a UUID, so that it is no AudioSocket at all.
        """
        self._rest += data
        if not self._begun:
            self._begin()
        frames, at = [], 0
        while len(self._rest) - at >= HEADER_BYTES:
            end = at + HEADER_BYTES + int.from_bytes(self._rest[at + 1 : at + HEADER_BYTES])
            if end > len(self._rest):
                break
            frames.append(Frame(self._rest[at], bytes(self._rest[at + HEADER_BYTES : end])))
            at = end
        del self._rest[:at]
        return frames

    def _begin(self) -> None:
        """Whoever speaks another protocol is told apart by the first bytes, not after the 64 kB that they seem to announce."""
        expected = encode(UUID, bytes(UUID_BYTES))[:HEADER_BYTES]
        first = bytes(self._rest[:HEADER_BYTES])
        if first != expected[: len(first)]:
            raise BadFrame("the connection does not begin with a UUID")
        self._begun = len(first) == HEADER_BYTES


class Conversation:
    """What the frames of one connection mean. ``rate_hz`` is that of the first audio, and of all that follows."""

    def __init__(self) -> None:
        self.rate_hz: int | None = None
        self._call_id = ""

    def event(self, frame: Frame) -> Event:
        """A frame as an event.

        Raises:
            BadFrame: it is not as documented, or not what may come now. The frames behind it are not affected.
        """
        kind, payload = frame
        if kind == UUID:
            return self._started(payload)
        if not self._call_id:
            raise BadFrame(f"a frame of kind {kind:#04x} before the UUID")
        if kind in RATES_HZ:
            return self._audio(RATES_HZ[kind], payload)
        match kind:
            case _ if kind == HANG_UP:
                return Stopped()
            case _ if kind == DTMF:
                return self._digit(payload)
            case _ if kind == ERROR:
                code = int.from_bytes(payload[:8])
                return Failed(f"error {code:#04x}: {ERRORS.get(code, 'unknown')}")
            case _:
                raise BadFrame(f"no frame is of kind {kind:#04x}")

    def _started(self, payload: bytes) -> Started:
        if len(payload) != UUID_BYTES:
            raise BadFrame(f"a UUID of {len(payload)} bytes")
        if self._call_id:
            raise BadFrame("a second UUID")
        self._call_id = str(uuid.UUID(bytes=payload))
        return Started(self._call_id)

    def _audio(self, rate_hz: int, payload: bytes) -> Audio:
        if len(payload) % 2:
            raise BadFrame(f"{len(payload)} bytes of audio are no whole samples")
        if self.rate_hz is None:
            self.rate_hz = rate_hz
        if rate_hz != self.rate_hz:
            raise BadFrame(f"audio at {rate_hz} Hz in a call at {self.rate_hz} Hz")
        return Audio(payload)

    @staticmethod
    def _digit(payload: bytes) -> Digit:
        digit = payload.decode("latin-1").upper()
        if len(digit) != 1 or digit not in DIGITS:
            raise BadFrame(f"{payload[:8]!r} is no digit")
        return Digit(digit)
