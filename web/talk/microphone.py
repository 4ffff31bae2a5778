"""A microphone made of clips: real-time frames with room tone between the clips, and marks of when each sample was sent."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from web.talk.listening import SPEECH_RMS, Pcm16, voice_spans, window_rms

FRAME_MS = 20
ROOM_TONE_RMS = 12.0
"""About -69 dBFS: a quiet room. Digital zero would be a signal of its own to a codec and to a voice detector."""

QUIET_SPEECH_SHARE = 0.1
"""In a recording so quiet that its loudest window is under ten times ``SPEECH_RMS``, this share of it (-20 dB) is voice."""


@dataclass(slots=True, eq=False)
class Utterance:
    """One clip as it was played. Positions are samples of the microphone's stream, from 0 when it was opened.

    ``voiced`` are the clip's own voiced spans, in stream positions once it has started.
    """

    pcm: Pcm16
    voiced: list[tuple[int, int]]
    start: int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end(self) -> int | None:
        """Position just after the clip's last sample; ``None`` before it started."""
        return None if self.start is None else self.start + len(self.pcm)


class Microphone:
    """Hands out frames of ``frame_ms`` no sooner than their last sample would have been captured.

    A frame is complete ``frame_ms`` after its first sample. A reader that falls behind catches up at once, as a sound card's
    buffer would let it, so the stream never drifts from real time.
    """

    def __init__(
        self,
        rate_hz: int,
        *,
        frame_ms: int = FRAME_MS,
        room_tone_rms: float = ROOM_TONE_RMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate_hz = rate_hz
        self.frame_samples = rate_hz * frame_ms // 1000
        self._frame_s = frame_ms / 1000
        self._clock = clock
        self._started_at: float | None = None
        self._sent: list[float] = []
        self._queue: deque[Utterance] = deque()
        self._spoken: list[Utterance] = []
        # One second of noise, read in a circle with a stride that is no divisor of it: no audible period, no cost per frame.
        self._tone = np.random.default_rng(0).normal(0.0, room_tone_rms, rate_hz).astype(np.int16)
        self._tone_at = 0

    @property
    def frames(self) -> int:
        """Frames handed out so far."""
        return len(self._sent)

    def say(self, pcm: Pcm16) -> Utterance:
        """Play ``pcm`` from the next frame on, after whatever is queued; its ``done`` is set when its last frame was sent."""
        loudest = float(window_rms(pcm, self.rate_hz).max(initial=0.0))
        threshold = min(SPEECH_RMS, QUIET_SPEECH_SHARE * loudest)
        utterance = Utterance(pcm, voice_spans(pcm, self.rate_hz, threshold_rms=threshold))
        if not len(pcm):
            utterance.start = self.frames * self.frame_samples
            utterance.done.set()
            return utterance
        self._queue.append(utterance)
        return utterance

    def time_of(self, position: int) -> float | None:
        """When the last sample before ``position`` was sent: the moment at which its frame was complete and handed out."""
        index = max(0, position - 1) // self.frame_samples
        return self._sent[index] if index < len(self._sent) else None

    def onset_at(self, utterance: Utterance) -> float | None:
        """When the frame with the utterance's first sample was sent."""
        return None if utterance.start is None else self.time_of(utterance.start + 1)

    def ended_at(self, utterance: Utterance) -> float | None:
        """When the frame with the utterance's last sample was sent."""
        return None if utterance.end is None else self.time_of(utterance.end)

    def last_voice_end(self, before: float) -> float | None:
        """When the last voiced span that was over by ``before`` ended, over everything played; ``None``: nothing was."""
        for utterance in reversed(self._spoken):
            for _, end in reversed(utterance.voiced):
                at = self.time_of(end)
                if at is not None and at <= before:
                    return at
        return None

    async def frame(self) -> Pcm16:
        """The next frame, shape ``(frame_samples,)``, when it is due."""
        if self._started_at is None:
            self._started_at = self._clock()
        due = self._started_at + (self.frames + 1) * self._frame_s
        delay = due - self._clock()
        if delay > 0:
            await asyncio.sleep(delay)
        return self.capture(self._clock())

    def capture(self, at: float) -> Pcm16:
        """The next frame, handed out at ``at``; pure but for the marks it leaves."""
        position = self.frames * self.frame_samples
        out = self._room_tone()
        finished: Utterance | None = None
        if self._queue:
            head = self._queue[0]
            if head.start is None:
                start = head.start = position
                head.voiced = [(a + start, b + start) for a, b in head.voiced]
                self._spoken.append(head)
            piece = head.pcm[position - head.start : position - head.start + self.frame_samples]
            mixed = out[: len(piece)].astype(np.int32) + piece
            out[: len(piece)] = np.clip(mixed, -32768, 32767)
            if position - head.start + self.frame_samples >= len(head.pcm):
                finished = self._queue.popleft()
        self._sent.append(at)
        if finished is not None:
            finished.done.set()
        return out

    def _room_tone(self) -> Pcm16:
        n, size = self.frame_samples, len(self._tone)
        self._tone_at = (self._tone_at + n + 37) % size
        return np.take(self._tone, range(self._tone_at, self._tone_at + n), mode="wrap").astype(np.int16)
