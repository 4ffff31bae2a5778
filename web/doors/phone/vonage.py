"""Vonage: the webhook that takes a call, the WebSocket that carries it (an endpoint of the Voice API), and its events.

After Vonage's pages "WebSockets in the Vonage Voice API", "NCCO reference" and "Webhooks: decoding signed webhooks".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from typing import Any

from fastapi import APIRouter, Request, WebSocket
from starlette.responses import JSONResponse, Response

from pipeline.settings.phone import PhoneSettings
from pipeline.transports.codecs import Codec
from web.auth import bearer_of
from web.doors.phone import stream
from web.doors.phone.carrier import Audio, BadFrame, Event, Mark, Started
from web.doors.phone.frames import digit_of, object_in, read_object, text_in
from web.doors.phone.webhooks import (
    HUNG_UP,
    MACHINE,
    NOT_REACHED,
    is_fresh,
    off,
    placed_of,
    refusal,
    stream_address,
    token_for,
)
from web.problems import ProblemError
from web.state import state_of

NAME = "vonage"
VOICE_PATH, STREAM_PATH, STATUS_PATH = "/phone/vonage/voice", "/phone/vonage/stream", "/phone/vonage/status"
_ENDS = {"completed": HUNG_UP, "machine": MACHINE}
_ENDS |= dict.fromkeys(("busy", "failed", "rejected", "unanswered", "timeout", "cancelled"), NOT_REACHED)
_CONTENT_TYPE = re.compile(r"audio/l16;\s*rate=(8000|16000)", re.IGNORECASE)

router = APIRouter(tags=["phone"])


class VonageStream:
    """The wire of one stream, as ``web.doors.phone.carrier.Carrier``: pcm16 in binary messages of 20 ms, JSON for the rest.

    What the webhook's answer gives the socket as headers comes back in its first message. At the end of a call the socket
    closes, and the status comes as a request.
    """

    name = NAME
    piece_s = 0.02

    def __init__(self, rate_hz: int = 16_000) -> None:
        self.codec = Codec("pcm16", rate_hz)
        self._started = False

    def parse(self, message: str | bytes) -> Event | None:
        """See ``Carrier.parse``."""
        if isinstance(message, bytes):
            if not self._started:
                raise BadFrame("audio before websocket:connected")
            return Audio(message)
        data = read_object(message)
        event = data.get("event")
        if event == "websocket:connected":
            return self._start(data)
        if not self._started:
            raise BadFrame(f"{str(event)[:40]!r} before websocket:connected")
        match event:
            case "websocket:dtmf":
                return digit_of(data.get("digit"))
            case "websocket:notify":
                return Mark(text_in(object_in(data, "payload"), "mark"))
            case "websocket:cleared" | "websocket:media:update":
                return None
            case _:
                raise BadFrame(f"unknown event {str(event)[:40]!r}")

    def audio(self, encoded: bytes) -> bytes:
        """See ``Carrier.audio``."""
        return encoded

    def mark(self, name: str) -> str:
        """See ``Carrier.mark``."""
        return json.dumps({"action": "notify", "payload": {"mark": name}}, separators=(",", ":"))

    def clear(self) -> str:
        """See ``Carrier.clear``."""
        return '{"action":"clear"}'

    def _start(self, data: dict[str, Any]) -> Started:
        if self._started:
            raise BadFrame("connected twice")
        found = _CONTENT_TYPE.fullmatch(text_in(data, "content-type").strip())
        if found is None:
            raise BadFrame(f"cannot take {str(data.get('content-type'))[:60]!r}")
        call_id = text_in(data, "call_id")
        self.codec, self._started = Codec("pcm16", int(found[1])), True
        token = data.get("token")
        return Started(call_id, token if isinstance(token, str) else "")


# Signatures


def claims_of(token: str | None, secret: str) -> dict[str, Any] | None:
    """What a JSON web token says (RFC 7519, HS256 only); ``None`` where ``secret`` did not sign it."""
    head, _, signature = (token or "").rpartition(".")
    header, _, payload = head.partition(".")
    try:
        if json.loads(_unpadded(header)).get("alg") != "HS256":
            return None
        expected = hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(_unpadded(signature), expected):
            return None
        claims = json.loads(_unpadded(payload))
    except (ValueError, AttributeError, binascii.Error, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_payload(claims: dict[str, Any], body: bytes) -> bool:
    """Whether a token was made for ``body``: its hash is that of the body as sent, or as JSON without blanks."""
    given, forms = str(claims.get("payload_hash", "")).lower(), [body]
    try:
        forms.append(json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode())
    except (ValueError, RecursionError):
        pass
    digests = [hashlib.sha256(form).hexdigest() for form in forms]
    return any(hmac.compare_digest(given.encode(errors="replace"), digest.encode()) for digest in digests)


async def signed_body(request: Request, settings: PhoneSettings, *, now: float | None = None) -> dict[str, Any]:
    """The JSON of a request that Vonage has signed within the last minutes.

    Raises:
        ProblemError: 404, Vonage is not set up; 403, the token is missing, wrong, old, another application's or another
            body's; 422, the body is no JSON object.
    """
    vonage = settings.vonage
    if vonage.signature_secret is None or settings.public_url is None:
        raise off("Vonage", "phone.vonage.signature_secret")
    body = await request.body()
    claims = claims_of(bearer_of(request.headers.get("authorization")), vonage.signature_secret.get_secret_value())
    if claims is None or not is_payload(claims, body):
        raise refusal(NAME, "signature", "not signed by Vonage")
    issued = claims.get("iat")
    issued_at = float(issued) if isinstance(issued, int | float) and not isinstance(issued, bool) else None
    if not is_fresh(issued_at, time.time() if now is None else now):
        raise refusal(NAME, "stale", "Vonage has signed this too long ago")
    if vonage.application_id is not None and claims.get("application_id") != vonage.application_id:
        raise refusal(NAME, "account", "another application's call")
    try:
        return read_object(body)
    except BadFrame as e:
        raise ProblemError(422, f"the body is {e}") from None


# What Vonage calls


@router.post(VOICE_PATH)
async def voice(request: Request) -> Response:
    """Take a call: Vonage asks what to do with it, and is told to connect its WebSocket."""
    state = state_of(request)
    settings = state.settings.phone
    body = await signed_body(request, settings)
    call_id, placed = str(body.get("uuid") or ""), placed_of(request)
    if not call_id:
        raise ProblemError(422, "uuid is missing")
    state.phone.adopt(NAME, placed, call_id)
    if state.phone.standing(NAME, call_id) == "ended":
        return _ncco()
    dialled, caller = str(body.get("to") or ""), str(body.get("from") or "")
    token = await token_for(state, NAME, call_id, dialled=dialled, caller=caller, outbound=placed is not None)
    if token is None:
        return _ncco({"action": "talk", "text": "All lines are busy. Please call again later."})
    endpoint = {
        "type": "websocket",
        "uri": stream_address(settings, STREAM_PATH),
        "content-type": f"audio/l16;rate={settings.vonage.rate_hz}",
        "headers": {"token": token, "call_id": call_id},
    }
    return _ncco({"action": "connect", "endpoint": [endpoint]})


def _ncco(*actions: dict[str, Any]) -> Response:
    return JSONResponse(list(actions), headers={"Cache-Control": "no-store"})


@router.post(STATUS_PATH, status_code=204)
async def status(request: Request) -> Response:
    """How a call is doing: one that is over, or was never answered, ends its session."""
    state = state_of(request)
    body = await signed_body(request, state.settings.phone)
    call_id, reason = str(body.get("uuid") or ""), _ENDS.get(str(body.get("status")))
    await state.phone.told_of_end(NAME, placed_of(request), call_id, reason)
    return Response(status_code=204)


@router.websocket(STREAM_PATH)
async def take_stream(websocket: WebSocket) -> None:
    """The stream of a call that was announced to ``voice``."""
    state = state_of(websocket)
    settings = state.settings.phone.vonage
    if settings.signature_secret is None:
        await websocket.close(1008)
        return
    await stream.serve(websocket, VonageStream(settings.rate_hz), state.phone)
