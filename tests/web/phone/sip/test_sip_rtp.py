"""The sound of calls by SIP: packets in any order, keys once each, and whose packets are taken."""

from __future__ import annotations

import audioop
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.doors.phone.sip import rtp
from web.doors.phone.sip.rtp import BadPacket, Keys, Packet, Writer
from web.doors.phone.sip.sdp import Media
from web.doors.phone.sip.sound import PROBATION, Receiver, Sender, Way

MEDIA = Media("192.0.2.10", 4000, 0, 101)
numbers_16, numbers_32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
packets = st.builds(Packet, st.integers(0, 63), numbers_16, numbers_32, numbers_32, st.binary(max_size=400), st.booleans())


@given(packets)
def test_a_packet_is_read_as_it_was_written(packet):
    assert rtp.parse(rtp.encode(packet)) == packet


@given(packets, st.integers(0, 15), st.binary(max_size=5), st.integers(0, 20))
def test_sources_extensions_and_padding_are_no_sound(packet, sources, extension, padding):
    data = bytearray(rtp.encode(packet))
    head, payload = data[:12], bytes(data[12:])
    extension = extension[: len(extension) // 4 * 4]
    head[0] |= sources | 0x10 | (0x20 if padding else 0)
    tail = bytes(padding - 1) + bytes([padding]) if padding else b""
    extended = struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    assert rtp.parse(bytes(head) + bytes(4 * sources) + extended + payload + tail) == packet


@given(st.binary(max_size=300))
def test_no_datagram_breaks_anything(data):
    try:
        packet = rtp.parse(data)
    except BadPacket:
        return
    receiver = Receiver(MEDIA)
    assert len(receiver.put(packet, 1.0).pcm16) % 2 == 0


@pytest.mark.parametrize("data", [b"", b"\x80" * 11, b"\x40" + bytes(11), b"\x80\xc8" + bytes(26), b"\x80\x00" + bytes(3_000)])
def test_what_is_no_rtp_is_refused(data):
    with pytest.raises(BadPacket):
        rtp.parse(data)


def test_numbers_and_times_wrap():
    writer = Writer(1, 0xFFFF, 0xFFFFFFFF - 159)
    first, second = rtp.parse(writer.packet(0, bytes(160))), rtp.parse(writer.packet(0, bytes(160)))
    assert (first.sequence, second.sequence) == (0xFFFF, 0)
    assert second.timestamp == 0
    assert (first.marker, second.marker) == (True, False)


# What the caller says


def spoken(pieces: int, *, sequence: int = 65_530, timestamp: int = 2**32 - 800) -> list[Packet]:
    """A voice whose every piece of 20 ms is another number, over a wrap of both counters."""
    return [
        Packet(
            0,
            (sequence + i) & 0xFFFF,
            (timestamp + 160 * i) & 0xFFFFFFFF,
            7,
            audioop.lin2ulaw(struct.pack("<160h", *[1_000 + 600 * i] * 160), 2),
        )
        for i in range(pieces)
    ]


def levels(pcm16: bytes) -> list[int]:
    """Which pieces these are; -1 is silence."""
    means = np.frombuffer(pcm16, np.int16).reshape(-1, 160).mean(axis=1)
    return [round((mean - 1_000) / 600) if mean > 500 else -1 for mean in means]


@given(st.sets(st.sampled_from(range(2, 17, 3))))
def test_packets_that_changed_places_are_put_right(swapped):
    receiver, heard, sent = Receiver(MEDIA), b"", spoken(18)
    # Of two that changed places, the first comes right behind the second.
    arriving = sorted((10.0 + 0.02 * (i + 1) + 0.001 if i in swapped else 10.0 + 0.02 * i, i) for i in range(18))
    for at, number in arriving:
        heard += receiver.tick(at) + receiver.put(sent[number], at).pcm16
    assert levels(heard) == list(range(18))


@given(st.sets(st.integers(2, 17), max_size=8))
def test_time_is_true_whatever_is_lost(lost):
    receiver, heard, sent = Receiver(MEDIA), b"", spoken(20)
    now = 10.0
    for number, packet in enumerate(sent):
        now = 10.0 + 0.02 * number
        if number not in lost:
            heard += receiver.put(packet, now).pcm16
    for step in range(1, 30):
        heard += receiver.tick(now + 0.01 * step)
    assert levels(heard)[:20] == [-1 if i in lost else i for i in range(20)]


def test_a_codec_that_changes_in_mid_call_is_followed():
    receiver = Receiver(MEDIA)
    for kind, encode in ((0, audioop.lin2ulaw), (8, audioop.lin2alaw)):
        pcm16 = struct.pack("<160h", *[4_000] * 160)
        heard = receiver.put(Packet(kind, kind, 20 * kind, 7, encode(pcm16, 2)), 10.0 + kind / 400).pcm16
        assert np.frombuffer(heard, np.int16) == pytest.approx(4_000, abs=130)


# Keys


def key_packets(code: int, *, sequence: int, timestamp: int, steps: int = 5) -> list[Packet]:
    """RFC 4733: told every 20 ms, its end three times."""
    told = [(min(i + 1, steps) * 160, i >= steps - 1) for i in range(steps + 2)]
    return [
        Packet(
            101, (sequence + i) & 0xFFFF, timestamp, 7, struct.pack("!BBH", code, (0x80 if end else 0) | 10, duration), i == 0
        )
        for i, (duration, end) in enumerate(told)
    ]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=6), st.randoms(use_true_random=False), numbers_32)
def test_each_key_is_told_once_in_whatever_order_its_packets_come(codes, random, start):
    keys, told = Keys(), []
    for number, code in enumerate(codes):
        sent = key_packets(code, sequence=number * 10, timestamp=(start + 1_600 * number) & 0xFFFFFFFF)
        random.shuffle(sent)
        kept = sent[: random.randint(1, len(sent))]
        told += [key for packet in [*kept, kept[0]] if (key := keys.put(packet)) is not None]
    assert told == [rtp.KEYS[code] for code in codes]


def test_a_key_that_is_held_for_long_is_one_key():
    keys = Keys()
    assert keys.put(Packet(101, 1, 0, 7, struct.pack("!BBH", 5, 0, 160), True)) == "5"
    assert keys.put(Packet(101, 2, 0, 7, struct.pack("!BBH", 5, 0, 0xFFFF))) is None
    assert keys.put(Packet(101, 3, 0xFFFF, 7, struct.pack("!BBH", 5, 0, 160))) is None
    assert keys.put(Packet(101, 4, 0x1FFFF, 7, struct.pack("!BBH", 5, 0, 160), True)) == "5"


def test_time_passes_while_a_key_is_down():
    receiver, heard = Receiver(MEDIA), b""
    before, after = spoken(5, sequence=0, timestamp=0), spoken(5, sequence=12, timestamp=1_600)
    for i, packet in enumerate([*before, *key_packets(1, sequence=5, timestamp=800), *after]):
        at = 10.0 + 0.02 * (i if i < 10 else max(9, i - 2))
        heard += receiver.put(packet, at).pcm16
        if i == 11:
            assert levels(heard) == [0, 1, 2, 3, 4, -1, -1, -1, -1, -1], "not only once it is up"
    assert levels(heard) == [0, 1, 2, 3, 4, -1, -1, -1, -1, -1, 0, 1, 2, 3, 4]


@given(st.lists(st.tuples(packets, st.floats(0, 1)), max_size=40))
def test_a_stream_of_nonsense_is_heard_in_bounds(sent):
    receiver, now, size = Receiver(MEDIA), 1.0, 0
    for packet, step in sent:
        now += step
        size += len(receiver.put(packet, now).pcm16)
        size += len(receiver.tick(now))
    # At most what came, and made up time between.
    assert size <= 2 * (sum(max(160, len(p.payload)) for p, _ in sent) + 8_000 * 4 * (len(sent) + 1))


# Sending


def test_silence_is_sent_in_between_and_nothing_on_hold():
    sender = Sender(MEDIA, Writer(1, 0, 0))
    sender.play(struct.pack("<160h", *[4_000] * 160))
    voice, silence = sender.next(), sender.next()
    assert voice is not None
    assert silence is not None
    assert rtp.parse(silence).payload == b"\xff" * 160
    assert rtp.parse(voice).payload != b"\xff" * 160
    sender.media = Media("192.0.2.10", 4000, 8, 101, "recvonly")
    assert sender.next() is None
    sender.media = Media("192.0.2.10", 4000, 8, 101)
    again = rtp.parse(sender.next() or b"")
    assert (again.sequence, again.timestamp, again.marker, again.payload_type) == (2, 480, True, 8)
    assert again.payload == b"\xd5" * 160


def test_an_interruption_throws_away_what_has_not_left():
    sender = Sender(MEDIA, Writer(1, 0, 0))
    for _ in range(3):
        sender.play(struct.pack("<160h", *[4_000] * 160))
    sender.clear()
    assert rtp.parse(sender.next() or b"").payload == b"\xff" * 160


# Whose packets


def test_the_agreed_address_is_believed_at_once_and_alone():
    way = Way(("192.0.2.10", 4000))
    assert way.admits(("192.0.2.10", 4000))
    assert not any(way.admits(("192.0.2.66", 4000)) for _ in range(20))
    assert way.to == ("192.0.2.10", 4000)


def test_a_router_s_address_is_believed_after_a_while():
    way, router = Way(("10.0.0.2", 4000)), ("192.0.2.1", 61_000)
    assert [way.admits(router) for _ in range(PROBATION)] == [False] * (PROBATION - 1) + [True]
    assert way.to == router
    assert not way.admits(("10.0.0.2", 4000))
    way.agree_anew(("10.0.0.2", 4000))
    assert way.to == router, "the same agreement changes nothing"
    way.agree_anew(("10.0.0.3", 4000))
    assert way.to == ("10.0.0.3", 4000)


def test_two_who_take_turns_are_never_believed():
    way = Way(("10.0.0.2", 4000))
    assert not any(way.admits(("192.0.2.1", 6_000 + i % 2)) for i in range(50))
