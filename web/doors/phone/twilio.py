"""Twilio: the webhook that takes a call, the stream that carries it (Media Streams, both directions), and its status.

The messages are those of Twilio's pages "Media Streams - WebSocket Messages" and "TwiML: Stream". pipecat's serializer for them
is not used: it resamples by itself, and it passes over what this door lives on (``start`` with its parameters, ``mark``,
``stop``, and the numbers of the pieces). Its table of keys is, in ``web/doors/phone/frames.py``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from xml.sax.saxutils import quoteattr

from fastapi import APIRouter, Request, WebSocket
from loguru import logger
from starlette.responses import Response

from pipeline.settings.phone import PhoneSettings, TwilioSettings
from pipeline.transports.codecs import Codec
from web.doors.phone import stream
from web.doors.phone.carrier import Audio, BadFrame, Event, Mark, Started, Stopped
from web.doors.phone.frames import audio_in, digit_of, number_in, object_in, read_object, text_in, to_base64, to_json
from web.doors.phone.webhooks import (
    HUNG_UP,
    MACHINE,
    NOT_REACHED,
    address_of,
    off,
    placed_of,
    refusal,
    stream_address,
    token_for,
    xml,
)
from web.problems import ProblemError
from web.state import WebState, state_of

NAME = "twilio"
VOICE_PATH, STREAM_PATH, STATUS_PATH = "/phone/twilio/voice", "/phone/twilio/stream", "/phone/twilio/status"
_ENDS = {"completed": HUNG_UP, "busy": NOT_REACHED, "failed": NOT_REACHED, "no-answer": NOT_REACHED, "canceled": NOT_REACHED}
_PORTS = {"https": 443, "http": 80}

router = APIRouter(tags=["phone"])


class TwilioStream:
    """The wire of one stream, as ``web.doors.phone.carrier.Carrier``: JSON, µ-law at 8 kHz in base64."""

    name = NAME
    piece_s = 0.02

    def __init__(self, account_sid: str | None = None) -> None:
        self.codec = Codec("mulaw")
        self._account_sid = account_sid
        self._stream_sid: str | None = None

    def parse(self, message: str | bytes) -> Event | None:
        """See ``Carrier.parse``."""
        data = read_object(message)
        event = data.get("event")
        if event == "connected":
            return None
        if event == "start":
            return self._start(object_in(data, "start"))
        if event not in ("media", "dtmf", "mark", "stop"):
            raise BadFrame(f"unknown event {str(event)[:40]!r}")
        if self._stream_sid is None or data.get("streamSid") != self._stream_sid:
            raise BadFrame(f"{event}: of another stream")
        match event:
            case "media":
                return _media(object_in(data, "media"))
            case "dtmf":
                return digit_of(object_in(data, "dtmf").get("digit"))
            case "mark":
                return Mark(text_in(object_in(data, "mark"), "name"))
            case _:
                return Stopped()

    def audio(self, encoded: bytes) -> str:
        """See ``Carrier.audio``."""
        return self._message("media", media={"payload": to_base64(encoded)})

    def mark(self, name: str) -> str:
        """See ``Carrier.mark``."""
        return self._message("mark", mark={"name": name})

    def clear(self) -> str:
        """See ``Carrier.clear``."""
        return self._message("clear")

    def _message(self, event: str, **body: Any) -> str:
        return to_json(event, streamSid=self._stream_sid, **body)

    def _start(self, start: dict[str, Any]) -> Started:
        if self._stream_sid is not None:
            raise BadFrame("a second start")
        if self._account_sid is not None and start.get("accountSid") != self._account_sid:
            raise BadFrame("start: another account's")
        media = object_in(start, "mediaFormat")
        if (media.get("encoding"), str(media.get("sampleRate")), str(media.get("channels"))) != ("audio/x-mulaw", "8000", "1"):
            raise BadFrame(f"start: cannot take {str(media)[:100]}")
        given = start.get("customParameters", {})
        if not isinstance(given, dict):
            raise BadFrame("start: customParameters is no object")
        parameters = {k: v for k, v in given.items() if isinstance(v, str)}
        stream_sid, call_sid = text_in(start, "streamSid"), text_in(start, "callSid")
        self._stream_sid = stream_sid
        return Started(call_sid, parameters.pop("token", ""), parameters)


def _media(media: dict[str, Any]) -> Audio | None:
    if media.get("track", "inbound") != "inbound":
        return None
    return Audio(audio_in(media), number_in(media, "chunk"))


# Signatures


def sign(auth_token: str, url: str, parameters: Sequence[tuple[str, str]]) -> str:
    """``X-Twilio-Signature`` of a POST: HMAC-SHA1 over the URL and the sorted form, keyed with the auth token, in base64.

    After Twilio's page "Webhooks security": each name is followed by its value, without anything between.
    """
    text = url + "".join(name + value for name, value in sorted(set(parameters)))
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def is_signed(signature: str | None, auth_token: str, url: str, parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether the carrier sent this to ``url``, which it may have written with its port or without."""
    given = (signature or "").encode(errors="replace")
    return any(hmac.compare_digest(given, sign(auth_token, form, parameters).encode()) for form in _forms(url))


def _forms(url: str) -> list[str]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    usual = _PORTS.get(parts.scheme)
    forms = [url]
    if port is None:
        forms.append(urlunsplit(parts._replace(netloc=f"{host}:{usual}")))
    elif port == usual:
        forms.append(urlunsplit(parts._replace(netloc=host)))
    return forms


# What Twilio calls


async def signed_form(request: Request, settings: PhoneSettings, path: str) -> dict[str, str]:
    """The form of a request that Twilio has signed for ``path`` below ``phone.public_url``.

    Raises:
        ProblemError: 404, Twilio is not set up; 403, the signature is missing or wrong.
    """
    token = settings.twilio.auth_token
    if token is None or settings.public_url is None:
        raise off("Twilio", "phone.twilio.auth_token")
    body = (await request.body()).decode(errors="replace")
    form = parse_qsl(body, keep_blank_values=True)
    url = address_of(request, settings, path)
    if not is_signed(request.headers.get("x-twilio-signature"), token.get_secret_value(), url, form):
        raise refusal(NAME, "signature", f"not signed by Twilio for {url}; see phone.public_url")
    fields = dict(form)
    if _foreign(settings.twilio, fields):
        raise refusal(NAME, "account", "another account's call")
    return fields


def _foreign(settings: TwilioSettings, form: Mapping[str, str]) -> bool:
    return settings.account_sid is not None and form.get("AccountSid") != settings.account_sid


@router.post(VOICE_PATH, response_class=Response, responses={200: {"content": {"application/xml": {}}}})
async def voice(request: Request) -> Response:
    """Take a call: Twilio asks what to do with it, and is told to connect its stream."""
    state = state_of(request)
    form = await signed_form(request, state.settings.phone, VOICE_PATH)
    call_sid = form.get("CallSid", "")
    if not call_sid:
        raise ProblemError(422, "CallSid is missing")
    state.phone.adopt(NAME, placed_of(request), call_sid)
    if form.get("AnsweredBy", "").startswith(("machine", "fax")):
        await state.phone.hang_up(NAME, call_sid, MACHINE)
    if state.phone.standing(NAME, call_sid) == "ended":
        return xml("<Hangup/>")
    return await _connect(state, call_sid, form)


async def _connect(state: WebState, call_sid: str, form: Mapping[str, str]) -> Response:
    outbound = form.get("Direction", "inbound").startswith("outbound")
    token = await token_for(state, NAME, call_sid, dialled=form.get("To"), caller=form.get("From"), outbound=outbound)
    if token is None and form.get("CallStatus") == "ringing" and not outbound:
        return xml('<Reject reason="busy"/>')
    if token is None:
        return xml("<Say>All lines are busy. Please call again later.</Say>", "<Hangup/>")
    phone = state.settings.phone
    stream_url, status_url = stream_address(phone, STREAM_PATH), f"{phone.public_url}{STATUS_PATH}"
    # Should the stream break off, Twilio goes on behind <Connect>: it asks again, and the call is connected anew or hung up.
    return xml(
        f"<Connect><Stream url={quoteattr(stream_url)} statusCallback={quoteattr(status_url)}>"
        f'<Parameter name="token" value={quoteattr(token)}/></Stream></Connect>',
        f'<Redirect method="POST">{phone.public_url}{VOICE_PATH}</Redirect>',
    )


@router.post(STATUS_PATH, status_code=204)
async def status(request: Request) -> Response:
    """How a call or its stream is doing: a call that is over ends its session."""
    state = state_of(request)
    form = await signed_form(request, state.settings.phone, STATUS_PATH)
    if form.get("StreamEvent") == "stream-error":
        logger.warning("Twilio says of a stream: {}", form.get("StreamError", "")[:200])
    reason, call_sid = _ENDS.get(form.get("CallStatus", "")), form.get("CallSid", "")
    await state.phone.told_of_end(NAME, placed_of(request), call_sid, reason)
    return Response(status_code=204)


@router.websocket(STREAM_PATH)
async def take_stream(websocket: WebSocket) -> None:
    """The stream of a call that was announced to ``voice``."""
    state = state_of(websocket)
    settings = state.settings.phone.twilio
    if settings.auth_token is None:
        await websocket.close(1008)
        return
    await stream.serve(websocket, TwilioStream(settings.account_sid), state.phone)
