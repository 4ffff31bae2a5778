"""The last seconds of a stream of audio, by their places in it. Pure."""

from __future__ import annotations

SAMPLE_BYTES = 2


class AudioRing:
    """Keeps mono pcm16 at ``rate_hz``, the last ``keep_s`` seconds at least, and forgets what is older now and then.

    Places are samples since the stream began.
    """

    def __init__(self, rate_hz: int, keep_s: float) -> None:
        self.rate_hz = rate_hz
        self._keep_bytes = round(keep_s * rate_hz) * SAMPLE_BYTES
        self._audio = bytearray()
        self._start = 0

    @property
    def start(self) -> int:
        """The first sample that is kept."""
        kept = len(self._audio) // SAMPLE_BYTES
        return self._start + max(0, kept - self._keep_bytes // SAMPLE_BYTES)

    @property
    def end(self) -> int:
        """The place of the next sample."""
        return self._start + len(self._audio) // SAMPLE_BYTES

    @property
    def end_s(self) -> float:
        """Seconds of the stream so far."""
        return self.end / self.rate_hz

    def add(self, pcm16: bytes) -> None:
        """Whole samples go on at the end."""
        self._audio += pcm16
        # Cutting off a little each time would move the whole of it each time.
        if len(self._audio) > 2 * self._keep_bytes:
            cut = len(self._audio) - self._keep_bytes
            del self._audio[:cut]
            self._start += cut // SAMPLE_BYTES

    def since(self, sample: int, until: int | None = None) -> bytes:
        """The audio from ``sample`` on (before ``until``), as far as it is kept."""
        first = max(sample, self.start) - self._start
        last = (self.end if until is None else min(until, self.end)) - self._start
        return bytes(self._audio[first * SAMPLE_BYTES : max(first, last) * SAMPLE_BYTES])

    def forget(self, before: int) -> None:
        """Keep nothing from before that sample."""
        cut = min(max(0, before - self._start), len(self._audio) // SAMPLE_BYTES)
        del self._audio[: cut * SAMPLE_BYTES]
        self._start += cut

    def clear(self) -> None:
        """Forget the audio, but not how much there was."""
        self._start = self.end
        self._audio.clear()
