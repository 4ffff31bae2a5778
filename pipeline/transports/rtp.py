"""RTP arithmetic, pure: 32-bit timestamps as media time, and timestamps mapped to sent samples.

RTP is RFC 3550: a 16-bit sequence number that counts packets and a 32-bit timestamp that counts samples at the codec's clock
rate (48 kHz for Opus, RFC 7587), both with a random start and both wrapping.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

OPUS_CLOCK_HZ = 48_000
_JUMP_S = 5.0  # a timestamp this far from what the arrival times say belongs to a new stream


def difference_32(a: int, b: int) -> int:
    """``a - b`` of two 32-bit timestamps that lie less than half the range apart, wrap included."""
    return ((a - b + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def difference_16(a: int, b: int) -> int:
    """``a - b`` of two 16-bit sequence numbers that lie less than half the range apart, wrap included."""
    return ((a - b + (1 << 15)) & 0xFFFF) - (1 << 15)


class RtpClock:
    """Turns a stream's RTP timestamps into seconds of media time that never jump back, over wraps and changes of the source.

    Media time is 0 at the first packet. Where a timestamp cannot follow from the one before it (a new source, a new
    connection), media time goes on by the time that passed between the two arrivals.
    """

    def __init__(self, rate_hz: int = OPUS_CLOCK_HZ) -> None:
        self._rate_hz = rate_hz
        self._source: int | None = None
        self._timestamp = 0
        self._position_s = 0.0
        self._arrived_at: float | None = None

    def position_s(self, source: int, timestamp: int, arrived_at: float) -> tuple[float, bool]:
        """Media time of the packet's first sample, and whether a new stream began with it.

        Args:
            source: The packet's SSRC.
            timestamp: Its RTP timestamp.
            arrived_at: Monotonic seconds.
        """
        if self._arrived_at is None:
            self._source, self._timestamp, self._arrived_at = source, timestamp, arrived_at
            return 0.0, True
        elapsed_s = arrived_at - self._arrived_at
        step_s = difference_32(timestamp, self._timestamp) / self._rate_hz
        if source != self._source or abs(step_s - elapsed_s) > _JUMP_S:
            self._position_s += max(0.0, elapsed_s)
            self._source, self._timestamp, self._arrived_at = source, timestamp, arrived_at
            return self._position_s, True
        position_s = self._position_s + step_s
        if step_s > 0:
            self._timestamp, self._position_s, self._arrived_at = timestamp, position_s, arrived_at
        return position_s, False

    def skip(self, by_s: float) -> None:
        """The timestamps stood still, or began anew, while ``by_s`` of media time passed."""
        self._position_s += by_s


class SentPositions:
    """Maps the RTP timestamps of a sender to positions in its stream of samples, across pauses of the timestamps.

    ``media`` counts 48 kHz clock ticks from the sender's first packet, pauses included; ``position`` counts samples at
    ``rate_hz`` that really left (those of a ``pipeline.transports.timing.PlayoutLedger``).
    """

    def __init__(self, rate_hz: int, keep: int = 64) -> None:
        self._ticks = OPUS_CLOCK_HZ // rate_hz
        self._runs: deque[tuple[int, int]] = deque(maxlen=keep)  # (media, position) at which an unbroken run begins
        self._end = (0, 0)
        self.origin: int | None = None
        """The RTP timestamp at ``media`` 0; unknown until the first packet has left."""

    def sent(self, media: int, position: int, samples: int) -> None:
        """A packet of ``samples`` at ``position`` leaves with the timestamp ``media``."""
        if not self._runs or self._end != (media, position):
            self._runs.append((media, position))
        self._end = (media + samples * self._ticks, position + samples)

    def position_of(self, rtp_timestamp: int) -> int | None:
        """The position of the sample with this 32-bit timestamp; ``None`` for one that was not sent or is forgotten."""
        if self.origin is None or not self._runs:
            return None
        end_media, end_position = self._end
        media = end_media + difference_32(rtp_timestamp, (self.origin + end_media) & 0xFFFFFFFF)
        index = bisect_right(self._runs, media, key=lambda run: run[0]) - 1
        if media > end_media or index < 0:
            return None
        start_media, start_position = self._runs[index]
        limit = self._runs[index + 1][1] if index + 1 < len(self._runs) else end_position
        return min(start_position + (media - start_media) // self._ticks, limit)
