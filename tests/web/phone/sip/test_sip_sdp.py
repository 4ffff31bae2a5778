"""Offers and answers: what is agreed on, what is refused, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.phone.sip.wire import OFFER
from web.doors.phone.sip import sdp
from web.doors.phone.sip.sdp import BadDescription, Media

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"


def agreed(text: str) -> Media | None:
    found = sdp.agree(sdp.parse(text.encode()))
    return found[0] if found is not None else None


@pytest.mark.parametrize(
    ("formats", "wanted"), [("0 8", 0), ("8 0", 8), ("9 18 8", 8), ("96 0", 0), ("9 18", None), ("3", None), ("96", None)]
)
def test_the_first_codec_that_both_speak_is_taken(formats, wanted):
    media = agreed(f"{HEAD}m=audio 4000 RTP/AVP {formats}\r\n")
    assert (media.payload_type if media else None) == wanted


def test_keys_have_the_number_that_was_offered():
    media = agreed(OFFER.replace("101", "96"))
    assert media == Media("192.0.2.10", 4000, 0, 96)
    assert agreed(f"{HEAD}m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/48000\r\n") == Media(
        "192.0.2.10", 4000, 0, None
    )


@pytest.mark.parametrize(
    "stream",
    [
        "m=audio 4000 RTP/SAVP 0",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 0",
        "m=audio 0 RTP/AVP 0",
        "m=video 4000 RTP/AVP 0",
        "m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 L16/44100",
        "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 telephone.example.org",
    ],
)
def test_what_has_nothing_in_common_is_not_agreed_on(stream):
    assert agreed(f"{HEAD}{stream}\r\n") is None


@pytest.mark.parametrize(
    ("line", "direction", "sends", "receives"),
    [
        ("", "sendrecv", True, True),
        ("a=sendonly\r\n", "recvonly", False, False),
        ("a=recvonly\r\n", "sendonly", True, False),
        ("a=inactive\r\n", "inactive", False, False),
        ("c=IN IP4 0.0.0.0\r\n", "recvonly", False, False),
    ],
)
def test_a_call_on_hold_is_neither_sent_to_nor_heard(line, direction, sends, receives):
    media = agreed(f"{HEAD}m=audio 4000 RTP/AVP 0\r\n{line}")
    assert media is not None
    assert (media.direction, media.sends, media.receives) == (direction, sends, receives)
    # For all streams at once it counts, too.
    if line.startswith("a="):
        assert agreed(f"{HEAD}{line}m=audio 4000 RTP/AVP 0\r\n") == media


def test_an_answer_has_every_stream_of_the_offer():
    spoken = "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    offer = f"{HEAD}m=video 5000 RTP/AVP 96\r\n{spoken}m=audio 6000 RTP/AVP 0\r\n"
    streams = sdp.parse(offer.encode())
    found = sdp.agree(streams)
    assert found is not None
    text = sdp.answer(streams, *found, host="2001:db8::1", port=16_384, session=7, version=3).decode()
    assert [line for line in text.split("\r\n") if line[:2] in ("m=", "c=", "o=")] == [
        "o=parley 7 3 IN IP6 2001:db8::1",
        "c=IN IP6 2001:db8::1",
        "m=video 0 RTP/AVP 96",
        "m=audio 16384 RTP/AVP 8 101",
        "m=audio 0 RTP/AVP 0",
    ]
    assert "a=ptime:20\r\na=sendrecv\r\n" in text


def test_an_offer_of_ours_can_be_agreed_on():
    media = agreed(sdp.offer(host="192.0.2.20", port=16_384, session=1, version=1).decode())
    assert media == Media("192.0.2.20", 16_384, 0, 101)


@pytest.mark.parametrize(
    "text", ["", "x", "v=0\r\n", "v=0\r\nm=audio\r\n", "v=0\r\nm=audio 70000 RTP/AVP 0\r\n", "v=0\r\n" + "a=x\r\n" * 600]
)
def test_what_is_no_description_is_refused(text):
    with pytest.raises(BadDescription):
        sdp.parse(text.encode())


lines = st.one_of(
    st.sampled_from(OFFER.split("\r\n")),
    st.from_regex(r"[a-z]=[ -~]{0,30}", fullmatch=True),
    st.from_regex(r"m=(audio|video) [0-9]{1,6} RTP/AVP( [0-9a-z]{1,3}){0,5}", fullmatch=True),
    st.from_regex(r"a=rtpmap:[0-9]{1,3} [a-zA-Z/0-9-]{0,20}", fullmatch=True),
    st.from_regex(r"c=IN IP[46] [0-9a-f:.]{0,20}", fullmatch=True),
)


@given(st.lists(lines, max_size=30))
def test_no_description_breaks_it_and_what_is_agreed_on_can_be_answered(drawn):
    try:
        streams = sdp.parse("\r\n".join(["v=0", *drawn]).encode())
    except BadDescription:
        return
    found = sdp.agree(streams)
    if found is not None:
        text = sdp.answer(streams, *found, host="192.0.2.20", port=16_384, session=1, version=1)
        assert len([s for s in sdp.parse(text) if s.port]) == 1
