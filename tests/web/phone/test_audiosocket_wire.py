"""AudioSocket's frames: whatever the pieces in which they arrive, and whatever comes instead of them."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.doors.phone.audiosocket_wire import (
    DTMF,
    ERROR,
    HANG_UP,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    RATES_HZ,
    UUID,
    Conversation,
    Frame,
    Frames,
    encode,
)
from web.doors.phone.carrier import Audio, BadFrame, Digit, Failed, Started, Stopped

NAME = uuid.UUID("11111111-2222-3333-4444-555555555555")
HELLO = encode(UUID, NAME.bytes)
frames = st.lists(st.builds(Frame, st.integers(0, 255), st.binary(max_size=700)), max_size=12)


def conversing() -> Conversation:
    conversation = Conversation()
    assert conversation.event(Frame(UUID, NAME.bytes)) == Started(str(NAME))
    return conversation


def test_a_call_as_the_documentation_has_it():
    wire = bytes.fromhex("010010" + NAME.hex + "100004" + "01000200" + "030001" + "35" + "ff0001" + "02" + "000000")
    conversation = Conversation()
    assert [conversation.event(frame) for frame in Frames().put(wire)] == [
        Started(str(NAME)),
        Audio(b"\x01\0\x02\0"),
        Digit("5"),
        Failed("error 0x02: a frame could not be passed on"),
        Stopped(),
    ]
    assert conversation.rate_hz == 8_000


@given(frames, st.data())
def test_frames_are_the_same_in_whatever_pieces_they_arrive(sent, data):
    stream = HELLO + b"".join(encode(*frame) for frame in sent)
    parser, got, at = Frames(), [], 0
    while at < len(stream):
        piece = data.draw(st.integers(1, 900))
        got += parser.put(stream[at : at + piece])
        at += piece
    assert got == [Frame(UUID, NAME.bytes), *sent]


@given(frames, st.integers(1, 700))
def test_a_truncated_frame_gives_nothing_and_costs_nothing_before_it(sent, missing):
    last = encode(0x10, bytes(700))
    stream = HELLO + b"".join(encode(*frame) for frame in sent) + last[:-missing]
    assert Frames().put(stream) == [Frame(UUID, NAME.bytes), *sent]


@given(st.binary(min_size=3, max_size=200).filter(lambda data: not data.startswith(HELLO[:3])))
def test_another_protocol_is_told_by_its_first_bytes(data):
    with pytest.raises(BadFrame):
        Frames().put(data)


@given(st.binary(min_size=1, max_size=2).filter(lambda data: not HELLO.startswith(data)))
def test_and_by_its_very_first_byte_where_that_is_enough(data):
    with pytest.raises(BadFrame):
        Frames().put(data)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_no_stream_makes_it_hold_more_than_one_frame(pieces):
    parser = Frames()
    parser.put(HELLO)
    for piece in pieces:
        parser.put(piece)
        assert len(parser._rest) < HEADER_BYTES + MAX_PAYLOAD_BYTES


def test_a_giant_frame_is_one_frame_and_more_cannot_be_said():
    parser = Frames()
    giant = encode(0x18, bytes(MAX_PAYLOAD_BYTES))
    assert parser.put(HELLO + giant)[1] == Frame(0x18, bytes(MAX_PAYLOAD_BYTES))
    with pytest.raises(ValueError, match="does not fit"):
        encode(0x18, bytes(MAX_PAYLOAD_BYTES + 1))


@given(st.lists(st.builds(Frame, st.integers(0, 255), st.binary(max_size=40)), max_size=40))
def test_any_frame_is_an_event_or_a_bad_frame_and_the_call_keeps_its_rate(sent):
    conversation, rates = conversing(), []
    for frame in sent:
        try:
            event = conversation.event(frame)
        except BadFrame:
            continue
        assert isinstance(event, Audio | Digit | Failed | Stopped)
        if isinstance(event, Audio):
            assert len(event.encoded) % 2 == 0
            rates.append(RATES_HZ[frame.kind])
    assert len(set(rates)) <= 1
    assert conversation.rate_hz == (rates[0] if rates else None)


@pytest.mark.parametrize(("kind", "rate_hz"), RATES_HZ.items())
def test_every_kind_of_audio_says_its_rate(kind, rate_hz):
    conversation = conversing()
    assert conversation.event(Frame(kind, b"\1\0")) == Audio(b"\1\0")
    assert conversation.rate_hz == rate_hz


@pytest.mark.parametrize("frame", [Frame(0x10, b"\0\0"), Frame(HANG_UP, b""), Frame(DTMF, b"1"), Frame(ERROR, b"\1")])
def test_nothing_may_come_before_the_name(frame):
    with pytest.raises(BadFrame, match="before the UUID"):
        Conversation().event(frame)


@pytest.mark.parametrize(
    ("frame", "wrong"),
    [
        (Frame(UUID, NAME.bytes), "second UUID"),
        (Frame(UUID, b"short"), "a UUID of 5 bytes"),
        (Frame(0x10, b"\0"), "no whole samples"),
        (Frame(DTMF, b"12"), "no digit"),
        (Frame(DTMF, b""), "no digit"),
        (Frame(DTMF, b"x"), "no digit"),
        (Frame(0x02, b""), "no frame is of kind 0x02"),
    ],
)
def test_a_bad_frame_says_what_is_wrong_and_harms_no_other(frame, wrong):
    conversation = conversing()
    with pytest.raises(BadFrame, match=wrong):
        conversation.event(frame)
    assert conversation.event(Frame(DTMF, b"#")) == Digit("#")


def test_audio_at_another_rate_than_before_is_refused():
    conversation = conversing()
    conversation.event(Frame(0x12, b"\0\0"))
    with pytest.raises(BadFrame, match="8000 Hz in a call at 16000 Hz"):
        conversation.event(Frame(0x10, b"\0\0"))


def test_an_error_without_a_code_is_an_error():
    assert conversing().event(Frame(ERROR, b"")) == Failed("error 0x00: no reason given")
