"""How fast audio may leave and enter a connection. Pure: the time is passed in, decisions come out.

All times are seconds on one monotonic clock; all durations are seconds of audio.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class OutputPacer:
    """Lets audio leave at real time, and at most ``ahead_s`` before it is due.

    The model is a listener who plays without a break as long as there is something to play. What was sent ends for that
    listener at ``due``; a chunk may leave when ``due`` would then lie no more than ``ahead_s`` in the future. Since ``due``
    moves by exactly what was sent, a late timer is made good by the next chunks and no drift builds up. After a stall ``due``
    starts again at the present, so that no more than ``ahead_s`` leaves at once.
    """

    def __init__(self, rate_hz: int, ahead_s: float = 0.2) -> None:
        self._rate_hz = rate_hz
        self._ahead_s = ahead_s
        # The origin of an unbroken run and the samples sent in it: adding up float durations would drift.
        self._origin = float("-inf")
        self._samples = 0

    def delay(self, samples: int, now: float) -> float:
        """Seconds from ``now`` until ``samples`` more may leave; 0.0 when they may leave at once."""
        end = max(self._due(), now) + samples / self._rate_hz
        # A chunk longer than the whole allowance leaves when everything before it has been played.
        allowance = max(self._ahead_s, samples / self._rate_hz)
        return max(0.0, end - allowance - now)

    def sent(self, samples: int, now: float) -> None:
        """``samples`` left at ``now``."""
        if self._due() < now:
            self._origin, self._samples = now, 0
        self._samples += samples

    def ahead_s(self, now: float) -> float:
        """Seconds of audio that the listener has received and not yet played at ``now``."""
        return max(0.0, self._due() - now)

    def _due(self) -> float:
        return self._origin + self._samples / self._rate_hz


class IntakeFrame(NamedTuple):
    """One frame of the learner's audio: pcm16 and the media time at which it ends, in seconds."""

    pcm16: bytes
    end_s: float


class Intake:
    """The learner's audio between the socket and the pipeline: cut into frames, bounded, and let through at a bounded speed.

    The pipeline's own queues have no bound, so audio that arrives faster than real time waits here. Up to ``burst_s`` passes at
    once (a network that caught up after a stall), the rest at ``speed`` times real time. What does not fit in ``backlog_s``
    pushes the oldest audio out.
    """

    def __init__(
        self,
        rate_hz: int,
        *,
        frame_s: float = 0.02,
        speed: float = 4.0,
        burst_s: float = 1.0,
        backlog_s: float = 5.0,
    ) -> None:
        self._rate_hz = rate_hz
        self._frame_s = frame_s
        self._frame_bytes = int(rate_hz * frame_s) * 2
        self._speed = speed
        self._burst_s = burst_s
        self._frames: deque[IntakeFrame] = deque()
        self._max_frames = max(1, int(backlog_s / frame_s))
        self._rest = bytearray()
        self._samples = 0
        self._credit_s = burst_s
        self._credit_at: float | None = None

    @property
    def position_s(self) -> float:
        """Media time of the last sample received, in seconds; dropped audio counts."""
        return self._samples / self._rate_hz

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that wait in whole frames."""
        return len(self._frames) * self._frame_s

    def put(self, pcm16: bytes) -> float:
        """Take in audio of whole samples. Returns how many seconds of old audio it pushed out (0.0: none)."""
        self._samples += len(pcm16) // 2
        limit = self._max_frames * self._frame_bytes
        dropped_s = 0.0
        if len(pcm16) > limit:
            # Never copy a huge message into frames only to drop them.
            surplus = (len(pcm16) - limit) // self._frame_bytes * self._frame_bytes
            dropped_s += (surplus + len(self._rest)) / 2 / self._rate_hz
            self._rest.clear()
            pcm16 = pcm16[surplus:]
        self._rest += pcm16
        whole = len(self._rest) // self._frame_bytes
        first_sample = self._samples - len(self._rest) // 2
        for i in range(whole):
            start = i * self._frame_bytes
            end_s = (first_sample + (start + self._frame_bytes) // 2) / self._rate_hz
            self._frames.append(IntakeFrame(bytes(self._rest[start : start + self._frame_bytes]), end_s))
        del self._rest[: whole * self._frame_bytes]
        while len(self._frames) > self._max_frames:
            self._frames.popleft()
            dropped_s += self._frame_s
        return dropped_s

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next frame may pass, 0.0 for at once, ``None`` when there is none."""
        if not self._frames:
            return None
        self._refill(now)
        return max(0.0, (self._frame_s - self._credit_s) / self._speed)

    def take(self, now: float) -> IntakeFrame | None:
        """The next frame, or ``None`` when none is there or none may pass yet."""
        wait = self.wait_s(now)
        if wait is None or wait > 1e-9:
            return None
        self._credit_s -= self._frame_s
        return self._frames.popleft()

    def _refill(self, now: float) -> None:
        if self._credit_at is not None:
            self._credit_s = min(self._burst_s, self._credit_s + max(0.0, now - self._credit_at) * self._speed)
        self._credit_at = now


class SpeedMeter:
    """Tells a client that sends audio too fast for too long from one that catches up after a stall.

    A bucket fills with the audio received and leaks ``max_speed`` seconds of it per second. Above ``burst_s`` the client is too
    fast; after ``patience_s`` of that without a break it is abuse. The bucket's depth is bounded, so a single large message is
    forgiven about a second after the client slows down.
    """

    def __init__(self, max_speed: float, *, burst_s: float = 5.0, patience_s: float = 10.0) -> None:
        self._max_speed = max_speed
        self._burst_s = burst_s
        self._patience_s = patience_s
        self._level_s = 0.0
        self._at: float | None = None
        self._over_since: float | None = None

    @property
    def over(self) -> bool:
        """Whether the client is too fast now."""
        return self._over_since is not None

    def observe(self, audio_s: float, now: float) -> bool:
        """``audio_s`` seconds of audio arrived at ``now``. True when that is abuse."""
        if self._at is not None:
            self._level_s = max(0.0, self._level_s - max(0.0, now - self._at) * self._max_speed)
        self._at = now
        if self._level_s <= self._burst_s:
            self._over_since = None
        self._level_s = min(self._level_s + audio_s, self._burst_s + self._max_speed)
        if self._level_s <= self._burst_s:
            return False
        if self._over_since is None:
            self._over_since = now
        return now - self._over_since >= self._patience_s
