"""The ring between a front-end and the step process: what is put comes out, in order, whole, or is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.kyutai.link.channel import End, open_channel
from engines.kyutai.link.ring import Record, Ring, RingFull, memory


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 230), max_size=120), read_every=st.integers(1, 9))
def test_records_come_out_as_they_went_in(sizes: list[int], read_every: int) -> None:
    fd = memory(1024)
    writer, reader = Ring(fd), Ring(fd)
    expected: list[Record] = []
    seen: list[Record] = []
    for number, size in enumerate(sizes):
        record = Record(number, number % 256, os.urandom(size))
        try:
            writer.put(record.session, record.kind, record.payload)
        except RingFull:
            # A refusal takes nothing: after reading, the same record finds room.
            writer.publish()
            seen += reader.take()
            writer.put(record.session, record.kind, record.payload)
        expected.append(record)
        if number % read_every == 0:
            writer.publish()
            seen += reader.take(3)
    writer.publish()
    while got := reader.take(5):
        seen += got
    assert seen == expected
    assert writer.used == 0
    writer.close()
    reader.close()
    os.close(fd)


def test_what_was_not_published_is_not_seen() -> None:
    fd = memory(1024)
    writer, reader = Ring(fd), Ring(fd)
    writer.put(1, 2, b"abc")
    assert reader.take() == []
    assert writer.publish()
    assert reader.take() == [Record(1, 2, b"abc")]
    assert not writer.publish()


def test_the_reserve_is_for_urgent_records() -> None:
    fd = memory(1024)
    writer = Ring(fd, reserve=256)
    for _ in range(6):
        writer.put(1, 1, bytes(100))
    with pytest.raises(RingFull):
        writer.put(1, 1, bytes(100))
    writer.put(1, 3, b"the end", urgent=True)


def test_a_record_that_can_never_fit_is_an_error_of_its_sender() -> None:
    ring = Ring(memory(1024))
    with pytest.raises(ValueError, match="payload"):
        ring.put(1, 1, bytes(ring.largest + 1))
    with pytest.raises(ValueError, match="power of two"):
        memory(1000)


def test_a_channel_goes_both_ways_and_stays_readable_while_there_is_more() -> None:
    channel = open_channel(1 << 18, 1 << 18)
    # The other process has descriptors of its own.
    engine = End(channel, engine=True)
    front = End(type(channel)(*(os.dup(fd) for fd in channel.all())), engine=False)
    for _ in range(5000):
        front.put(1, 1)
    front.send()
    first = engine.receive()
    rest = engine.receive()
    assert len(first) + len(rest) == 5000
    assert len(first) < 5000
    assert engine.receive() == []
    engine.put(7, 9, b"back")
    engine.send()
    assert front.receive() == [Record(7, 9, b"back")]
    engine.close()
    front.close()
