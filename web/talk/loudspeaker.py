"""The loudspeaker that a headless client does not have: what of the tutor's audio it would have played by now.

Pure; times are passed in, seconds on one monotonic clock. It plays what arrives at once, or after what came before it.
"""

from __future__ import annotations

from pipeline.transports.listener import Listener
from pipeline.transports.rtp import OPUS_CLOCK_HZ

PACKET_S = 0.02


class SampleSpeaker:
    """Counts the samples of a stream that comes in bursts."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._received = 0
        self._listener = Listener(rate_hz)

    def take(self, samples: int, at: float) -> None:
        """``samples`` more arrived."""
        self._listener.sent(self._received, samples, at)
        self._received += samples

    def flush(self) -> None:
        """What has not been played is dropped."""
        self._listener = Listener(self._rate_hz)

    def hold(self, at: float) -> None:
        """Stand still until ``go_on`` or ``flush``."""
        self._listener.hold(at)

    def go_on(self, at: float) -> None:
        """Go on with the very next sample."""
        self._listener.go_on(at)

    def played(self, at: float) -> int | None:
        """The next sample to play, from 0 at the first that arrived; ``None`` while there is nothing to play."""
        return self._listener.position_at(at) or None


class RtpSpeaker:
    """Follows the timestamps of packets that come one by one."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def take(self, timestamp: int, at: float) -> None:
        """A packet with this 32-bit RTP timestamp arrived."""
        self._last = (timestamp, at)

    def played(self, at: float) -> int | None:
        """The 32-bit timestamp of the next sample to play; ``None`` before the first packet."""
        if self._last is None:
            return None
        timestamp, since = self._last
        return (timestamp + round(min(PACKET_S, at - since) * OPUS_CLOCK_HZ)) & 0xFFFFFFFF
