"""The account at a registrar: passwords, times, and what is done when it does not work. The registrar is the test."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.phone.sip.wire import HERE, tokens
from web.doors.phone.sip.message import BadMessage, Request, Response, parse
from web.doors.phone.sip.registration import FIRST_WAIT_S, LONGEST_WAIT_S, Account, Registration
from web.doors.phone.sip.transactions import LIFETIME_S

ACCOUNT = Account("sip.example.org", "100", "anna", "secret", 300)
CHALLENGE = 'WWW-Authenticate: Digest realm="r", nonce="{}", qop="auth", algorithm=MD5'
CONTACT = "Contact: <sip:100@192.0.2.20:5060>;expires={}"


@dataclass
class Asking:
    """A registration, and the requests that it has sent."""

    account: Account = ACCOUNT
    now: float = 100.0
    sent: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registration = Registration(self.account, tokens())

    def take(self, datagrams: list[bytes]) -> int:
        for data in datagrams:
            message = parse(data)
            assert isinstance(message, Request)
            self.sent.append(message)
        return len(datagrams)

    def begin(self) -> None:
        self.take(self.registration.begin(HERE, self.now))

    def answer(self, status: int, *extra: str, to: int = -1) -> int:
        """The registrar answers the request number ``to``. How many requests that brings."""
        request = self.sent[to]
        lines = [f"{n}: {request.headers.get(n)}" for n in ("Via", "From", "To", "Call-ID", "CSeq")]
        response = parse("\r\n".join([f"SIP/2.0 {status} X", *lines, *extra, "", ""]).encode())
        assert isinstance(response, Response)
        return self.take(self.registration.receive(response, self.now))

    def pass_time(self, seconds: float) -> list[float]:
        """When requests are sent meanwhile."""
        start, at = self.now, []
        for i in range(1, round(seconds * 10) + 1):
            self.now = start + i / 10
            at += [round(self.now - start, 1)] * self.take(self.registration.tick(self.now))
        return at

    def until_asked(self) -> float:
        """How long it takes until the next request."""
        start = self.now
        while not self.pass_time(0.1):
            assert self.now - start < 2 * LONGEST_WAIT_S
        return round(self.now - start, 1)


@pytest.fixture
def account() -> Asking:
    made = Asking()
    made.begin()
    return made


def test_the_first_request_says_who_and_where(account):
    request = account.sent[0]
    assert (request.method, request.uri) == ("REGISTER", "sip:sip.example.org")
    assert request.headers.get("To") == "<sip:100@sip.example.org>"
    assert request.headers.get("Contact") == "<sip:100@192.0.2.20:5060>"
    assert request.headers.get("Expires") == "300"
    assert "Authorization" not in dict(request.headers)


def test_a_password_is_shown_when_it_is_asked_for_and_counted(account):
    assert account.answer(401, CHALLENGE.format("n1")) == 1
    assert account.registration.state == "trying"
    proof = account.sent[-1].headers.get("Authorization")
    assert 'username="anna"' in proof
    assert "nc=00000001" in proof
    assert account.sent[-1].cseq[0] == account.sent[0].cseq[0] + 1
    assert account.sent[-1].headers.get("Call-ID") == account.sent[0].headers.get("Call-ID")
    assert account.answer(200, CONTACT.format(300)) == 0
    assert account.registration.state == "registered"
    # The nonce is used again, and counted on.
    assert account.pass_time(240.2) == [240.0]
    assert "nc=00000002" in account.sent[-1].headers.get("Authorization")


def test_a_proxy_s_challenge_is_answered_as_one(account):
    account.answer(407, CHALLENGE.format("n1").replace("WWW-Authenticate", "Proxy-Authenticate"))
    assert account.sent[-1].headers.get("Proxy-Authorization")
    assert not account.sent[-1].headers.get("Authorization")


def test_an_old_nonce_is_replaced_without_a_pause(account):
    account.answer(401, CHALLENGE.format("n1"))
    account.answer(200, CONTACT.format(300))
    account.pass_time(240)
    assert account.answer(401, CHALLENGE.format("n2") + ", stale=true") == 1
    assert 'nonce="n2"' in account.sent[-1].headers.get("Authorization")
    assert "nc=00000001" in account.sent[-1].headers.get("Authorization")
    account.answer(200, CONTACT.format(300))
    assert account.registration.state == "registered"


@pytest.mark.parametrize("nonce", ["n1", "n2"])
def test_a_wrong_password_is_not_tried_again_and_again(account, nonce):
    account.answer(401, CHALLENGE.format("n1"))
    assert account.answer(401, CHALLENGE.format(nonce)) == 0
    assert account.registration.state == "waiting"
    assert "password" in account.registration.problem
    assert account.pass_time(59) == []
    assert account.pass_time(1.2) == [1.0]


def test_a_registrar_that_always_calls_the_nonce_old_is_left_alone(account):
    answers = 0
    while account.answer(401, CHALLENGE.format(f"n{answers}") + ", stale=true"):
        answers += 1
    assert answers < 5
    assert account.registration.state == "waiting"


def test_too_brief_a_time_is_made_longer(account):
    assert account.answer(423, "Min-Expires: 1800") == 1
    assert account.sent[-1].headers.get("Expires") == "1800"
    account.answer(200, CONTACT.format(1800))
    assert account.pass_time(1_439) == []
    assert account.pass_time(1.2) == [1.0]


def test_a_longer_time_and_then_a_password(account):
    assert account.answer(423, "Min-Expires: 600") == 1
    assert account.answer(401, CHALLENGE.format("n1")) == 1
    account.answer(200, CONTACT.format(600))
    assert account.registration.state == "registered"


@pytest.mark.parametrize("least", ["", "Min-Expires: 60", "Min-Expires: x", "Min-Expires: 99999999999"])
def test_a_423_that_makes_no_sense_is_a_failure(account, least):
    assert account.answer(423, *([least] if least else [])) == 0
    assert account.registration.state == "waiting"


@pytest.mark.parametrize(
    ("headers", "renewed_at"),
    [
        ([CONTACT.format(100)], 65.0),
        (["Contact: <sip:other@192.0.2.9>;expires=20, <sip:100@192.0.2.20:5060>;expires=1000"], 800.0),
        (["Contact: <sip:100@10.0.0.2:5060>;expires=20", "Expires: 200"], 160.0),
        ([], 240.0),
        ([CONTACT.format(10)], 10.0),
    ],
)
def test_it_is_renewed_before_it_ends(account, headers, renewed_at):
    account.answer(200, *headers)
    assert account.pass_time(renewed_at + 0.3) == [renewed_at]


def test_without_an_answer_it_is_sent_again_and_then_later_and_later(account):
    assert account.pass_time(LIFETIME_S)[:6] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert account.registration.state == "waiting"
    assert account.pass_time(FIRST_WAIT_S + 0.2) == [FIRST_WAIT_S]
    waits = []
    for _ in range(10):
        account.answer(500)
        waits.append(account.until_asked())
    assert waits[:4] == pytest.approx([10.0, 20.0, 40.0, 80.0], abs=0.11)
    assert waits[-3:] == pytest.approx([LONGEST_WAIT_S] * 3, abs=0.11)
    account.answer(200, CONTACT.format(300))
    assert account.registration.state == "registered"
    account.pass_time(241)
    account.answer(503)
    assert account.pass_time(FIRST_WAIT_S + 0.2) == [FIRST_WAIT_S], "after a success it begins with the short wait again"


def test_a_registrar_s_own_wish_is_heeded(account):
    account.answer(503, "Retry-After: 120")
    assert account.pass_time(119) == []
    assert account.pass_time(1.2) == [1.0]


def test_it_signs_off(account):
    account.answer(401, CHALLENGE.format("n1"))
    account.answer(200, CONTACT.format(300))
    account.take(account.registration.end(account.now))
    assert account.sent[-1].headers.get("Expires") == "0"
    assert "nc=00000002" in account.sent[-1].headers.get("Authorization")
    assert not account.registration.ended
    account.answer(401, CHALLENGE.format("n2") + ", stale=true")
    account.answer(200)
    assert account.registration.ended
    assert account.pass_time(700) == []


def test_nobody_is_told_goodbye_who_does_not_know_it():
    account = Asking()
    assert account.registration.end(account.now) == []
    assert account.registration.ended


def test_answers_to_earlier_requests_and_forged_ones_say_nothing(account):
    account.answer(401, CHALLENGE.format("n1"))
    assert account.answer(200, CONTACT.format(300), to=0) == 0
    assert account.registration.state == "trying"
    via = account.sent[-1].headers.items[0]
    account.sent[-1].headers.items[0] = ("Via", via[1].replace("branch=z9hG4bK", "branch=z9hG4bKguessed"))
    assert account.answer(200, CONTACT.format(300)) == 0
    assert account.registration.state == "trying"
    account.sent[-1].headers.items[0] = via
    account.answer(200, CONTACT.format(300))
    assert account.registration.state == "registered"


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from([100, 200, 302, 401, 403, 407, 423, 500, 503]),
                st.lists(
                    st.sampled_from(
                        [
                            CHALLENGE.format("n1"),
                            CHALLENGE.format("n2") + ", stale=true",
                            "WWW-Authenticate: Basic",
                            "Min-Expires: 600",
                            "Expires: 0",
                            "Contact: x y z",
                            "Retry-After: 5;duration=2",
                            CONTACT.format(60),
                        ]
                    ),
                    max_size=3,
                ),
            ),
            st.floats(0.1, 100),
        ),
        max_size=20,
    )
)
def test_whatever_a_registrar_says_it_is_asked_seldom_and_for_ever(steps):
    account = Asking()
    account.begin()
    start = account.now
    for step in steps:
        if isinstance(step, float):
            account.pass_time(step)
        else:
            try:
                account.answer(step[0], *step[1])
            except BadMessage:
                pass
    # Each answer brings one request at most, besides what is sent again in time.
    assert len(account.sent) <= 2 + len(steps) + (account.now - start) / 0.5
    assert len(account.pass_time(LONGEST_WAIT_S + LIFETIME_S)) > 0
    assert all(re.fullmatch(r"\d+", request.headers.get("Expires")) for request in account.sent)
