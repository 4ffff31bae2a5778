"""A jitter buffer for a listener that is a machine: packets in order, what is lost given up in time, nothing held back. Pure.

A loudspeaker needs a packet every 20 ms, so a playout buffer delays all of them by as much as the worst may be late. A speech
recogniser only needs them in order and without gaps. So a packet whose turn it is leaves at once, and the depth is not a delay
but a patience: how long a packet that is missing is waited for while newer ones are there. It is one packet (on whose arrival
the missing one can be restored from in-band FEC) and the lateness that packets of the last seconds had, measured; on a clean
network that is one packet and 5 ms. Where nothing newer is there, waiting holds nothing up: a silent line is given
``limit_s``, and only then the time is filled.

What comes too late is dropped, and what was held up leaves in one go, so a loss leaves no delay behind. A sender whose clock
runs faster or slower neither fills nor drains anything: the clock that dates the packets follows it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

from pipeline.transports.rtp import OPUS_CLOCK_HZ, RtpClock, difference_16
from pipeline.transports.timing import CaptureClock

LIMIT_S = 0.2
FILL_S = 3.0
"""A line that stays silent is filled for so long: enough for any judgement of whether the learner's turn is over."""
LEAST_LATENESS_S = 0.005
"""Lateness that any packet may have: of two that changed places, the first comes right behind the second."""
_TOLERANCE_S = 0.001
_LATENESS_WINDOW = 250  # packets; with 20 ms each the same 5 s as the clock's
_LATENESS_RANK = 0.98
_MISORDER = 100  # packets; a sequence number further back than this is a new stream, not a late packet
_MAX_GAP = 1_000  # packets; likewise forward
_MAX_WAITING = 128  # packets; more than the longest wait brings, whatever their length
_DTX_BYTES = 2  # a packet of at most so many says that the sender pauses until there is sound (RFC 6716, section 2.1.9)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of media time, in seconds: one packet, or time for which there is none."""

    start_s: float
    """Where it begins. A packet may hold more before that, which is no longer wanted."""
    end_s: float
    payload: bytes | None = None
    """The packet, or ``None`` where the time is to be made up."""
    following: bytes | None = None
    """Where it is to be made up: the packet that comes right after it, if it is there, with a copy of the lost one perhaps."""


@dataclass(frozen=True, slots=True)
class _Packet:
    payload: bytes
    start_s: float
    end_s: float


class JitterBuffer:
    """Puts one stream of packets in order and says what is due. Times are monotonic seconds, positions seconds of media time.

    After each ``push`` and ``tick``, ``tick`` is to be called at ``due_at``.

    Args:
        clock: Observes each packet; it says when a position should have arrived.
        limit_s: Longest wait for a packet, and for a line on which nothing comes.
        rate_hz: Clock rate of the timestamps.
    """

    def __init__(self, clock: CaptureClock, limit_s: float = LIMIT_S, *, rate_hz: int = OPUS_CLOCK_HZ) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._rtp = RtpClock(rate_hz)
        self._waiting: dict[int, _Packet] = {}  # by extended sequence number, which does not wrap
        self._given_up: deque[int] = deque(maxlen=_MISORDER)
        self._next = 0
        self._highest: int | None = None
        self._position_s = 0.0  # everything before it has left
        self._made_up_s = 0.0  # since the last packet
        self._unit_s = 0.02  # length of the last packet
        self._pausing = False
        self._behind_since: float | None = None
        self._lateness: deque[float] = deque(maxlen=_LATENESS_WINDOW)
        self._transit_s: float | None = None
        self.jitter_s = 0.0
        """Mean deviation of the packets' spacing, as RFC 3550 (section 6.4.1) smooths it."""
        self.lost = 0
        """Packets given up, by their numbers."""
        self.late = 0
        """Packets that came when their time had been given up, and were dropped."""
        self.duplicates = 0
        """Packets that came again."""
        self.restarts = 0
        """Streams begun: the first one, and each whose source, numbers or timestamps did not follow from those before."""

    @property
    def depth_s(self) -> float:
        """How long after its time a missing packet is waited for while newer ones are there, in seconds."""
        ordered = sorted(self._lateness)
        usual_s = ordered[ceil(_LATENESS_RANK * len(ordered)) - 1] if ordered else 0.0
        return min(self._limit_s, self._unit_s + max(LEAST_LATENESS_S, usual_s))

    @property
    def due_at(self) -> float | None:
        """When ``tick`` has something to give unless a packet comes first; ``None`` where only a packet brings more."""
        if self._highest is None:
            return None
        missing_until_s = self._position_s + self._unit_s
        if self._waiting:
            there_s = self._waiting[min(self._waiting)].start_s
            if there_s <= self._position_s + _TOLERANCE_S:
                return float("-inf")  # the time of what is missing has been made up already
            missing_until_s = min(missing_until_s, there_s)
            patience_s = self.depth_s
        elif self._made_up_s >= FILL_S - _TOLERANCE_S:
            return None
        else:
            patience_s = self.depth_s if self._pausing else self._limit_s
        due = self._clock.time_of(missing_until_s)
        return None if due is None else due + patience_s

    @property
    def waiting(self) -> int:
        """Packets held."""
        return len(self._waiting)

    def push(
        self, source: int, sequence: int, timestamp: int, payload: bytes, duration_s: float, arrived_at: float
    ) -> list[Piece]:
        """Take a packet; returns what is due with it, in order.

        Args:
            source: SSRC.
            sequence: 16-bit sequence number.
            timestamp: 32-bit RTP timestamp.
            payload: Kept as it is.
            duration_s: Audio in it.
            arrived_at: Now.
        """
        start_s, new_stream = self._rtp.position_s(source, timestamp, arrived_at)
        step = 0 if self._highest is None else difference_16(sequence, self._highest & 0xFFFF)
        if self._highest is None or new_stream or not -_MISORDER <= step <= _MAX_GAP:
            pieces, start_s = self._restart(sequence, start_s)
            number = sequence
        else:
            pieces, number = [], self._highest + step
        end_s = start_s + duration_s
        if number < self._next or number in self._waiting:
            self._count_stale(number)
            return pieces
        if number >= (self._highest or 0):
            self._highest = number
            if self._is_stuck(end_s, arrived_at):
                self._forget_times()
                start_s += self._continue_at(start_s)
                end_s = start_s + duration_s
                self.restarts += 1
        self._observe(start_s, end_s, arrived_at)
        self._waiting[number] = _Packet(payload, start_s, end_s)
        return pieces + self.tick(arrived_at)

    def tick(self, now: float) -> list[Piece]:
        """What is due at ``now``, in order."""
        pieces: list[Piece] = []
        while True:
            packet = self._waiting.pop(self._next, None)
            if packet is not None:
                self._next += 1
                pieces += self._release(packet)
                continue
            due_at = self.due_at
            if len(self._waiting) <= _MAX_WAITING and (due_at is None or now < due_at):
                return pieces
            if self._waiting:
                pieces += self._give_up()
            else:
                pieces.append(self._make_up(self._unit_s))

    def _restart(self, sequence: int, start_s: float) -> tuple[list[Piece], float]:
        """Begin a stream at ``sequence``; returns what was left of the old one, and the first packet's position."""
        pieces: list[Piece] = []
        while self._waiting:
            if self._next not in self._waiting:
                pieces += self._give_up()
            pieces += self._release(self._waiting.pop(self._next))
            self._next += 1
        self._forget_times()
        self._given_up.clear()
        self._next = self._highest = sequence
        self._pausing = False
        if self.restarts and start_s < self._position_s:
            start_s += self._continue_at(start_s)
        self._position_s = start_s
        self._made_up_s = 0.0
        self.restarts += 1
        return pieces, start_s

    def _forget_times(self) -> None:
        self._clock.reset()
        self._lateness.clear()
        self._transit_s = None
        self._behind_since = None

    def _continue_at(self, start_s: float) -> float:
        """Move media time so that ``start_s`` becomes the position at which the next audio is wanted; returns by how much."""
        by_s = self._position_s - start_s
        self._rtp.skip(by_s)
        return by_s

    def _count_stale(self, number: int) -> None:
        if number in self._given_up:
            self._given_up.remove(number)
            self.late += 1
        else:
            self.duplicates += 1

    def _is_stuck(self, end_s: float, now: float) -> bool:
        """Whether packets have been coming too late for so long that it is not the network.

        A held-up line catches up within moments. Timestamps that stood still while the sender paused, or a path that has become
        longer by more than the limit, never do.
        """
        if end_s > self._position_s + _TOLERANCE_S:
            self._behind_since = None
            return False
        if self._behind_since is None:
            self._behind_since = now
        return now - self._behind_since >= self._limit_s

    def _observe(self, start_s: float, end_s: float, arrived_at: float) -> None:
        self._clock.observe(end_s, arrived_at)
        due = self._clock.time_of(end_s)
        self._lateness.append(arrived_at - due if due is not None else 0.0)
        transit_s = arrived_at - start_s
        if self._transit_s is not None:
            self.jitter_s += (abs(transit_s - self._transit_s) - self.jitter_s) / 16
        self._transit_s = transit_s

    def _release(self, packet: _Packet) -> list[Piece]:
        if packet.end_s <= self._position_s + _TOLERANCE_S:
            self.late += 1
            return []
        pieces = []
        # No number is missing, so the sender has paused. A pause too long to be filled shows as a step in media time.
        while packet.start_s > self._position_s + _TOLERANCE_S and self._made_up_s < FILL_S - _TOLERANCE_S:
            pieces.append(self._make_up(min(self._unit_s, packet.start_s - self._position_s)))
        start_s = max(packet.start_s, self._position_s)
        self._position_s, self._made_up_s = packet.end_s, 0.0
        self._unit_s = packet.end_s - packet.start_s
        self._pausing = len(packet.payload) <= _DTX_BYTES
        pieces.append(Piece(start_s, packet.end_s, packet.payload))
        return pieces

    def _give_up(self) -> list[Piece]:
        """Make up the next stretch of the time before the first packet that is there; at its end the wait is over."""
        number = min(self._waiting)
        first = self._waiting[number]
        left_s = first.start_s - self._position_s
        if self._made_up_s >= FILL_S - _TOLERANCE_S and left_s > self._unit_s:
            self._position_s, left_s = first.start_s - self._unit_s, self._unit_s
        pieces = []
        if left_s > _TOLERANCE_S:
            last = left_s <= self._unit_s + _TOLERANCE_S
            pieces.append(self._make_up(left_s if last else self._unit_s, first.payload if last else None))
        if left_s <= self._unit_s + _TOLERANCE_S:
            self.lost += number - self._next
            self._given_up.extend(range(max(self._next, number - _MISORDER), number))
            self._next = number
        return pieces

    def _make_up(self, duration_s: float, following: bytes | None = None) -> Piece:
        start_s = self._position_s
        self._position_s += duration_s
        self._made_up_s += duration_s
        return Piece(start_s, self._position_s, None, following)
