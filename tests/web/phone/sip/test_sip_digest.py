"""Passwords: the examples of the documents, and what cannot be answered."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.doors.phone.sip.digest import Challenge, answer, parse_challenge, strongest


def response_of(value: str) -> str:
    found = re.search(r'response="([0-9a-f]+)"', value)
    assert found is not None
    return found[1]


def test_the_example_of_rfc_2617():
    challenge = parse_challenge(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    assert challenge is not None
    value = answer(
        challenge, user="Mufasa", password="Circle Of Life", method="GET", uri="/dir/index.html", client_nonce="0a4f113b"
    )
    assert response_of(value) == "6629fae49393a05397450978507c4ef1"
    assert "nc=00000001" in value
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in value


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm, expected):
    challenge = Challenge("http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", algorithm, True, "x")
    value = answer(
        challenge,
        user="Mufasa",
        password="Circle of Life",
        method="GET",
        uri="/dir/index.html",
        client_nonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert response_of(value) == expected


def test_the_old_form_has_neither_count_nor_nonce_of_its_own():
    challenge = parse_challenge('Digest realm="r", nonce="n"')
    assert challenge == Challenge("r", "n", "MD5", False)
    value = answer(challenge, user="u", password="p", method="REGISTER", uri="sip:r")
    assert "nc=" not in value
    assert "qop" not in value


def test_the_best_of_several_is_answered():
    values = [f'Digest realm="r", nonce="n", algorithm={a}, qop="auth"' for a in ("MD5", "SHA-512", "SHA-256")]
    best = strongest(values)
    assert best is not None
    assert best.algorithm == "SHA-256"


@pytest.mark.parametrize(
    "value",
    [
        "Basic realm=x",
        'Digest realm="r"',
        'Digest realm="r", nonce="n", algorithm=SHA-512',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce="n", algorithm=MD5-sess',
        "",
    ],
)
def test_what_cannot_be_answered_is_not(value):
    assert parse_challenge(value) is None


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_quotes_are_read_as_they_are_written(realm, nonce):
    quoted = ['"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in (realm, nonce)]
    challenge = parse_challenge(f"Digest realm={quoted[0]}, nonce={quoted[1]}, stale=TRUE")
    assert challenge is not None
    assert (challenge.realm, challenge.nonce, challenge.stale) == (realm, nonce, True)
    assert f"realm={quoted[0]}" in answer(challenge, user="u", password="p", method="M", uri="u")


@given(st.text())
def test_no_text_breaks_it(text):
    parse_challenge("Digest " + text)
