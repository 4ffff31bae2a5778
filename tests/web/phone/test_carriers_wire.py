"""What each carrier's stream may say, and what is made of it: no server, no socket."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.doors.phone.carrier import Audio, BadFrame, Carrier, Digit, Failed, Mark, Started, Stopped
from web.doors.phone.exotel import ExotelStream
from web.doors.phone.plivo import PlivoStream
from web.doors.phone.telnyx import TelnyxStream
from web.doors.phone.vonage import VonageStream

AUDIO = base64.b64encode(b"\x7f" * 160).decode()
STREAMS: dict[str, type[Any]] = {"telnyx": TelnyxStream, "plivo": PlivoStream, "vonage": VonageStream, "exotel": ExotelStream}
STARTS: dict[str, dict[str, Any]] = {
    "telnyx": {
        "event": "start",
        "stream_id": "s",
        "start": {
            "call_control_id": "c",
            "custom_parameters": {"token": "t", "more": "1"},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        },
    },
    "plivo": {
        "event": "start",
        "start": {"streamId": "s", "callId": "c", "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000}},
        "extra_headers": "token=t",
    },
    "vonage": {"event": "websocket:connected", "content-type": "audio/l16;rate=8000", "token": "t", "call_id": "c"},
    "exotel": {
        "event": "start",
        "stream_sid": "s",
        "start": {
            "stream_sid": "s",
            "call_sid": "c",
            "custom_parameters": {"token": "t"},
            "media_format": {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"},
        },
    },
}


def started(name: str) -> Carrier:
    stream: Carrier = STREAMS[name]()
    event = stream.parse(json.dumps(STARTS[name]))
    assert isinstance(event, Started)
    assert (event.call_id, event.token) == ("c", "t")
    return stream


@pytest.mark.parametrize("name", list(STREAMS))
def test_a_stream_starts_once(name):
    stream = started(name)
    assert stream.codec.rate_hz == 8_000
    assert round(stream.piece_s * 1000) % 20 == 0
    with pytest.raises(BadFrame):
        stream.parse(json.dumps(STARTS[name]))


@pytest.mark.parametrize(
    ("name", "message", "event"),
    [
        ("telnyx", {"event": "media", "stream_id": "s", "media": {"chunk": "2", "payload": AUDIO}}, Audio(b"\x7f" * 160, 2)),
        ("telnyx", {"event": "media", "stream_id": "s", "media": {"track": "outbound", "payload": AUDIO}}, None),
        ("telnyx", {"event": "dtmf", "stream_id": "s", "dtmf": {"digit": "*"}}, Digit("*")),
        ("telnyx", {"event": "mark", "stream_id": "s", "mark": {"name": "m1"}}, Mark("m1")),
        ("telnyx", {"event": "stop", "stream_id": "s", "stop": {}}, Stopped()),
        ("telnyx", {"event": "error", "payload": {"code": 100002}}, Failed("{'code': 100002}")),
        ("telnyx", {"event": "connected", "version": "1.0.0"}, None),
        ("plivo", {"event": "media", "streamId": "s", "media": {"chunk": 7, "payload": AUDIO}}, Audio(b"\x7f" * 160, 7)),
        ("plivo", {"event": "dtmf", "streamId": "s", "dtmf": {"digit": "9"}}, Digit("9")),
        ("plivo", {"event": "playedStream", "streamId": "s", "name": "m1"}, Mark("m1")),
        ("plivo", {"event": "clearedAudio", "streamId": "s"}, None),
        ("vonage", {"event": "websocket:dtmf", "digit": "5", "duration": 260}, Digit("5")),
        ("vonage", {"event": "websocket:notify", "payload": {"mark": "m1"}}, Mark("m1")),
        ("vonage", {"event": "websocket:cleared"}, None),
        ("exotel", {"event": "media", "stream_sid": "s", "media": {"chunk": "1", "payload": AUDIO}}, Audio(b"\x7f" * 160, 1)),
        ("exotel", {"event": "dtmf", "stream_sid": "s", "dtmf": {"digit": "0", "duration": "100"}}, Digit("0")),
        ("exotel", {"event": "mark", "stream_sid": "s", "mark": {"name": "m1"}}, Mark("m1")),
        ("exotel", {"event": "stop", "stream_sid": "s", "stop": {"reason": "callended"}}, Stopped()),
        ("exotel", {"event": "connected"}, None),
    ],
)
def test_messages_of_the_documents(name, message, event):
    assert started(name).parse(json.dumps(message)) == event


def test_vonage_brings_sound_as_it_is():
    assert started("vonage").parse(b"\1\2") == Audio(b"\1\2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("telnyx", {"event": "media", "stream_id": "other", "media": {"payload": AUDIO}}),
        ("telnyx", {"event": "media", "stream_id": "s", "media": {"payload": "no base64!"}}),
        ("telnyx", {"event": "media", "stream_id": "s"}),
        ("telnyx", {"event": "dtmf", "stream_id": "s", "dtmf": {"digit": "55"}}),
        ("telnyx", {"event": "mark", "stream_id": "s", "mark": {}}),
        ("plivo", {"event": "media", "streamId": "other", "media": {"payload": AUDIO}}),
        ("plivo", {"event": "playedStream", "streamId": "s"}),
        ("plivo", {"event": "playAudio"}),
        ("vonage", {"event": "websocket:dtmf"}),
        ("vonage", {"event": "websocket:notify", "payload": "m1"}),
        ("vonage", {"action": "clear"}),
        ("exotel", {"event": "media", "media": {"payload": AUDIO}}),
        ("exotel", {"event": "stop", "stream_sid": "other"}),
    ],
)
def test_messages_that_no_document_knows(name, message):
    with pytest.raises(BadFrame):
        started(name).parse(json.dumps(message))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("telnyx", {"start": {"call_control_id": "c", "media_format": {"encoding": "G722", "sample_rate": 8000}}}),
        ("telnyx", {"start": {"call_control_id": "c", "media_format": {"encoding": "PCMU", "sample_rate": 16000}}}),
        ("telnyx", {"stream_id": None}),
        ("plivo", {"start": {"streamId": "s", "callId": "c", "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 8000}}}),
        ("vonage", {"content-type": "audio/l16;rate=24000"}),
        ("vonage", {"call_id": None}),
        ("exotel", {"start": {"stream_sid": "s", "call_sid": "c", "media_format": {"sample_rate": "24000"}}}),
        ("exotel", {"start": {"stream_sid": "s", "media_format": {"sample_rate": "8000"}}}),
    ],
)
def test_a_stream_that_cannot_be_taken_does_not_start(name, change):
    stream = STREAMS[name]()
    with pytest.raises(BadFrame):
        stream.parse(json.dumps({**STARTS[name], **change}))
    assert isinstance(stream.parse(json.dumps(STARTS[name])), Started), "and may be begun as it should"


@pytest.mark.parametrize(
    "headers", ["token=t", "a=1;token=t", "a=1,token=t", "{X-PH-token: t}", '{"X-PH-token": "t"}', "TOKEN=t"]
)
def test_plivos_headers_are_read_in_every_form(headers):
    event = PlivoStream().parse(json.dumps({**STARTS["plivo"], "extra_headers": headers}))
    assert isinstance(event, Started)
    assert event.token == "t"


@pytest.mark.parametrize("headers", ["", None, "mytoken=t", "tokens=t", "{}", 5])
def test_plivos_headers_without_a_token(headers):
    event = PlivoStream().parse(json.dumps({**STARTS["plivo"], "extra_headers": headers}))
    assert isinstance(event, Started)
    assert event.token == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", list(STREAMS))
@given(data=st.data())
def test_nothing_that_arrives_does_more_than_a_bad_frame(name, data):
    stream = started(name) if data.draw(st.booleans()) else STREAMS[name]()
    message = {**STARTS[name]} if data.draw(st.booleans()) else {}
    events = [STARTS[name]["event"], "media", "dtmf", "mark", "stop", "error", "playedStream", "websocket:notify"]
    message["event"] = data.draw(st.sampled_from(events))
    for key in ("stream_id", "streamId", "stream_sid"):
        message[key] = data.draw(st.sampled_from(["s", "x", None]))
    for key in data.draw(st.lists(st.sampled_from(["start", "media", "dtmf", "mark", "payload", "digit", "name"]), max_size=3)):
        message[key] = data.draw(json_values)
    raw: str | bytes = data.draw(st.sampled_from([json.dumps(message), json.dumps(message)[:-3]]) | st.binary(max_size=40))
    with contextlib.suppress(BadFrame):
        stream.parse(raw)
