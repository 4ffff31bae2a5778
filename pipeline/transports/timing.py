"""Two pure clocks of a call's media: when the learner's samples were captured, and what of the tutor's audio was played.

Times are seconds on the process's monotonic clock and are passed in. Nothing here does I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.transports.listener import Listener


class CaptureClock:
    """Maps a position in the learner's audio to the time at which it arrived, without the network's jitter.

    A packet can only be late, never early, so the smallest ``arrival - position`` seen over the last ``window`` packets is
    the stream's true offset (the usual minimum filter of one-way delay estimation). Positions are seconds of media time: an
    RTP timestamp over its clock rate, or samples received over the sample rate; the end of a packet, not its start.
    """

    def __init__(self, window: int = 250) -> None:
        self._window = window
        self._seen = 0
        # Packet number and offset of each that has no smaller one behind it: the first is the smallest of the window.
        self._smallest: deque[tuple[int, float]] = deque()

    def observe(self, position_s: float, arrived_at: float) -> None:
        """A packet whose last sample lies at ``position_s`` arrived at ``arrived_at``."""
        offset = arrived_at - position_s
        while self._smallest and self._smallest[-1][1] >= offset:
            self._smallest.pop()
        self._smallest.append((self._seen, offset))
        self._seen += 1
        if self._smallest[0][0] < self._seen - self._window:
            self._smallest.popleft()

    def reset(self) -> None:
        """Forget the stream, after a gap or a new source."""
        self._smallest.clear()

    def time_of(self, position_s: float) -> float | None:
        """The monotonic time at which the sample at ``position_s`` was complete, or ``None`` before the first packet."""
        return self._smallest[0][1] + position_s if self._smallest else None


@dataclass(slots=True)
class _Span:
    utterance: str
    sent: int = 0
    # Where its audio lies in the output stream: (position, samples of the utterance before it), a pair for each unbroken piece.
    pieces: list[tuple[int, int]] = field(default_factory=list)
    first_voiced_at: float | None = None
    first_voiced_position: int | None = None
    last_voiced_at: float | None = None
    heard_at: float | None = None


class PlayoutLedger:
    """What of each utterance has been sent and, where the client reports it, played.

    Positions are samples in the outgoing stream at ``rate_hz``, silence included, from 0 when the connection opened. The
    transport calls ``begin`` when an utterance's first audio is about to leave and ``sent`` for every chunk that leaves.
    ``position`` is what had left over the same connection before. ``behind_s`` is what the door knows of its clients' buffers
    (``Listener``); it counts as long as a client does not report.
    """

    def __init__(self, rate_hz: int, keep: int = 32, *, behind_s: float = 0.0, position: int = 0) -> None:
        self.rate_hz = rate_hz
        self._position = position
        self._spans: deque[_Span] = deque(maxlen=keep)
        self._listener = Listener(rate_hz, behind_s)
        self._played = position  # the furthest position that was reported
        self.on_first_voiced: Callable[[str, float], None] | None = None
        """Called once per utterance, with its id and the time, when its first voiced chunk leaves."""
        self.on_heard: Callable[[str, float], None] | None = None
        """Called once per utterance, with its id and the time, when the client reports that it has begun to be heard."""
        self.on_audio: Callable[[bytes, float], None] | None = None
        """Called by the transport with each piece of pcm16 that left, silence too, and the time at which it is to be played."""
        self.on_played: Callable[[bytes, float], None] | None = None
        """As ``on_audio``, for whoever compares it with what the microphone hears."""
        self.on_late: Callable[[float, float], None] | None = None
        """Called by the transport with how many seconds after it was due a piece of audio leaves, and the time."""

    @property
    def position(self) -> int:
        """Samples sent since the connection opened, silence included."""
        return self._position

    def begin(self, utterance: str) -> None:
        """The audio that follows belongs to ``utterance``; calling it again for the current one changes nothing."""
        if not self._spans or self._spans[-1].utterance != utterance:
            self._spans.append(_Span(utterance))

    def sent(self, samples: int, at: float, *, speech: bool, voiced: bool, due_at: float | None = None) -> None:
        """``samples`` left at ``at``. ``speech``: they belong to the current utterance; ``voiced``: they are not silence.

        ``due_at`` is when a listener without any delay plays the first of them: at once, unless they leave ahead of time.
        """
        self._listener.sent(self._position, samples, at if due_at is None else due_at)
        if speech and self._spans:
            span = self._spans[-1]
            if not span.pieces or span.pieces[-1][0] + span.sent - span.pieces[-1][1] != self._position:
                span.pieces.append((self._position, span.sent))
            span.sent += samples
            if voiced:
                span.last_voiced_at = at
                if span.first_voiced_at is None:
                    span.first_voiced_at, span.first_voiced_position = at, self._position
                    if self.on_first_voiced is not None:
                        self.on_first_voiced(span.utterance, at)
        self._position += samples

    def reported(self, position: int, at: float) -> None:
        """The client has played the stream up to ``position``. A report from the future or the past is ignored."""
        if not self._played <= position <= self._position:
            return
        self._played = position
        self._listener.reported(position, at)
        for span in self._spans:
            first = span.first_voiced_position
            if span.heard_at is None and first is not None and position >= first:
                # A packet that left late was due before.
                span.heard_at = max(span.first_voiced_at or 0.0, self._listener.heard_at(first, at))
                if self.on_heard is not None:
                    self.on_heard(span.utterance, span.heard_at)

    def thrown_away(self) -> None:
        """The client has dropped what it had not played. A later report passes over that, and must not count it as heard."""
        for span in self._spans:
            span.first_voiced_position = None

    def hold(self, at: float) -> None:
        """The client was told to keep what it has not played."""
        self._listener.hold(at)

    def go_on(self, at: float) -> None:
        """It was told to go on with that, or to drop it."""
        self._listener.go_on(at)

    def sent_s(self, utterance: str) -> float:
        """Seconds of ``utterance`` that have left; 0.0 for an unknown one."""
        span = self._find(utterance)
        return span.sent / self.rate_hz if span else 0.0

    def heard_s(self, utterance: str, at: float) -> float:
        """Seconds of ``utterance`` that the client has played at ``at``.

        By its last report, carried forward while there is audio to play, or by what the door knows of its clients' buffers.
        """
        span = self._find(utterance)
        if span is None:
            return 0.0
        position = self._listener.position_at(at)
        heard = 0
        for index, (start, before) in enumerate(span.pieces):
            if position <= start:
                break
            end = span.pieces[index + 1][1] if index + 1 < len(span.pieces) else span.sent
            heard = min(end, before + position - start)
        return heard / self.rate_hz

    def first_voiced_sent_at(self, utterance: str) -> float | None:
        """When the first voiced chunk of ``utterance`` left."""
        span = self._find(utterance)
        return span.first_voiced_at if span else None

    def last_voiced_sent_at(self, utterance: str) -> float | None:
        """When the last voiced chunk of ``utterance`` so far left."""
        span = self._find(utterance)
        return span.last_voiced_at if span else None

    def heard_at(self, utterance: str) -> float | None:
        """When the client played the first voiced sample of ``utterance``, by its own report."""
        span = self._find(utterance)
        return span.heard_at if span else None

    def _find(self, utterance: str) -> _Span | None:
        return next((s for s in reversed(self._spans) if s.utterance == utterance), None)
