"""The jitter buffer against made-up networks: nothing is out of order, nothing is lost without need, no delay stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.transports.jitter import FILL_S, LEAST_LATENESS_S, JitterBuffer, Piece
from pipeline.transports.timing import CaptureClock

FRAME_S = 0.02
LIMIT_S = 0.2
EPS = 1e-6


@dataclass
class Sent:
    """A packet on the wire: its number in the stream, when its sound began, and when it arrived."""

    index: int
    start_s: float
    arrives_at: float
    duration_s: float = FRAME_S
    payload: bytes = b""
    source: int = 1
    sequence: int = 0
    timestamp: int = 0


@dataclass
class Line:
    """Feeds packets in the order of their arrival, and the timer exactly when it is due. ``out`` has (time, piece)."""

    limit_s: float = LIMIT_S
    clock: CaptureClock = field(default_factory=CaptureClock)
    out: list[tuple[float, Piece]] = field(default_factory=list)
    held: int = 0

    def __post_init__(self) -> None:
        self.buffer = JitterBuffer(self.clock, self.limit_s)

    def run(self, packets: list[Sent], until: float | None = None) -> Line:
        for packet in sorted(packets, key=lambda p: p.arrives_at):
            self.wait(packet.arrives_at)
            pieces = self.buffer.push(
                packet.source, packet.sequence, packet.timestamp, packet.payload, packet.duration_s, packet.arrives_at
            )
            self.out += [(packet.arrives_at, piece) for piece in pieces]
            self.held = max(self.held, self.buffer.waiting)
        if until is not None:
            self.wait(until)
        return self

    def wait(self, until: float) -> None:
        while (due := self.buffer.due_at) is not None and due <= until:
            pieces = self.buffer.tick(due)
            assert pieces, "due, and nothing to give"
            self.out += [(due, piece) for piece in pieces]

    @property
    def played(self) -> list[bytes]:
        return [piece.payload for _, piece in self.out if piece.payload is not None]

    @property
    def made_up_s(self) -> float:
        return sum(piece.end_s - piece.start_s for _, piece in self.out if piece.payload is None)

    def delays(self) -> list[float]:
        """For each packet handed on, in order, the time between its sound's end and its leaving."""
        return [at - piece.end_s for at, piece in self.out if piece.payload is not None]

    def has_no_gap(self) -> bool:
        pieces = [piece for _, piece in self.out]
        return all(abs(b.start_s - a.end_s) < EPS for a, b in pairwise(pieces))


def stream(count, frame_s=FRAME_S, late=lambda i: 0.0, first=65_500, start=(1 << 32) - 5_000, rate=1.0, source=1, begins=0.0):
    """``count`` packets that leave at ``rate`` times real time and arrive ``late(i)`` after their sound's end."""
    return [
        Sent(
            i,
            i * frame_s,
            begins + (i + 1) * frame_s / rate + late(i),
            frame_s,
            payload=b"%08d" % i,
            source=source,
            sequence=(first + i) % 65_536,
            timestamp=round(start + i * frame_s * 48_000) % (1 << 32),
        )
        for i in range(count)
    ]


def without(packets, *indices):
    return [p for p in packets if p.index not in indices]


@pytest.mark.parametrize("frame_s", [0.0025, 0.01, 0.02, 0.04, 0.06])
def test_on_a_clean_network_each_packet_leaves_as_it_arrives(frame_s):
    packets = stream(300, frame_s)
    line = Line().run(packets)
    assert line.played == [p.payload for p in packets]
    assert [at for at, _ in line.out] == [p.arrives_at for p in packets]
    assert line.buffer.depth_s == pytest.approx(frame_s + LEAST_LATENESS_S)
    assert (line.made_up_s, line.buffer.lost, line.buffer.late) == (0, 0, 0)


def test_lost_packet_is_given_up_when_the_next_one_is_there_and_no_delay_stays():
    line = Line().run(without(stream(200), 100))
    at, piece = next((at, piece) for at, piece in line.out if piece.payload is None)
    assert (piece.start_s, piece.end_s) == (pytest.approx(2.0), pytest.approx(2.02))
    assert piece.following == b"%08d" % 101
    assert at - piece.end_s == pytest.approx(FRAME_S + LEAST_LATENESS_S)
    assert line.has_no_gap()
    assert max(line.delays()) == pytest.approx(LEAST_LATENESS_S)
    assert line.delays()[101:] == [pytest.approx(0, abs=EPS)] * 98
    assert (line.buffer.lost, line.buffer.late) == (1, 0)


def test_burst_is_made_up_and_only_its_end_can_be_restored():
    line = Line().run(without(stream(200), *range(100, 105)))
    made_up = [piece for _, piece in line.out if piece.payload is None]
    assert [piece.following for piece in made_up] == [None] * 4 + [b"%08d" % 105]
    assert line.has_no_gap()
    assert max(line.delays()) == pytest.approx(LEAST_LATENESS_S)
    assert line.delays()[-90:] == [pytest.approx(0, abs=EPS)] * 90
    assert line.buffer.lost == 5


def test_depth_follows_the_lateness_and_comes_back():
    line = Line().run(stream(1_000, late=lambda i: 0.03 * (i * 7 % 10) / 9 if i < 500 else 0.0)[:500])
    assert line.buffer.depth_s == pytest.approx(FRAME_S + 0.03, abs=0.004)
    assert line.buffer.jitter_s > 0.005
    line.run(stream(1_000)[500:])
    assert line.buffer.depth_s == pytest.approx(FRAME_S + LEAST_LATENESS_S)


def test_depth_is_bounded():
    line = Line(limit_s=0.1).run(stream(500, late=lambda i: 0.5 * (i % 50 == 0)))
    assert line.buffer.depth_s <= 0.1


def test_held_up_line_is_caught_up_with_and_nothing_of_it_lost():
    """150 ms without a packet, then all at once: less than the limit, so it was worth waiting for."""
    line = Line().run(stream(200, late=lambda i: max(0.0, 0.15 - (i - 100) * (FRAME_S - 1e-6)) if i >= 100 else 0.0))
    assert len(line.played) == 200
    assert line.made_up_s == 0
    assert line.delays()[-50:] == [pytest.approx(0, abs=EPS)] * 50


def test_line_held_up_for_longer_loses_what_came_too_late_and_no_delay_stays():
    line = Line().run(stream(300, late=lambda i: max(0.0, 0.6 - (i - 100) * (FRAME_S - 1e-6)) if i >= 100 else 0.0))
    assert line.has_no_gap()
    assert line.made_up_s == pytest.approx(0.42, abs=0.021)  # all but the last 200 ms, which were still waited for
    assert line.buffer.late == 300 - len(line.played)
    assert line.buffer.lost == 0
    assert line.delays()[-50:] == [pytest.approx(0, abs=EPS)] * 50


def test_silent_line_is_filled_for_a_time_and_then_left_alone():
    line = Line().run(stream(50), until=60.0)
    assert line.made_up_s == pytest.approx(FILL_S)
    assert line.out[-1][0] == pytest.approx(1.0 + FILL_S + LIMIT_S, abs=0.021)
    assert line.buffer.due_at is None


def test_sender_that_announces_its_pause_is_not_waited_for():
    """Opus' DTX: the last packet before it has a byte or two, and there is one such every 400 ms."""
    packets = stream(200)
    for packet in packets[100:160]:
        packet.payload = b"\x08"
    line = Line().run([p for p in packets if not 100 <= p.index < 160 or p.index % 20 == 0])
    # Numbers go on without the packets that were not sent.
    fresh = [p for p in packets if not 100 <= p.index < 160 or p.index % 20 == 0]
    for i, packet in enumerate(fresh):
        packet.sequence = i
    line = Line().run(fresh)
    assert line.has_no_gap()
    assert line.buffer.lost == 0
    assert max(at - piece.end_s for at, piece in line.out) <= FRAME_S + LEAST_LATENESS_S + EPS


def test_numbers_without_a_gap_are_a_pause_and_no_loss():
    packets = stream(100)
    for packet in packets[50:]:
        packet.start_s += 1.0
        packet.arrives_at += 1.0
        packet.timestamp = (packet.timestamp + 48_000) % (1 << 32)
    line = Line().run(packets)
    assert (line.buffer.lost, line.buffer.late, len(line.played)) == (0, 0, 100)
    assert line.has_no_gap()
    assert line.made_up_s == pytest.approx(1.0)


def test_timestamps_that_stood_still_in_a_pause_are_followed_after_a_moment():
    packets = stream(300)
    for packet in packets[100:]:
        packet.arrives_at += 2.0
    line = Line().run(packets)
    assert line.buffer.restarts == 2
    assert len(line.played) >= 300 - LIMIT_S / FRAME_S - 1
    assert line.has_no_gap()
    ends = [(at, piece.end_s) for at, piece in line.out if piece.payload is not None][-100:]
    assert all(abs((at - end_s) - (ends[0][0] - ends[0][1])) < EPS for at, end_s in ends)
    assert line.clock.time_of(ends[-1][1]) == pytest.approx(ends[-1][0])


def test_path_that_became_longer_by_more_than_the_limit_is_followed():
    line = Line().run(stream(400, late=lambda i: 0.35 if i >= 100 else 0.0))
    assert line.has_no_gap()
    assert line.played[-200:] == [b"%08d" % i for i in range(200, 400)]


@pytest.mark.parametrize(("source", "first", "start"), [(2, 7, 99), (1, 30_000, 3_000_000_000), (1, 64_000, 0)])
def test_new_stream_goes_on_in_media_time(source, first, start):
    line = Line().run(stream(100)).run(stream(100, source=source, first=first, start=start, begins=5.0))
    assert len(line.played) == 200
    starts = [piece.start_s for _, piece in line.out]
    assert starts == sorted(starts)
    last = line.out[-1]
    assert line.clock.time_of(last[1].end_s) == pytest.approx(last[0], abs=EPS)
    assert line.buffer.lost == 0


def test_new_stream_hands_on_what_was_waiting():
    packets = without(stream(60), 58)
    again = stream(10, source=2, begins=packets[-1].arrives_at - FRAME_S + 0.001)
    line = Line().run([*packets, *again])
    assert line.played == [p.payload for p in packets] + [p.payload for p in again]


@pytest.mark.parametrize("ppm", [-300, 300])
def test_sender_whose_clock_runs_otherwise_leaves_no_delay_in_half_an_hour(ppm):
    count = 90_000
    line = Line().run(stream(count, rate=1 + ppm / 1e6, late=lambda i: 0.004 * (i * 5 % 8) / 7))
    assert len(line.played) == count
    assert line.buffer.depth_s < FRAME_S + 0.008
    at, piece = line.out[-1]
    # The clock that dates words is off by what drifts in its window of 5 s, no more.
    assert abs(line.clock.time_of(piece.end_s) - at) < 0.004 + 0.002


def test_duplicates_and_packets_that_come_after_all_are_dropped_and_told_apart():
    packets = stream(100)
    packets[50].arrives_at += 0.1
    twice = [Sent(**{**vars(p), "arrives_at": p.arrives_at + 0.005}) for p in packets[10:20]]
    line = Line().run([*packets, *twice])
    assert (line.buffer.duplicates, line.buffer.late, line.buffer.lost) == (10, 1, 1)
    assert line.has_no_gap()


@pytest.mark.parametrize("also_lost", [0, 1])
def test_packet_that_overlaps_what_was_made_up_gives_its_rest_at_once(also_lost):
    """After 20 ms packets one of 60 ms that comes so late that 40 ms of it have been made up."""
    packets = stream(50)
    last = packets[-1]
    sequence, timestamp = (last.sequence + 1 + also_lost) % 65_536, (last.timestamp + 960) % (1 << 32)
    late = Sent(50, 1.0, 1.25, 0.06, b"late", sequence=sequence, timestamp=timestamp)
    line = Line().run([*packets, late])
    at, piece = line.out[-1]
    assert (at, piece.payload) == (1.25, b"late")
    assert (piece.start_s, piece.end_s) == (pytest.approx(1.04), pytest.approx(1.06))
    assert line.has_no_gap()
    assert (line.buffer.late, line.buffer.lost) == (0, also_lost)


# Any network.

LATE_MS = st.one_of(st.integers(0, 30), st.integers(0, 400))


@st.composite
def networks(draw, mixed=False):
    late = draw(st.lists(LATE_MS, min_size=20, max_size=120))
    lengths = st.sampled_from([10, 20, 40, 60])
    lengths_ms = [draw(lengths) for _ in late] if mixed else [draw(lengths)] * len(late)
    first, start = draw(st.integers(0, 65_535)), draw(st.integers(0, (1 << 32) - 1))
    packets, at_ms = [], 0
    for i, (late_ms, length_ms) in enumerate(zip(late, lengths_ms, strict=True)):
        arrives_at = (at_ms + length_ms + late_ms) / 1000
        sequence, timestamp = (first + i) % 65_536, (start + at_ms * 48) % (1 << 32)
        packets.append(Sent(i, at_ms / 1000, arrives_at, length_ms / 1000, b"%08d" % i, 1, sequence, timestamp))
        at_ms += length_ms
    gone = draw(st.sets(st.integers(1, len(late) - 1), max_size=len(late) // 3))
    again = draw(st.sets(st.integers(0, len(late) - 1), max_size=5))
    kept = without(packets, *gone)
    return kept + [Sent(**{**vars(p), "arrives_at": p.arrives_at + 0.013}) for p in kept if p.index in again]


@settings(max_examples=300, deadline=None)
@given(st.booleans().flatmap(networks))
def test_whatever_the_network_time_goes_forward_without_gaps_and_each_packet_once(packets):
    line = Line().run(packets, until=max(p.arrives_at for p in packets) + LIMIT_S)
    pieces = [piece for _, piece in line.out]
    assert all(piece.end_s > piece.start_s for piece in pieces)
    assert line.has_no_gap()
    assert line.played == sorted(set(line.played))
    assert [at for at, _ in line.out] == sorted(at for at, _ in line.out)
    buffer = line.buffer
    assert buffer.waiting == 0
    # Every packet that came was handed on, dropped as late, or a duplicate.
    assert len(line.played) + buffer.late + buffer.duplicates == len(packets)


@settings(max_examples=300, deadline=None)
@given(st.booleans().flatmap(networks))
def test_whatever_the_network_no_packet_waits_longer_than_the_limit(packets):
    line = Line()
    arrived: dict[bytes, float] = {}
    for packet in sorted(packets, key=lambda p: p.arrives_at):
        before = len(line.out)
        line.run([packet])
        arrived.setdefault(packet.payload, packet.arrives_at)
        for at, piece in line.out[before:]:
            if piece.payload is not None:
                assert at <= arrived[piece.payload] + LIMIT_S + EPS
        # Each packet waits for the limit at most, so no more than those of that time are held.
        assert line.held <= (LIMIT_S + 0.4) / 0.01 + 2


@settings(max_examples=300, deadline=None)
@given(networks())
def test_whatever_the_network_a_packet_in_time_is_never_lost(packets):
    """In time: by the clock as it stands at its arrival, no later than one packet (the least wait) after it was due."""
    line = Line()
    packets = sorted(packets, key=lambda p: p.arrives_at)
    first = packets[0]
    in_time = {first.payload}
    for packet in packets:
        line.run([packet])
        due = line.clock.time_of(packet.start_s - first.start_s + packet.duration_s)
        if line.buffer.restarts > 1:
            break
        # What the stream begins with is its beginning: there is no going back before it.
        if packet.start_s >= first.start_s and packet.arrives_at < due + packet.duration_s - EPS:
            in_time.add(packet.payload)
    line.wait(packets[-1].arrives_at + LIMIT_S)
    assert in_time <= set(line.played)
