"""Exotel: the address from which its Voicebot applet gets the stream's, the stream, and the status of calls.

After Exotel's pages "WebSocket protocol", "Working with the Stream and Voicebot Applet" and "Status callback". Exotel signs
nothing: its requests are known by a key that only it was told, and by their address where that is set.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request, WebSocket
from starlette.responses import JSONResponse, Response

from pipeline.settings.phone import PhoneSettings
from pipeline.transports.codecs import Codec
from web.doors.phone import stream
from web.doors.phone.carrier import Audio, BadFrame, Event, Mark, Started, Stopped
from web.doors.phone.frames import audio_in, digit_of, number_in, object_in, read_object, text_in, to_base64, to_json
from web.doors.phone.webhooks import HUNG_UP, NOT_REACHED, off, placed_of, refusal, stream_address, token_for
from web.problems import ProblemError
from web.state import address_of, state_of

NAME = "exotel"
VOICE_PATH, STREAM_PATH, STATUS_PATH = "/phone/exotel/voice", "/phone/exotel/stream", "/phone/exotel/status"
PIECE_BYTES = 3_200
"""Exotel plays pieces of fewer bytes with gaps."""
_ENDS = {"completed": HUNG_UP} | dict.fromkeys(("busy", "failed", "no-answer", "canceled"), NOT_REACHED)

router = APIRouter(tags=["phone"])


class ExotelStream:
    """The wire of one stream, as ``web.doors.phone.carrier.Carrier``: JSON, little-endian pcm16 in base64.

    ``token`` is what stood in the address that was connected to; Exotel repeats its query in ``start``.
    """

    name = NAME

    def __init__(self, rate_hz: int = 16_000, token: str = "") -> None:
        self.codec = Codec("pcm16", rate_hz)
        self.piece_s = _piece_s(rate_hz)
        self._token = token
        self._stream_sid: str | None = None

    def parse(self, message: str | bytes) -> Event | None:
        """See ``Carrier.parse``."""
        data = read_object(message)
        event = data.get("event")
        if event == "connected":
            return None
        if event == "start":
            return self._start(object_in(data, "start"))
        if event not in ("media", "dtmf", "mark", "clear", "stop"):
            raise BadFrame(f"unknown event {str(event)[:40]!r}")
        if self._stream_sid is None or data.get("stream_sid") != self._stream_sid:
            raise BadFrame(f"{event}: of another stream")
        match event:
            case "media":
                media = object_in(data, "media")
                return Audio(audio_in(media), number_in(media, "chunk"))
            case "dtmf":
                return digit_of(object_in(data, "dtmf").get("digit"))
            case "mark":
                return Mark(text_in(object_in(data, "mark"), "name"))
            case "stop":
                return Stopped()
            case _:
                return None

    def audio(self, encoded: bytes) -> str:
        """See ``Carrier.audio``."""
        return to_json("media", stream_sid=self._stream_sid, media={"payload": to_base64(encoded)})

    def mark(self, name: str) -> str:
        """See ``Carrier.mark``."""
        return to_json("mark", stream_sid=self._stream_sid, mark={"name": name})

    def clear(self) -> str:
        """See ``Carrier.clear``."""
        return to_json("clear", stream_sid=self._stream_sid)

    def _start(self, start: dict[str, Any]) -> Started:
        if self._stream_sid is not None:
            raise BadFrame("a second start")
        rate_hz = number_in(object_in(start, "media_format"), "sample_rate")
        if rate_hz not in (8_000, 16_000):
            raise BadFrame(f"start: cannot take {str(start['media_format'])[:100]}")
        given = start.get("custom_parameters") or {}
        if not isinstance(given, dict):
            raise BadFrame("start: custom_parameters is no object")
        parameters = {k: v for k, v in given.items() if isinstance(v, str)}
        stream_sid, call_sid = text_in(start, "stream_sid"), text_in(start, "call_sid")
        self._stream_sid, self.codec, self.piece_s = stream_sid, Codec("pcm16", rate_hz), _piece_s(rate_hz)
        return Started(call_sid, parameters.pop("token", self._token), parameters)


def _piece_s(rate_hz: int) -> float:
    return PIECE_BYTES / 2 / rate_hz


# Who calls


def has_key(authorization: str | None, key: str, token: str) -> bool:
    """Whether an ``Authorization`` header is that of HTTP Basic for ``key`` and ``token``."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        shown = base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(shown, f"{key}:{token}".encode())


def is_allowed(address: str, networks: list[str]) -> bool:
    """Whether ``address`` lies in one of ``networks``; without any it does."""
    if not networks:
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(network) for network in networks)


def check(request: Request, settings: PhoneSettings) -> None:
    """Let a request of Exotel's pass.

    Raises:
        ProblemError: 404, Exotel is not set up; 403, the key is missing or wrong, or the address is another.
    """
    exotel = settings.exotel
    if exotel.stream_key is None or exotel.stream_token is None or settings.public_url is None:
        raise off("Exotel", "phone.exotel.stream_key or phone.exotel.stream_token")
    authorization = request.headers.get("authorization")
    if not has_key(authorization, exotel.stream_key.get_secret_value(), exotel.stream_token.get_secret_value()):
        raise refusal(NAME, "signature", "without the key that Exotel was told")
    if not is_allowed(address_of(request), exotel.networks):
        raise refusal(NAME, "address", f"{address_of(request)} is not in phone.exotel.networks")


# What Exotel calls


@router.get(VOICE_PATH)
async def voice(request: Request) -> Response:
    """Take a call: the Voicebot applet asks where its stream is to connect."""
    state = state_of(request)
    settings = state.settings.phone
    check(request, settings)
    fields, placed = request.query_params, placed_of(request)
    call_sid = fields.get("CallSid", "")
    if not call_sid:
        raise ProblemError(422, "CallSid is missing")
    state.phone.adopt(NAME, placed, call_sid)
    if state.phone.standing(NAME, call_sid) == "ended":
        raise ProblemError(410, "this call has ended")
    outbound = fields.get("Direction", "incoming").startswith("outbound")
    token = await token_for(
        state, NAME, call_sid, dialled=fields.get("CallTo"), caller=fields.get("CallFrom"), outbound=outbound
    )
    if token is None:
        raise ProblemError(503, "all lines are busy", kind="at-capacity", title="At capacity", retry_after_s=30)
    query = urlencode({"sample-rate": settings.exotel.rate_hz, "token": token})
    return JSONResponse({"url": f"{stream_address(settings, STREAM_PATH)}?{query}"}, headers={"Cache-Control": "no-store"})


@router.post(STATUS_PATH, status_code=204)
async def status(request: Request) -> Response:
    """How a call is doing: one that is over, or was never answered, ends its session."""
    state = state_of(request)
    check(request, state.settings.phone)
    form = dict(parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True))
    call_sid, reason = form.get("CallSid", ""), _ENDS.get(form.get("Status", ""))
    await state.phone.told_of_end(NAME, placed_of(request), call_sid, reason)
    return Response(status_code=204)


@router.websocket(STREAM_PATH)
async def take_stream(websocket: WebSocket) -> None:
    """The stream of a call that was announced to ``voice``."""
    state = state_of(websocket)
    settings = state.settings.phone.exotel
    if settings.stream_key is None:
        await websocket.close(1008)
        return
    # The guard has taken it out of the address, which is written to the log.
    token = websocket.scope.get("state", {}).get("secrets", {}).get("token", "")
    await stream.serve(websocket, ExotelStream(settings.rate_hz, token), state.phone)
