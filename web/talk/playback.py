"""What a loudspeaker plays of a call: pieces in, a steady stream out. Safe to be read from a sound card's thread."""

from __future__ import annotations

import threading
from collections import deque

from web.parley_client import Audio

MAX_BUFFERED_S = 30.0
"""The server sends at real time and 0.2 s ahead; more than this is a clock that drifts, and the oldest of it is dropped."""


class Playback:
    """The tutor's voice between its arrival and the loudspeaker. ``rate_hz`` is of the mono pcm16 that it gives."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._buffered = 0
        self._held = False
        self._position: int | None = None
        self._silent = 0
        self._lock = threading.Lock()

    def add(self, audio: Audio) -> None:
        """A piece that arrived."""
        with self._lock:
            self._pieces.append((audio.pcm16, audio.sample))
            self._buffered += len(audio.pcm16)
            while self._buffered > 2 * self.rate_hz * MAX_BUFFERED_S:
                self._buffered -= len(self._pieces.popleft()[0])

    def flush(self) -> None:
        """The tutor was interrupted: what has not been played is dropped, and a hold ends."""
        with self._lock:
            self._pieces.clear()
            self._buffered, self._held = 0, False

    def hold(self) -> None:
        """Stand still, and keep what has not been played."""
        self._held = True

    def go_on(self) -> None:
        """Go on with the very next sample."""
        self._held = False

    def restart(self) -> None:
        """Another connection: its samples count from 0."""
        self.flush()
        self._position = None

    def read(self, samples: int) -> bytes:
        """The next ``samples`` to play, silence where there is nothing."""
        wanted, out = 2 * samples, bytearray()
        with self._lock:
            while not self._held and self._pieces and len(out) < wanted:
                pcm16, sample = self._pieces.popleft()
                taken = pcm16[: wanted - len(out)]
                out += taken
                self._position = sample + len(taken) // 2
                if len(taken) < len(pcm16):
                    self._pieces.appendleft((pcm16[len(taken) :], self._position))
            self._buffered -= len(out)
            self._silent = 0 if out else self._silent + samples
        return bytes(out) + bytes(wanted - len(out))

    @property
    def sounding(self) -> bool:
        """Whether there is something to play."""
        return bool(self._pieces) and not self._held

    def position(self, latency_s: float) -> int | None:
        """The stream's sample that leaves a loudspeaker ``latency_s`` behind ``read``; ``None`` before the first."""
        if self._position is None:
            return None
        return max(0, self._position - max(0, round(latency_s * self.rate_hz) - self._silent))
