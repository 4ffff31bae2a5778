"""Requests that a carrier has not signed, or not lately, or not for us: 403, and counted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest

from tests.web.phone.caller import phoning
from tests.web.phone.fake_carriers import CARRIERS, FakeExotel, FakePlivo, FakeTelnyx, FakeVonage, settings_of
from tests.web.phone.told import refused
from web.doors.phone import exotel, plivo, telnyx, vonage

PUBLIC = "https://tutor.example.org"
PHONE = {"public_url": PUBLIC, **settings_of(*CARRIERS)}


def not_signed(response) -> bool:
    return response.status_code == 403 and response.json()["type"] == "urn:parley:problem:not-signed"


async def test_telnyx_without_its_signature_or_too_late(serve):
    server = await serve(phone=PHONE)
    other = base64.b64encode(b"x" * 64).decode()
    async with phoning(FakeTelnyx(server.url, PUBLIC)) as call:
        before, stale = refused("telnyx", "signature"), refused("telnyx", "stale")
        for path in ("/phone/telnyx/voice", "/phone/telnyx/status"):
            for signed in (None, other, "no base64", "c2hvcnQ="):
                assert not_signed(await call.post(path, call.form(), signed=signed))
        assert refused("telnyx", "signature") == before + 8
        assert not_signed(await call.post("/phone/telnyx/voice", call.form(), at=time.time() - 400))
        assert not_signed(await call.post("/phone/telnyx/voice", call.form(), at=time.time() + 400))
        assert refused("telnyx", "stale") == stale + 2
        assert server.state.phone.standing("telnyx", call.call_id) == "unknown"


async def test_plivo_without_its_signature(serve):
    server = await serve(phone=PHONE)
    async with phoning(FakePlivo(server.url, PUBLIC), FakePlivo(server.url, "https://elsewhere.example.org")) as (call, lost):
        before = refused("plivo", "signature")
        assert not_signed(await call.post("/phone/plivo/voice", call.form(), signed=None))
        assert not_signed(await call.post("/phone/plivo/voice", call.form(), signed="bm9uc2Vuc2U="))
        assert not_signed(await call.post("/phone/plivo/voice", call.form(), key="another"))
        assert not_signed(await lost.post("/phone/plivo/voice", lost.form()))
        assert refused("plivo", "signature") == before + 4
        # A main account's request carries two signatures.
        form, nonce = call.form(), "n1"
        good = plivo.sign(FakePlivo.TOKEN, f"{PUBLIC}/phone/plivo/voice", nonce, list(form.items()))
        async with server.http() as http:
            headers = {"X-Plivo-Signature-V3-Nonce": nonce, "X-Plivo-Signature-V3": f"bm9uc2Vuc2U=,{good}"}
            assert (await http.post("/phone/plivo/voice", data=form, headers=headers)).status_code == 200


async def test_vonage_without_its_token_too_late_or_for_another(serve):
    server = await serve(phone=PHONE)
    async with phoning(FakeVonage(server.url, PUBLIC)) as call:
        path, body = "/phone/vonage/voice", call.body()
        before = {why: refused("vonage", why) for why in ("signature", "stale", "account")}
        now = int(time.time())
        assert not_signed(await call.post(path, body, signed=None))
        assert not_signed(await call.post(path, body, signed="a.b.c"))
        assert not_signed(await call.post(path, body, signed=call.jwt({"iat": now}, secret="another secret")))
        assert not_signed(await call.post(path, body, signed=call.jwt({"iat": now}, algorithm="none")))
        assert not_signed(await call.post(path, body, payload_hash="0" * 64))
        assert not_signed(await call.post(path, body, iat=now - 400))
        assert not_signed(await call.post(path, body, iat="soon"))
        assert not_signed(await call.post(path, body, application_id="00000000-bbbb-cccc-dddd-0123456789ab"))
        assert refused("vonage", "signature") == before["signature"] + 5
        assert refused("vonage", "stale") == before["stale"] + 2
        assert refused("vonage", "account") == before["account"] + 1


async def test_exotel_without_its_key_or_from_elsewhere(serve):
    server = await serve(phone={**PHONE, "exotel": {**FakeExotel.SETTINGS, "networks": ["203.0.113.0/24"]}})
    async with phoning(FakeExotel(server.url, PUBLIC)) as call:
        before = refused("exotel", "signature"), refused("exotel", "address")
        assert not_signed(await call.dial(key="another"))
        async with server.http() as http:
            assert not_signed(await http.get("/phone/exotel/voice", params={"CallSid": "1"}))
            assert not_signed(await http.get("/phone/exotel/voice", headers={"Authorization": "Basic ???"}))
        assert not_signed(await call.dial())
        assert (refused("exotel", "signature"), refused("exotel", "address")) == (before[0] + 3, before[1] + 1)


def test_telnyx_signs_the_timestamp_and_the_body_as_they_are():
    signature = base64.b64encode(FakeTelnyx.KEY.sign(b"1700000000|a=1&b=%20")).decode()
    assert telnyx.is_signed(signature, "1700000000", b"a=1&b=%20", FakeTelnyx.PUBLIC_KEY)
    assert not telnyx.is_signed(signature, "1700000001", b"a=1&b=%20", FakeTelnyx.PUBLIC_KEY)
    assert not telnyx.is_signed(signature, "1700000000", b"a=1&b=+", FakeTelnyx.PUBLIC_KEY)
    assert not telnyx.is_signed(signature, None, b"a=1&b=%20", FakeTelnyx.PUBLIC_KEY)


@pytest.mark.parametrize(
    ("url", "form", "text"),
    [
        ("https://a.example/p", [], "https://a.example/p.n"),
        ("https://a.example/p", [("b", "2"), ("a", "1")], "https://a.example/p?a1b2.n"),
        ("https://a.example/p?y=2&x=1", [], "https://a.example/p?x=1&y=2.n"),
        ("https://a.example/p?x=1", [("b", "2"), ("b", "1")], "https://a.example/p?x=1.b1b2.n"),
    ],
)
def test_plivo_signs_the_address_the_query_the_form_and_the_nonce(url, form, text):
    expected = base64.b64encode(hmac.new(b"key", text.encode(), hashlib.sha256).digest()).decode()
    assert plivo.sign("key", url, "n", form) == expected
    assert plivo.is_signed(expected, "key", url, "n", form)
    assert not plivo.is_signed(expected, "key", url, None, form)


def test_vonage_takes_its_payload_with_blanks_or_without():
    compact, spaced = b'{"a":1}', b'{ "a": 1 }'
    claims = {"payload_hash": hashlib.sha256(compact).hexdigest()}
    assert vonage.is_payload(claims, compact)
    assert vonage.is_payload(claims, spaced)
    assert not vonage.is_payload(claims, b'{"a":2}')
    assert not vonage.is_payload({}, compact)


def test_exotels_networks_are_addresses_of_either_kind():
    assert exotel.is_allowed("203.0.113.7", ["2001:db8::/32", "203.0.113.0/24"])
    assert exotel.is_allowed("anything", [])
    assert not exotel.is_allowed("203.0.114.7", ["203.0.113.0/24"])
    assert not exotel.is_allowed("unknown", ["203.0.113.0/24"])
