"""Calls that the server places, over real HTTP to a stand-in for the carriers' APIs, from the request to the report by text."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.responses import JSONResponse, Response

from pipeline.settings.tree import Settings
from tests.web.conftest import Running
from tests.web.phone.caller import phoning
from tests.web.phone.fake_apis import KEYS, SENDER, Api, carriers_apis
from tests.web.phone.fake_carriers import CARRIERS
from tests.web.phone.fake_twilio import FakeTwilio
from web.doors.phone.sms import link_token

PUBLIC = "https://tutor.example.org"
LEARNER = "+4930123456"


@pytest.fixture
async def api():
    async with carriers_apis() as running:
        yield running


def phone(api: Api, carrier: str, **more: Any) -> dict[str, Any]:
    outbound = {"carrier": carrier, "from_number": SENDER, "prefixes": ["+49", "+33"], **more.pop("outbound", {})}
    return {"public_url": PUBLIC, carrier: api.settings(carrier), "outbound": outbound, **more}


def problem(response: Any, status: int, kind: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"urn:parley:problem:{kind}"
    return str(response.json()["detail"])


async def place(server: Running, to: str = LEARNER, **body: Any) -> Any:
    async with server.http() as http:
        return await http.post("/api/phone/calls", json={"to": to, **body})


def urls_of(carrier: str, asked: dict[str, Any]) -> tuple[str | None, str]:
    """The paths that a carrier was told for the answer and for the status."""
    match carrier:
        case "twilio" | "telnyx":
            answer, status = asked["Url"], asked["StatusCallback"]
            assert (asked["To"], asked["From"]) == (LEARNER, SENDER)
        case "plivo":
            answer, status = asked["answer_url"], asked["hangup_url"]
            assert (asked["to"], asked["from"]) == (LEARNER[1:], SENDER[1:])
        case "vonage":
            (answer,), (status,) = asked["answer_url"], asked["event_url"]
            assert asked["to"][0]["number"] == LEARNER[1:]
        case _:
            assert asked["From"] == LEARNER, "Exotel calls From first"
            return None, path_of(asked["StatusCallback"])
    return path_of(answer), path_of(status)


def path_of(url: str) -> str:
    assert url.startswith(f"{PUBLIC}/phone/")
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def call_id_of(carrier: str, number: int = 0) -> str | None:
    """What the carrier said that the call is called."""
    return {"twilio": f"CA{number:032d}", "vonage": f"63f61863-4a51-4f6b-86e1-{number:012d}", "exotel": f"exo{number}"}.get(
        carrier
    )


class Answered:
    """The learner's telephone: the stand-in of the carrier, told to go on with a placed call."""

    def __init__(self, server: Running, api: Api, carrier: str) -> None:
        make = FakeTwilio if carrier == "twilio" else CARRIERS[carrier]
        self.call: Any = make(server.url, PUBLIC)
        self.carrier = carrier
        self.voice, self.status_path = urls_of(carrier, api.calls[-1])
        call_id = call_id_of(carrier, len(api.calls) - 1)
        if call_id is not None:
            self.call.call_id = call_id

    async def pick_up(self) -> None:
        if self.carrier == "twilio":
            form = self.call.form(Direction="outbound-api", From=SENDER, To=LEARNER, CallStatus="in-progress")
            response = await self.call.post(self.voice, form)
            assert response.status_code == 200, response.text
            await self.call.connect(ET.fromstring(response.text))
        else:
            await self.call.connect(await self.call.answer(self.voice))

    async def status(self, what: str) -> None:
        if self.carrier == "twilio":
            response = await self.call.post(self.status_path, self.call.form(CallStatus=what, Direction="outbound-api"))
        else:
            response = await self.call.status(what, self.status_path)
        assert response.status_code == 204


@pytest.mark.parametrize("carrier", list(KEYS))
async def test_a_placed_call_is_answered_and_talks_about_what_was_asked_for(serve, api, carrier):
    server = await serve(phone=phone(api, carrier))
    response = await place(server, lesson="directions", level="advanced")
    assert response.status_code == 201, response.text
    assert (response.json()["to"], response.json()["carrier"]) == (LEARNER, carrier)
    session = server.state.sessions.get(response.json()["session_id"])
    assert (session.record.lesson, session.record.level, session.state) == ("directions", "advanced", "new")
    answered = Answered(server, api, carrier)
    async with phoning(answered.call) as call:
        await answered.pick_up()
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        assert session.state == "attached"
        await call.drop()
        await answered.status("completed")
        await server.until(lambda: session.state == "ended", "the session ends")
        assert session.record.end_reason == "hung up by the caller"


@pytest.mark.parametrize("carrier", list(KEYS))
async def test_nobody_answers(serve, api, carrier):
    server = await serve(phone=phone(api, carrier))
    response = await place(server)
    session = server.state.sessions.get(response.json()["session_id"])
    problem(await place(server), 409, "being-called")
    answered = Answered(server, api, carrier)
    async with phoning(answered.call):
        await answered.status("unanswered" if carrier == "vonage" else "no-answer")
    await server.until(lambda: session.state == "ended", "the session ends")
    assert session.record.end_reason == "the learner was not reached"
    assert (await place(server)).status_code == 201


@pytest.mark.parametrize("carrier", ["twilio", "telnyx"])
async def test_a_machine_is_not_talked_to(serve, api, carrier):
    server = await serve(phone=phone(api, carrier))
    session = server.state.sessions.get((await place(server)).json()["session_id"])
    assert api.calls[0]["MachineDetection"] == "Enable"
    answered = Answered(server, api, carrier)
    async with phoning(answered.call) as call:
        response = await call.post(answered.voice, call.form(AnsweredBy="machine_start"))
        assert "<Hangup/>" in response.text
    await server.until(lambda: session.state == "ended", "the session ends")
    assert session.record.end_reason == "a machine answered"


async def test_only_numbers_of_the_prefixes_are_called(serve, api):
    server = await serve(phone=phone(api, "twilio"))
    problem(await place(server, "+15550199"), 403, "number-not-allowed")
    for wrong in ("030123456", "+0301234567", "+49 30 123456", "+4930123456789012", "tel:+4930123456", "+49٣٠123456", ""):
        assert "to" in problem(await place(server, wrong), 422, "invalid-request")
    problem(await place(server, volume=11), 422, "invalid-request")
    assert "directions" in problem(await place(server, lesson="nonsense"), 422, "unknown-lesson")
    assert api.calls == []
    assert server.state.sessions.detached == 0


async def test_calls_are_off_unless_a_carrier_is_chosen(serve):
    server = await serve()
    assert "phone.outbound.carrier" in problem(await place(server), 404, "outbound-off")


async def test_a_placed_call_waits_longer_than_a_lost_client_does(serve, api):
    server = await serve(phone=phone(api, "plivo"), session={"resume_for_s": 0.1})
    session = server.state.sessions.get((await place(server)).json()["session_id"])
    await asyncio.sleep(0.5)
    answered = Answered(server, api, "plivo")
    async with phoning(answered.call) as call:
        await answered.pick_up()
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        assert session.state == "attached"


async def test_a_call_of_which_nothing_more_is_heard_gives_its_place_back(serve, api, monkeypatch):
    monkeypatch.setattr("web.doors.phone.desk.ANSWER_TAKES_S", -29.8)
    server = await serve(phone=phone(api, "plivo"))
    session = server.state.sessions.get((await place(server)).json()["session_id"])
    await server.until(lambda: session.state == "ended", "the session ends")
    answered = Answered(server, api, "plivo")
    async with phoning(answered.call) as call:
        assert [e.tag for e in await call.dial(answered.voice)] == ["Hangup"]


async def test_nobody_is_rung_up_twice_at_once(serve, api):
    server = await serve(phone=phone(api, "vonage"))
    api.hold.clear()
    calls = [asyncio.create_task(place(server)) for _ in range(5)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    api.hold.set()
    assert sorted(r.status_code for r in await asyncio.gather(*calls)) == [201, 409, 409, 409, 409]
    assert len(api.calls) == 1


async def test_calls_are_rare(serve, api):
    server = await serve(phone=phone(api, "plivo", outbound={"per_minute": 2}))
    for number in ("+49301234561", "+49301234562"):
        assert (await place(server, number)).status_code == 201
    response = await place(server, "+49301234563")
    problem(response, 429, "too-many-calls")
    assert int(response.headers["retry-after"]) >= 1
    assert len(api.calls) == 2


async def test_only_who_may_use_the_server_places_calls(serve, api):
    server = await serve(phone=phone(api, "twilio"), auth={"token": "a token of good length"})
    assert (await place(server)).status_code == 401
    async with server.http(headers={"Authorization": "Bearer a token of good length"}) as http:
        assert (await http.post("/api/phone/calls", json={"to": LEARNER})).status_code == 201


async def test_a_full_house_rings_nobody_up(serve, api, make_engines):
    engines = make_engines()
    engines["tts"].full = True
    server = await serve(engines=engines, phone=phone(api, "telnyx"))
    problem(await place(server), 429, "at-capacity")
    assert api.calls == []


@pytest.mark.parametrize(
    ("carrier", "answer", "said"),
    [
        ("twilio", JSONResponse({"code": 21211, "message": "Invalid 'To' Phone Number"}, 400), "Invalid 'To' Phone Number"),
        ("telnyx", JSONResponse({"errors": [{"code": "10009", "detail": "No key found"}]}, 401), "No key found"),
        ("plivo", JSONResponse({"api_id": "1", "error": "insufficient balance"}, 402), "insufficient balance"),
        ("vonage", JSONResponse({"title": "Forbidden", "detail": "Not your number"}, 403), "Not your number"),
        ("exotel", JSONResponse({"RestException": {"Status": 403, "Message": "NDNC"}}, 403), "NDNC"),
        ("twilio", Response("<html>", 503), "HTTP 503"),
    ],
)
async def test_what_the_carrier_refuses_leaves_no_session(serve, api, carrier, answer, said):
    server = await serve(phone=phone(api, carrier))
    api.refuse = answer
    assert said in problem(await place(server), 502, "carrier-failed")
    assert server.state.sessions.detached == 0
    api.refuse = None
    assert (await place(server)).status_code == 201, "the number is free again"


async def test_a_carrier_that_cannot_be_reached(serve, api):
    settings = phone(api, "twilio")
    settings["twilio"] = {**settings["twilio"], "api_url": "http://127.0.0.1:9"}
    server = await serve(phone=settings)
    assert "cannot be reached" in problem(await place(server), 502, "carrier-failed")
    assert server.state.sessions.detached == 0


@pytest.mark.parametrize("carrier", list(KEYS))
async def test_the_report_comes_by_text(serve, api, carrier):
    sms = {"enabled": True, "from_number": SENDER, "prefixes": ["+49"]}
    server = await serve(phone=phone(api, carrier, sms=sms), auth={"token": "a token of good length"})
    async with server.http(headers={"Authorization": "Bearer a token of good length"}) as http:
        assert (await http.post("/api/phone/calls", json={"to": LEARNER})).status_code == 201
    answered = Answered(server, api, carrier)
    async with phoning(answered.call) as call:
        await answered.pick_up()
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        await call.drop()
        await answered.status("completed")
        await server.until(lambda: api.texts, "the text is sent")
    assert api.texts[0]["to"] == LEARNER
    link = re.search(re.escape(PUBLIC) + r"(/phone/report/[0-9a-f.]+)$", api.texts[0]["text"])
    assert link is not None, api.texts[0]["text"]
    async with server.http(headers={"Host": "tutor.example.org"}) as http:
        page = await http.get(link[1])
        assert page.status_code == 200, page.text
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["cache-control"] == "no-store"
        other = link[1][:-1] + ("0" if link[1][-1] != "0" else "1")
        assert (await http.get(other)).status_code == 404
        longer = re.sub(r"\.(\d+)\.", lambda m: f".{int(m[1]) + 9}.", link[1])
        assert (await http.get(longer)).status_code == 404


async def test_an_old_link_says_so_and_other_numbers_get_none(serve, api):
    sms = {"enabled": True, "from_number": SENDER, "prefixes": ["+33"], "link_ttl_h": 1}
    server = await serve(phone=phone(api, "telnyx", sms=sms))
    token = link_token("9f86d081884c7d65", 1_700_000_000, server.state.settings.phone.telnyx.secrets)
    async with server.http() as http:
        problem(await http.get(f"/phone/report/{token}"), 410, "link-expired")
    await place(server)
    answered = Answered(server, api, "telnyx")
    async with phoning(answered.call) as call:
        await answered.pick_up()
        await call.until(lambda: call.voiced_s >= 0.1, "the greeting begins")
        entry = server.state.phone._entries["telnyx", call.call_id]
        await call.drop()
        await answered.status("completed")
        await server.until(lambda: entry.session is None, "the call is over")
        await asyncio.gather(*server.state.phone._tasks)
    assert api.texts == []


@pytest.mark.parametrize(
    ("phone", "said"),
    [
        ({"outbound": {"carrier": "twilio"}}, "phone.twilio.auth_token, phone.twilio.account_sid"),
        ({"public_url": PUBLIC, "plivo": {"auth_token": "t", "auth_id": "MA1"}, "outbound": {"carrier": "plivo"}}, "prefixes"),
        ({"outbound": {"prefixes": ["49"]}}, "prefixes"),
        ({"outbound": {"from_number": "0301"}}, "from_number"),
        ({"sms": {"enabled": True}}, "phone.sms.from_number"),
        ({"sms": {"text": "no link"}}, "{link}"),
        ({"telnyx": {"public_key": "c2hvcnQ="}}, "32 bytes"),
        ({"plivo": {"auth_token": "t"}}, "phone.public_url"),
        ({"exotel": {"networks": ["everywhere"]}}, "everywhere"),
    ],
)
def test_settings_that_cannot_work_are_refused(phone, said):
    with pytest.raises(ValueError) as caught:
        Settings.model_validate({"phone": phone})
    assert said in str(caught.value)
