"""Twilio's messages and signatures, without a server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.phone.fake_twilio import ACCOUNT, AUTH_TOKEN, check_message, signature
from web.doors.phone.carrier import Audio, BadFrame, Digit, Mark, Started, Stopped
from web.doors.phone.twilio import TwilioStream, is_signed, sign

STREAM = "MZ" + "1" * 32
START = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": ACCOUNT,
        "streamSid": STREAM,
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "t", "colour": "red"},
    },
    "streamSid": STREAM,
}


def started() -> TwilioStream:
    stream = TwilioStream()
    assert stream.parse(json.dumps(START)) == Started("CA1", "t", {"colour": "red"})
    return stream


def message(event: str, **body: Any) -> str:
    return json.dumps({"event": event, "sequenceNumber": "4", "streamSid": STREAM, **body})


def test_what_the_pages_show_is_understood():
    stream = started()
    assert stream.parse('{"event":"connected","protocol":"Call","version":"1.0.0"}') is None
    media = {"track": "inbound", "chunk": "2", "timestamp": "40", "payload": base64.b64encode(b"abc").decode()}
    assert stream.parse(message("media", media=media)) == Audio(b"abc", 2)
    assert stream.parse(message("media", media={**media, "track": "outbound"})) is None
    assert stream.parse(message("dtmf", dtmf={"track": "inbound_track", "digit": "#"})) == Digit("#")
    assert stream.parse(message("mark", mark={"name": "m7"})) == Mark("m7")
    assert stream.parse(message("stop", stop={"accountSid": ACCOUNT, "callSid": "CA1"})) == Stopped()


def test_what_is_sent_is_what_the_pages_show():
    stream = started()
    for text in (stream.audio(b"\xff" * 160), stream.mark("m1"), stream.clear()):
        check_message(json.loads(text), STREAM)


BAD = {
    "no JSON": "hello",
    "deep": "[" * 100_000,
    "a list": "[]",
    "no event": "{}",
    "another event": message("dance"),
    "of another stream": json.dumps({"event": "stop", "streamSid": "MZ2"}),
    "no stream": json.dumps({"event": "stop"}),
    "media that is none": message("media", media=7),
    "media without payload": message("media", media={"chunk": "1"}),
    "no base64": message("media", media={"payload": "???"}),
    "an unknown key": message("dtmf", dtmf={"digit": "X"}),
    "many keys": message("dtmf", dtmf={"digit": "12"}),
    "a mark without a name": message("mark", mark={}),
    "a second start": json.dumps(START),
    "bytes": b"\xff\x00\xfe",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_they_do_not_is_said_to_be_bad(bad):
    with pytest.raises(BadFrame):
        started().parse(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"mediaFormat": {"encoding": "audio/opus", "sampleRate": 8000, "channels": 1}},
        {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}},
        {"accountSid": "AC" + "9" * 32},
        {"customParameters": "token"},
        {"callSid": 7},
        {"streamSid": ""},
    ],
    ids=str,
)
def test_a_stream_that_cannot_be_taken_does_not_start(change):
    stream = TwilioStream(ACCOUNT)
    with pytest.raises(BadFrame):
        stream.parse(json.dumps({**START, "start": {**START["start"], **change}}))
    with pytest.raises(BadFrame):
        stream.parse(message("stop"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop"]), _json, _json)
def test_no_message_does_worse_than_to_be_bad(event, body, leaf):
    for body_of in (body, {"payload": leaf, "digit": leaf, "name": leaf, "chunk": leaf, "mediaFormat": leaf}):
        try:
            started().parse(json.dumps({"event": event, "streamSid": STREAM, event: body_of}))
        except BadFrame:
            pass


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_nor_does_any_other_text(text):
    try:
        TwilioStream().parse(text)
    except BadFrame:
        pass


# Signatures. The first is the example of Twilio's page "Webhooks security".

PAGE_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
PAGE_FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}


def test_the_example_of_the_page():
    assert sign("12345", PAGE_URL, list(PAGE_FORM.items())) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("https://a.example/x", "https://a.example:443/x"),
        ("https://a.example:443/x", "https://a.example/x"),
        ("http://a.example/x", "http://a.example:80/x"),
        ("https://a.example:8443/x", "https://a.example:8443/x"),
    ],
)
def test_the_usual_port_may_be_written_or_not(ours, theirs):
    assert is_signed(signature(theirs, PAGE_FORM), AUTH_TOKEN, ours, list(PAGE_FORM.items()))


@pytest.mark.parametrize("given", [None, "", "é", "AAAA", signature("https://a.example:8443/x", PAGE_FORM)])
def test_any_other_signature_is_wrong(given):
    assert not is_signed(given, AUTH_TOKEN, "https://a.example/x", list(PAGE_FORM.items()))


def test_a_changed_form_is_not_what_was_signed():
    signed = signature("https://a.example/x", PAGE_FORM)
    for form in ({**PAGE_FORM, "To": "+1900"}, {k: v for k, v in PAGE_FORM.items() if k != "To"}, {**PAGE_FORM, "x": ""}):
        assert not is_signed(signed, AUTH_TOKEN, "https://a.example/x", list(form.items())), form
