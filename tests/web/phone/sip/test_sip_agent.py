"""Calls as state machines: every packet may be lost, come twice or late, and time goes where the test puts it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.phone.sip.wire import HERE, OFFER, THERE, Side, request, tokens
from web.doors.phone.sip.agent import MAX_DIALOGS, UserAgent
from web.doors.phone.sip.dialog import GIVEN_UP, HUNG_UP, NO_ACK, Changed, Ended, Established, Offered, Pressed
from web.doors.phone.sip.message import BadMessage, Request, parse
from web.doors.phone.sip.sdp import Media
from web.doors.phone.sip.transactions import LIFETIME_S, MAX_TRANSACTIONS

RTP = ("192.0.2.20", 16_384)
OK = "SIP/2.0 200 OK"


def test_a_call_from_the_invite_to_the_bye():
    side = Side()
    assert side.receive(request("INVITE", branch="i1", body=OFFER)) == ["SIP/2.0 100 Trying"]
    assert side.told == [Offered("t0001", "anna", "100")]
    assert side.take(side.agent.accept("t0001", RTP, side.now)) == [OK]
    answer = side.last()
    assert answer.headers.get("To") == "<sip:100@192.0.2.20>;tag=t0001"
    assert b"m=audio 16384 RTP/AVP 0 101\r\n" in answer.body
    assert side.receive(request("ACK", branch="a1", to_tag="t0001")) == []
    assert side.told[1:] == [Established("t0001", Media("192.0.2.10", 4000, 0, 101))]
    assert side.pass_time(60) == [], "a call that stands says nothing"
    assert side.receive(request("BYE", branch="b1", to_tag="t0001", cseq=2)) == [OK]
    assert side.told[2:] == [Ended("t0001", HUNG_UP)]
    assert side.agent.dialogs == 0
    side.pass_time(LIFETIME_S + 1, step=1.0)
    assert side.agent.transactions == 0


@pytest.mark.parametrize(("user", "dialled"), [("4930123", "4930123"), ("parley", "100"), ("tutor", "100")])
def test_the_number_dialled_is_not_the_account(user, dialled):
    side = Side(UserAgent(tokens(), account="tutor"))
    side.receive(request("INVITE", branch="i1", body=OFFER, uri=f"sip:{user}@192.0.2.20:5060"))
    assert side.told == [Offered("t0001", "anna", dialled)]


def test_this_side_hangs_up_and_says_so_until_it_is_heard():
    side = Side()
    key = side.answered()
    assert side.take(side.agent.hang_up(key, side.now)) == ["BYE sip:anna@192.0.2.10:5062 SIP/2.0"]
    bye = parse(side.sent[-1].data)
    assert isinstance(bye, Request)
    assert bye.headers.get("From").endswith(f";tag={key}")
    assert bye.headers.get("To").endswith(";tag=f1")
    assert side.take(side.agent.hang_up(key, side.now)) == [], "once"
    again = side.pass_time(LIFETIME_S + 1)
    # Timer E of RFC 3261: T1, doubled up to T2.
    assert [at for at, _ in again][:6] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert side.agent.dialogs == 0, "and then it is over all the same"


def test_an_answer_to_the_bye_ends_the_resending():
    side = Side()
    key = side.answered()
    side.take(side.agent.hang_up(key, side.now))
    bye = parse(side.sent[-1].data)
    assert isinstance(bye, Request)
    names = ("Via", "From", "To", "Call-ID", "CSeq")
    lines = [f"{name}: {bye.headers.get(name)}" for name in names]
    assert side.receive("\r\n".join(["SIP/2.0 481 Gone", *lines, "", ""]).encode()) == []
    assert side.agent.dialogs == 0
    assert side.pass_time(40) == []


def test_an_answer_is_sent_again_until_the_ack_comes_and_without_it_the_call_ends():
    side = Side()
    key = side.answered(ack=False)
    sent = side.pass_time(LIFETIME_S - 1)
    assert [at for at, _ in sent] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5]
    assert {line for _, line in sent} == {OK}
    assert [line.split(" ")[0] for _, line in side.pass_time(1.1)] == ["SIP/2.0", "BYE"]
    assert side.told[-1] == Ended(key, NO_ACK)
    assert not any(isinstance(told, Established) for told in side.told), "no sound to whoever has not shown that it hears"


def test_an_ack_that_comes_twice_or_late_is_one():
    side = Side()
    key = side.answered(ack=False)
    side.pass_time(5)
    for branch in ("a1", "a1", "a2"):
        side.receive(request("ACK", branch=branch, to_tag=key))
    assert len([told for told in side.told if isinstance(told, Established)]) == 1
    assert side.pass_time(40) == []


def test_an_ack_to_an_earlier_invite_is_none():
    side = Side()
    key = side.answered()
    side.receive(request("INVITE", branch="i2", to_tag=key, cseq=2, body=OFFER))
    side.receive(request("ACK", branch="a1", to_tag=key, cseq=1))
    assert [line for _, line in side.pass_time(0.6)] == [OK], "the second answer is still to be confirmed"
    side.receive(request("ACK", branch="a2", to_tag=key, cseq=2))
    assert side.pass_time(40) == []


def test_who_hangs_up_before_the_ack_says_so_behind_it():
    side = Side()
    key = side.answered(ack=False)
    assert side.take(side.agent.hang_up(key, side.now)) == []
    assert side.receive(request("ACK", branch="a1", to_tag=key)) == ["BYE sip:anna@192.0.2.10:5062 SIP/2.0"]


def test_an_invite_that_comes_again_is_the_same_call():
    side = Side()
    invite = request("INVITE", branch="i1", body=OFFER)
    assert [side.receive(invite) for _ in range(3)] == [["SIP/2.0 100 Trying"]] * 3
    side.take(side.agent.accept("t0001", RTP, side.now))
    assert side.receive(invite) == [OK]
    assert len([told for told in side.told if isinstance(told, Offered)]) == 1
    # By another way through a forking proxy it is the same call, too (section 8.2.2.2).
    assert side.receive(request("INVITE", branch="i2", body=OFFER)) == ["SIP/2.0 482 Loop Detected"]


def test_a_caller_who_gives_up():
    side = Side()
    side.receive(request("INVITE", branch="i1", body=OFFER))
    assert side.receive(request("CANCEL", branch="i1")) == [OK, "SIP/2.0 487 Request Terminated"]
    assert side.told[1:] == [Ended("t0001", GIVEN_UP)]
    # Timer G: until the ACK comes.
    assert [at for at, _ in side.pass_time(4)] == [0.5, 1.5, 3.5]
    assert side.receive(request("ACK", branch="i1", to_tag="t0001")) == []
    assert side.pass_time(40) == []
    assert side.take(side.agent.accept("t0001", RTP, side.now)) == [], "nobody is there any more"
    assert side.agent.dialogs == 0


def test_a_cancel_that_comes_too_late_changes_nothing():
    side = Side()
    key = side.answered()
    assert side.receive(request("CANCEL", branch="i1")) == [OK]
    assert not any(isinstance(told, Ended) for told in side.told)
    assert side.receive(request("BYE", branch="b1", to_tag=key, cseq=2)) == [OK]
    assert side.receive(request("CANCEL", branch="nobody")) == ["SIP/2.0 481 Call/Transaction Does Not Exist"]


def test_a_busy_side_says_so():
    side = Side()
    side.receive(request("INVITE", branch="i1", body=OFFER))
    assert side.take(side.agent.refuse("t0001", 486, side.now, retry_after_s=30.0)) == ["SIP/2.0 486 Busy Here"]
    assert side.last().headers.get("Retry-After") == "30"
    assert side.receive(request("ACK", branch="i1", to_tag="t0001")) == []
    assert side.pass_time(40) == []


@pytest.mark.parametrize(
    ("body", "extra", "status"),
    [
        (OFFER.replace("0 8 101", "9 18"), "", 488),
        (OFFER.replace("RTP/AVP", "RTP/SAVP"), "", 488),
        ("x", "", 400),
        (OFFER, "Content-Type: text/plain\r\n", 415),
        (OFFER, "Content-Encoding: gzip\r\n", 415),
        (OFFER, "Require: 100rel\r\n", 420),
        (OFFER, "Record-Route: <nonsense>\r\n", 400),
    ],
)
def test_what_cannot_be_taken_is_refused(body, extra, status):
    side = Side()
    assert side.receive(request("INVITE", branch="i1", body=body, extra=extra))[0].startswith(f"SIP/2.0 {status} ")
    assert side.told == []
    assert side.agent.dialogs == 0


@pytest.mark.parametrize(
    ("method", "status"),
    [("OPTIONS", 200), ("REGISTER", 405), ("REFER", 405), ("SUBSCRIBE", 405), ("DANCE", 501), ("BYE", 481), ("INFO", 481)],
)
def test_requests_outside_of_calls(method, status):
    side = Side()
    assert side.receive(request(method, branch="o1"))[0].startswith(f"SIP/2.0 {status} ")
    if status != 481:
        assert side.last().headers.get("Allow").startswith("INVITE, ACK, CANCEL, BYE")


def test_hold_and_back():
    side = Side()
    key = side.answered()
    hold = OFFER + "a=sendonly\r\n"
    assert side.receive(request("INVITE", branch="i2", to_tag=key, cseq=2, body=hold)) == [OK]
    assert b"a=recvonly\r\n" in side.last().body
    assert b"o=parley 1949315120 2 " in side.last().body, "the same description, one version later"
    assert side.told[2:] == [], "nothing changes before the ACK"
    side.receive(request("ACK", branch="a2", to_tag=key, cseq=2))
    assert side.told[2:] == [Changed(key, Media("192.0.2.10", 4000, 0, 101, "recvonly"))]
    moved = OFFER.replace("m=audio 4000", "m=audio 4002").replace("0 8 101", "8 101")
    assert side.receive(request("INVITE", branch="i3", to_tag=key, cseq=3, body=moved)) == [OK]
    side.receive(request("ACK", branch="a3", to_tag=key, cseq=3))
    assert side.told[3:] == [Changed(key, Media("192.0.2.10", 4002, 8, 101))]


def test_a_change_that_cannot_be_leaves_the_call_as_it_is():
    side = Side()
    key = side.answered()
    video = OFFER.replace("0 8 101", "9")
    assert side.receive(request("INVITE", branch="i2", to_tag=key, cseq=2, body=video)) == ["SIP/2.0 488 Not Acceptable Here"]
    assert side.receive(request("ACK", branch="i2", to_tag=key, cseq=2)) == []
    assert side.receive(request("BYE", branch="b", to_tag=key, cseq=3)) == [OK]


def test_requests_of_yesterday_and_of_others_are_refused():
    side = Side()
    key = side.answered()
    assert side.receive(request("INFO", branch="n1", to_tag=key, cseq=1)) == ["SIP/2.0 500 Server Internal Error"]
    for other in ({"to_tag": "t9999"}, {"from_tag": "f2", "to_tag": key}, {"call_id": "c2", "to_tag": key}):
        assert side.receive(request("BYE", branch=f"x{other}", cseq=5, **other)) == [
            "SIP/2.0 481 Call/Transaction Does Not Exist"
        ]
    assert side.agent.dialogs == 1


def test_a_call_without_an_offer_gets_one():
    side = Side()
    side.receive(request("INVITE", branch="i1"))
    side.take(side.agent.accept("t0001", RTP, side.now))
    assert b"m=audio 16384 RTP/AVP 0 8 101\r\n" in side.last().body
    side.receive(request("ACK", branch="a1", to_tag="t0001", body=OFFER.replace("0 8 101", "8 101")))
    assert side.told[1:] == [Established("t0001", Media("192.0.2.10", 4000, 8, 101))]


def test_a_call_without_an_offer_that_takes_none_of_ours_ends():
    side = Side()
    side.receive(request("INVITE", branch="i1"))
    side.take(side.agent.accept("t0001", RTP, side.now))
    assert side.receive(request("ACK", branch="a1", to_tag="t0001"))[0].startswith("BYE ")
    assert isinstance(side.told[-1], Ended)


@pytest.mark.parametrize(
    ("kind", "body", "key"),
    [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay", "Signal= #\r\n", "#"),
        ("application/dtmf", "1", "1"),
        ("application/dtmf", "flash", None),
        ("text/plain", "Signal=5", None),
    ],
)
def test_keys_by_message(kind, body, key):
    side = Side()
    name = side.answered()
    sent = request("INFO", branch="n1", to_tag=name, cseq=2, body=body, extra=f"Content-Type: {kind}\r\n")
    assert side.receive(sent) == [OK]
    side.receive(sent)
    assert [told for told in side.told if isinstance(told, Pressed)] == ([Pressed(name, key)] if key else [])


def test_requests_of_ours_go_through_the_proxies_of_the_call():
    side = Side()
    routes = "Record-Route: <sip:p2.example.org;lr>\r\nRecord-Route: <sip:p1.example.org;lr>\r\n"
    key = side.answered(extra=routes)
    assert side.sent[1].data.count(b"Record-Route: ") == 2
    side.take(side.agent.hang_up(key, side.now))
    bye = parse(side.sent[-1].data)
    assert isinstance(bye, Request)
    assert bye.uri == "sip:anna@192.0.2.10:5062"
    assert bye.headers.lines("Route") == ["<sip:p2.example.org;lr>", "<sip:p1.example.org;lr>"]
    assert side.sent[-1].to == THERE, "to where the ACK came from, whatever the headers say"


def test_requests_of_ours_follow_a_caller_whose_way_is_another_behind_the_first_request():
    side, elsewhere = Side(), ("192.0.2.11", 5070)
    key = side.answered(ack=False)
    side.receive(request("ACK", branch="a1", to_tag=key), elsewhere)
    side.take(side.agent.hang_up(key, side.now))
    assert side.sent[-1].to == elsewhere


def test_nobody_else_can_give_up_a_call():
    side = Side()
    side.receive(request("INVITE", branch="i1", body=OFFER))
    assert side.receive(request("CANCEL", branch="i1"), ("192.0.2.66", 5060)) == ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    assert side.take(side.agent.accept("t0001", RTP, side.now)) == [OK]


def test_a_router_of_the_old_kind_is_addressed_itself():
    side = Side()
    key = side.answered(extra="Record-Route: <sip:old.example.org>\r\n")
    side.take(side.agent.hang_up(key, side.now))
    bye = parse(side.sent[-1].data)
    assert isinstance(bye, Request)
    assert (bye.uri, bye.headers.lines("Route")) == ("sip:old.example.org", ["<sip:anna@192.0.2.10:5062>"])


def test_a_side_that_is_closing_takes_no_calls_and_ends_those_it_has():
    side = Side()
    key = side.answered()
    side.agent.closed = True
    assert side.receive(request("INVITE", branch="i2", call_id="c2", body=OFFER)) == ["SIP/2.0 503 Service Unavailable"]
    assert side.receive(request("BYE", branch="b1", to_tag=key, cseq=2)) == [OK]


def test_memory_is_bounded_in_a_flood():
    side = Side()
    for i in range(MAX_TRANSACTIONS + 500):
        side.receive(request("INVITE", branch=f"i{i}", call_id=f"c{i}", body=OFFER))
    assert side.agent.transactions == MAX_TRANSACTIONS
    assert side.agent.dialogs == MAX_DIALOGS
    assert side.last().status == 503


# Anything may come at any time

steps = st.one_of(
    st.tuples(
        st.sampled_from(["INVITE", "ACK", "BYE", "CANCEL", "INFO", "OPTIONS"]),
        st.integers(1, 3),  # branch
        st.integers(1, 4),  # CSeq
        st.booleans(),  # within the call
        st.sampled_from(["", OFFER, OFFER + "a=sendonly\r\n", OFFER.replace("0 8", "9"), "x"]),
    ),
    st.sampled_from(["accept", "refuse", "hang up", "close"]),
    st.floats(0.1, 40),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=30))
def test_whatever_comes_each_call_ends_once_and_nothing_is_left(sequence):
    side = Side()
    for step in sequence:
        key = next((told.key for told in side.told if isinstance(told, Offered)), "t0001")
        match step:
            case (str() as method, branch, cseq, within, body):
                data = request(method, branch=f"b{branch}", cseq=cseq, to_tag=key if within else "", body=body)
                try:
                    side.receive(data)
                except BadMessage:
                    pass
            case "accept":
                side.take(side.agent.accept(key, RTP, side.now))
            case "refuse":
                side.take(side.agent.refuse(key, 486, side.now))
            case "hang up":
                side.take(side.agent.hang_up(key, side.now))
            case "close":
                side.agent.closed = True
            case float() as seconds:
                side.pass_time(seconds, step=1.0)
    offered = [told.key for told in side.told if isinstance(told, Offered)]
    for kind in (Established, Ended):
        keys = [told.key for told in side.told if isinstance(told, kind)]
        assert len(keys) == len(set(keys)), "once"
        assert set(keys) <= set(offered)
    for key in offered:
        side.take(side.agent.hang_up(key, side.now))
    side.pass_time(2 * LIFETIME_S + 2, step=1.0)
    assert side.agent.dialogs == 0
    assert side.agent.transactions == 0
    assert all(send.to == THERE for send in side.sent)


@settings(max_examples=300)
@given(st.data())
def test_no_message_breaks_it(data):
    side = Side()
    side.answered()
    method = data.draw(st.sampled_from(["INVITE", "ACK", "BYE", "CANCEL", "INFO", "OPTIONS", "SIP/2.0 200"]))
    lines = request(method, branch="i2", to_tag="t0001", cseq=2, body=OFFER).split(b"\r\n")
    left_out = data.draw(st.sets(st.integers(1, 8), max_size=2))
    broken = bytearray(b"\r\n".join(line for i, line in enumerate(lines) if i not in left_out))
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        side.take(side.agent.receive(parse(bytes(broken)), THERE, HERE, side.now))
    except BadMessage:
        pass
    side.pass_time(1)
