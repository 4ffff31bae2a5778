"""SIP messages: read as RFC 3261 has them, written as they were read, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.phone.sip.wire import OFFER, request
from web.doors.phone.sip import answering
from web.doors.phone.sip.message import (
    MAX_BYTES,
    MAX_HEADERS,
    BadMessage,
    Headers,
    Request,
    Response,
    encode,
    host_and_port,
    parse,
    parse_address,
    parse_uri,
    parse_via,
    split,
    with_received,
)

FOLDED = (
    b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
    b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
    b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
    b"MaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : 0\r\ncseq: 0009\r\n  INVITE\r\n"
    b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\n"
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n\r\n'
)
"""After the torture test "A short tortuous INVITE" (RFC 4475, section 3.1.1.1): every liberty that the grammar takes."""

words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
names = st.from_regex(r"X-[A-Za-z0-9-]{1,20}", fullmatch=True)


def test_folded_lines_short_names_and_blanks_are_read():
    message = parse(FOLDED)
    assert isinstance(message, Request)
    assert message.cseq == (9, "INVITE")
    assert answering.tag_of(message.headers.get("To")) == "1918181833n"
    assert answering.tag_of(message.headers.get("From")) == "98asjd8"
    vias = [parse_via(v) for v in message.headers.each("Via")]
    assert [(v.transport, v.host, v.branch) for v in vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert parse_address(message.headers.get("Contact")).uri == "sip:jdrosen@example.com"
    assert parse_address(message.headers.get("Contact")).parameters["q"] == "0.33"


@given(st.lists(st.tuples(names, words), max_size=20), st.binary(max_size=500))
def test_what_is_written_is_read_again(items, body):
    headers = Headers([(name, value.strip()) for name, value in items])
    for message in (Request("OPTIONS", "sip:a@b", headers, body), Response(200, "OK", headers, body)):
        again = parse(encode(message))
        assert type(again) is type(message)
        assert again.body == body
        assert [h for h in again.headers if h[0] != "Content-Length"] == headers.items


@given(st.binary(max_size=60))
def test_bytes_of_no_known_encoding_are_echoed_as_they_came(name):
    name = name.translate(None, bytes([*range(32), 127, *b'"\\<>,;']))
    data = request("INVITE", branch="b", body=OFFER).replace(b"<sip:anna@", b'"' + name + b'" <sip:anna@', 1)
    reply = encode(answering.respond(parse(data), 486, ("192.0.2.10", 5062), tag="x"))
    assert b'From: "' + name + b'" <sip:anna@192.0.2.10>;tag=f1\r\n' in reply


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x",
        b"INVITE sip:a@b SIP/3.0\r\n\r\n",
        b"INVITE  sip:a@b SIP/2.0\r\n\r\n",
        b"INV\x00TE sip:a@b SIP/2.0\r\n\r\n",
        b"SIP/2.0 999 X\r\n\r\n",
        b"SIP/2.0 2\xc2\xb20 X\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nno colon\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nA: \x01\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nA: b\rc\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 5\r\n\r\nabc",
        b"INVITE sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\nabc",
        b"INVITE sip:a@b SIP/2.0\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nA: " + b"b" * 5_000 + b"\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nA: b\r\n" + b" c\r\n" * 3_000 + b"\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n\r\n" + b"x" * MAX_BYTES,
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(BadMessage):
        parse(data)


def test_a_header_cannot_be_smuggled_in():
    with pytest.raises(ValueError, match="line break"):
        encode(Response(200, "OK", Headers([("To", "a\r\nVia: b")])))


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_a_request_needs_its_headers(name):
    lines = request("OPTIONS", branch="b").decode().split("\r\n")
    cut = "\r\n".join(line for line in lines if not line.startswith(name + ":")).encode()
    message = parse(cut)
    assert isinstance(message, Request)
    with pytest.raises(BadMessage):
        answering.check(message)


def test_an_answer_goes_back_to_where_the_request_came_from():
    message = parse(request("OPTIONS", branch="b", via="10.0.0.1:9999"))
    assert isinstance(message, Request)
    assert answering.target(message, ("192.0.2.7", 1234)) == ("192.0.2.7", 1234)
    plain = parse(request("OPTIONS", branch="b", via="10.0.0.1:9999").replace(b";rport", b""))
    assert isinstance(plain, Request)
    # Without rport the port is the one that it names, and the machine never another.
    assert answering.target(plain, ("192.0.2.7", 1234)) == ("192.0.2.7", 9999)
    assert with_received("SIP/2.0/UDP 10.0.0.1:9999;rport;branch=b", "192.0.2.7", 1234) == (
        "SIP/2.0/UDP 10.0.0.1:9999;branch=b;rport=1234;received=192.0.2.7"
    )


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:100@example.org", "100", "example.org", None),
        ("sip:+15550100;phone-context=x@example.org:5070;lr", "+15550100", "example.org", 5070),
        ("sip:a:secret@[2001:db8::1]:5060;transport=udp", "a", "2001:db8::1", 5060),
        ("SIPS:example.org", "", "example.org", None),
        ("tel:+15550100;x=y", "+15550100", "", None),
        ("sip:j%40s0n@example.com?Subject=a", "j%40s0n", "example.com", None),
    ],
)
def test_addresses(text, user, host, port):
    uri = parse_uri(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize("text", ["", "sip:", "http://a", "sip:a@b:0", "sip:a@b:70000", "sip:a@b c", "tel:"])
def test_what_is_no_address(text):
    with pytest.raises(BadMessage):
        parse_uri(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_readers_of_headers(text):
    assert all(isinstance(part, str) for part in split(text, ","))
    for reader in (parse_uri, parse_address, parse_via, host_and_port, answering.tag_of):
        try:
            reader(text)
        except BadMessage:
            pass


@given(st.binary(max_size=400))
def test_no_datagram_breaks_the_parser(data):
    try:
        parse(data)
    except BadMessage:
        pass


@given(st.data())
def test_no_change_of_a_real_message_breaks_anything(data):
    broken = bytearray(request("INVITE", branch="b", body=OFFER))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(broken) - 1))
        match data.draw(st.sampled_from(["change", "cut", "repeat"])):
            case "change":
                broken[at] = data.draw(st.integers(0, 255))
            case "cut":
                del broken[at : at + data.draw(st.integers(1, 40))]
                broken = broken or bytearray(b"x")
            case "repeat":
                broken[at:at] = broken[at : at + 40]
    reply = answering.forbid(bytes(broken), ("192.0.2.10", 5062))
    assert reply is None or reply.startswith(b"SIP/2.0 403 Forbidden\r\n")


def test_strangers_are_told_once_and_never_about_an_ack_or_an_answer():
    reply = answering.forbid(request("INVITE", branch="b", body=OFFER), ("192.0.2.66", 5060))
    assert reply is not None
    assert reply.startswith(b"SIP/2.0 403 ")
    assert answering.forbid(request("ACK", branch="b"), ("192.0.2.66", 5060)) is None
    assert answering.forbid(reply, ("192.0.2.66", 5060)) is None


def test_commas_and_brackets_in_quotes_are_text():
    assert split('"a<b, c" <sip:x@y;q=1,2>, <sip:z@y>', ",") == ['"a<b, c" <sip:x@y;q=1,2>', "<sip:z@y>"]
    assert parse_address('"a<b\\", c" <sip:x@y>;tag=1').uri == "sip:x@y"
