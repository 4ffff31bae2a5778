"""A stand-in for the REST APIs of the carriers, over real HTTP, written from their public pages: it checks who asks and for
what, and answers as they do.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from tests.web.phone.fake_carriers import CARRIERS, FakeVonage
from tests.web.phone.fake_twilio import ACCOUNT, AUTH_TOKEN

VONAGE_KEY = rsa.generate_private_key(65537, 2048)
SENDER = "+15550100"
KEYS: dict[str, dict[str, Any]] = {
    "twilio": {"auth_token": AUTH_TOKEN, "account_sid": ACCOUNT},
    "telnyx": {"api_key": "KEY0123", "account_sid": "acc-1", "application_sid": "1773070540731319841"},
    "plivo": {"auth_id": "MAXXXXXXXXXXXXXXXXXX"},
    "vonage": {"private_key": VONAGE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()},
    "exotel": {"api_key": "exokey", "api_token": "exotoken", "account_sid": "exotel1", "app_id": "4711"},
}


@dataclass
class Api:
    """What was asked for, and how the next request is answered."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    refuse: Response | None = None
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: requests are answered."""

    def settings(self, carrier: str) -> dict[str, Any]:
        """The settings of a carrier that can place calls through this stand-in."""
        return {**(CARRIERS[carrier].SETTINGS if carrier in CARRIERS else {}), **KEYS[carrier], "api_url": self.url}  # type: ignore[attr-defined]


def basic(request: Request, user: str, password: str) -> None:
    expected = base64.b64encode(f"{user}:{password}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {expected}"


def vonage_claims(request: Request) -> dict[str, Any]:
    token = request.headers["authorization"].removeprefix("Bearer ")
    head, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    VONAGE_KEY.public_key().verify(raw, head.encode(), PKCS1v15(), SHA256())
    header, payload = (json.loads(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in head.split("."))
    assert header == {"alg": "RS256", "typ": "JWT"}
    assert payload.keys() >= {"application_id", "iat", "jti"}
    return dict(payload)


def _app(api: Api) -> FastAPI:
    app = FastAPI()

    async def form(request: Request) -> dict[str, str]:
        assert request.headers["content-type"].startswith("application/x-www-form-urlencoded")
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))

    async def answer(kept: list[dict[str, Any]], asked: dict[str, Any], good: Response) -> Response:
        await api.hold.wait()
        if api.refuse is not None:
            return api.refuse
        kept.append(asked)
        return good

    @app.post("/2010-04-01/Accounts/{account}/Calls.json")
    async def twilio_call(request: Request, account: str) -> Response:
        basic(request, ACCOUNT, AUTH_TOKEN)
        asked = await form(request)
        assert account == ACCOUNT
        known = {"To", "From", "Url", "Method", "StatusCallback", "StatusCallbackMethod", "Timeout", "MachineDetection"}
        assert asked.keys() <= known
        return await answer(api.calls, asked, JSONResponse({"sid": f"CA{len(api.calls):032d}", "status": "queued"}, 201))

    @app.post("/2010-04-01/Accounts/{account}/Messages.json")
    async def twilio_text(request: Request, account: str) -> Response:
        basic(request, ACCOUNT, AUTH_TOKEN)
        asked = await form(request)
        assert asked.keys() == {"To", "From", "Body"}
        return await answer(api.texts, {"to": asked["To"], "text": asked["Body"]}, JSONResponse({"sid": "SM1"}, 201))

    @app.post("/v2/texml/Accounts/acc-1/Calls")
    async def telnyx_call(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer KEY0123"
        asked = await request.json()
        assert asked.keys() >= {"ApplicationSid", "To", "From", "Url"}
        # The page's example names no call.
        return await answer(api.calls, asked, JSONResponse({"from": asked["From"], "to": asked["To"], "status": "queued"}))

    @app.post("/v2/messages")
    async def telnyx_text(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer KEY0123"
        asked = await request.json()
        assert asked.keys() == {"from", "to", "text"}
        return await answer(api.texts, asked, JSONResponse({"data": {"id": "1"}}))

    @app.post("/v1/Account/MAXXXXXXXXXXXXXXXXXX/Call/")
    async def plivo_call(request: Request) -> Response:
        basic(request, "MAXXXXXXXXXXXXXXXXXX", CARRIERS["plivo"].TOKEN)  # type: ignore[attr-defined]
        asked = await request.json()
        assert asked.keys() >= {"from", "to", "answer_url"}
        assert not asked["to"].startswith("+")
        return await answer(api.calls, asked, JSONResponse({"message": "call fired", "request_uuid": "9834029e"}, 201))

    @app.post("/v1/Account/MAXXXXXXXXXXXXXXXXXX/Message/")
    async def plivo_text(request: Request) -> Response:
        asked = await request.json()
        assert asked.keys() == {"src", "dst", "text"}
        return await answer(api.texts, {"to": f"+{asked['dst']}", "text": asked["text"]}, JSONResponse({}, 202))

    @app.post("/v1/calls")
    async def vonage_call(request: Request) -> Response:
        assert vonage_claims(request)["application_id"] == FakeVonage.APPLICATION
        asked = await request.json()
        assert asked["to"][0].keys() == {"type", "number"}
        uuid = f"63f61863-4a51-4f6b-86e1-{len(api.calls):012d}"
        return await answer(api.calls, asked, JSONResponse({"uuid": uuid, "status": "started", "direction": "outbound"}, 201))

    @app.post("/v1/messages")
    async def vonage_text(request: Request) -> Response:
        vonage_claims(request)
        asked = await request.json()
        assert (asked["message_type"], asked["channel"]) == ("text", "sms")
        return await answer(api.texts, {"to": f"+{asked['to']}", "text": asked["text"]}, JSONResponse({}, 202))

    @app.post("/v1/Accounts/exotel1/Calls/connect.json")
    async def exotel_call(request: Request) -> Response:
        basic(request, "exokey", "exotoken")
        asked = await form(request)
        assert asked["Url"] == "http://my.exotel.com/exotel1/exoml/start_voice/4711"
        return await answer(api.calls, asked, JSONResponse({"Call": {"Sid": f"exo{len(api.calls)}", "Status": "in-progress"}}))

    @app.post("/v1/Accounts/exotel1/Sms/send.json")
    async def exotel_text(request: Request) -> Response:
        basic(request, "exokey", "exotoken")
        asked = await form(request)
        return await answer(api.texts, {"to": asked["To"], "text": asked["Body"]}, JSONResponse({"SMSMessage": {}}))

    return app


@contextlib.asynccontextmanager
async def carriers_apis() -> AsyncIterator[Api]:
    """All carriers' APIs at one address."""
    api = Api()
    api.hold.set()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(_app(api), log_config=None, ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    api.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        while not server.started:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        yield api
    finally:
        api.hold.set()
        server.should_exit = True
        await task
