"""Tokens, cookies and how often one may guess."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.auth import ATTEMPTS, ATTEMPTS_OVERALL, COOKIE_TTL_S, Authenticator, Presented, bearer_of

NOW = 1_800_000_000.0
AUTH = Authenticator("correct horse")


def fresh() -> Authenticator:
    return Authenticator("correct horse")


def test_without_a_token_everybody_is_let_in() -> None:
    auth = Authenticator(None)
    assert not auth.required
    assert auth.check(Presented(), address="a", now=NOW) == "yes"
    assert auth.check_token("anything", address="a", now=NOW) == "yes"


@pytest.mark.parametrize(
    ("presented", "verdict"),
    [
        (Presented(), "no"),
        (Presented(bearer="correct horse"), "yes"),
        (Presented(query="correct horse"), "yes"),
        (Presented(bearer="correct hors"), "wrong"),
        (Presented(query=""), "wrong"),
        (Presented(bearer="wrong", query="correct horse"), "wrong"),
        (Presented(cookie="correct horse"), "no"),
        (Presented(cookie="junk", bearer="correct horse"), "yes"),
    ],
)
def test_what_is_presented(presented: Presented, verdict: str) -> None:
    assert fresh().check(presented, address="a", now=NOW) == verdict


def test_a_cookie_is_good_for_its_time_and_holds_no_token() -> None:
    auth = fresh()
    cookie = auth.make_cookie(NOW)
    assert "horse" not in cookie
    assert auth.make_cookie(NOW) != cookie
    assert auth.check(Presented(cookie=cookie), address="a", now=NOW + COOKIE_TTL_S - 1) == "yes"
    assert auth.check(Presented(cookie=cookie), address="a", now=NOW + COOKIE_TTL_S + 1) == "no"


@pytest.mark.parametrize("set_by", [-3600.0, 3600.0])
def test_a_clock_that_is_set_logs_nobody_out_and_locks_nobody_out(set_by: float) -> None:
    auth = fresh()
    cookie = auth.make_cookie(NOW)
    assert auth.check(Presented(cookie=cookie), address="a", now=NOW + set_by) == "yes"
    for _ in range(ATTEMPTS):
        assert auth.check_token("wrong", address="a", now=NOW) == "wrong"
    wait_s = auth.retry_after_s("a", NOW)
    assert wait_s > 0
    assert auth.retry_after_s("a", NOW + set_by) <= wait_s
    assert auth.check_token("correct horse", address="a", now=NOW + set_by + wait_s) == "yes"


def test_a_cookie_outlives_a_restart_but_not_a_change_of_the_token() -> None:
    cookie = fresh().make_cookie(NOW)
    assert fresh().check(Presented(cookie=cookie), address="a", now=NOW) == "yes"
    assert Authenticator("another").check(Presented(cookie=cookie), address="a", now=NOW) == "no"


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_text_is_a_cookie_by_chance(text: str) -> None:
    assert AUTH.check(Presented(cookie=text), address="a", now=NOW) == "no"


@settings(deadline=None)
@given(position=st.integers(0, 80), character=st.characters(max_codepoint=127))
def test_a_changed_cookie_is_refused(position: int, character: str) -> None:
    cookie = AUTH.make_cookie(NOW)
    position %= len(cookie)
    changed = cookie[:position] + character + cookie[position + 1 :]
    assert (AUTH.check(Presented(cookie=changed), address="a", now=NOW) == "yes") is (changed == cookie)


def test_guessing_is_slowed_even_for_the_right_token() -> None:
    auth = fresh()
    cookie = auth.make_cookie(NOW)
    verdicts = [auth.check(Presented(bearer=f"guess {i}"), address="a", now=NOW) for i in range(ATTEMPTS + 3)]
    assert verdicts == ["wrong"] * ATTEMPTS + ["slow down"] * 3
    assert auth.check_token("correct horse", address="a", now=NOW) == "slow down"
    assert auth.check_token("correct horse", address="b", now=NOW) == "yes"
    assert auth.check(Presented(cookie=cookie), address="a", now=NOW) == "yes"
    later = NOW + auth.retry_after_s("a", NOW)
    assert later > NOW
    assert auth.check_token("correct horse", address="a", now=later + 0.01) == "yes"


def test_guessing_from_many_addresses_is_slowed_too() -> None:
    auth = fresh()
    verdicts = [auth.check_token("guess", address=f"10.0.{i // 256}.{i % 256}", now=NOW) for i in range(ATTEMPTS_OVERALL + 5)]
    assert verdicts.count("wrong") == ATTEMPTS_OVERALL
    assert verdicts[-1] == "slow down"


def test_right_tokens_are_never_slowed() -> None:
    auth = fresh()
    assert {auth.check_token("correct horse", address="a", now=NOW) for _ in range(1000)} == {"yes"}


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearer abc", "abc"),
        ("bearer  a b ", "a b"),
    ],
)
def test_the_authorization_header(header: str | None, token: str | None) -> None:
    assert bearer_of(header) == token
