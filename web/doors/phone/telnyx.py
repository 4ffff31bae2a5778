"""Telnyx: the TeXML webhook that takes a call, the stream that carries it (media streaming, both directions), and its status.

After Telnyx's pages "Stream call media over WebSocket", "TeXML: Stream" and "Receiving webhooks".
"""

from __future__ import annotations

import audioop
import base64
import binascii
import time
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import APIRouter, Request, WebSocket
from starlette.responses import Response

from pipeline.settings.phone import PhoneSettings
from pipeline.transports.codecs import Codec
from web.doors.phone import stream
from web.doors.phone.carrier import Audio, BadFrame, Event, Failed, Mark, Started, Stopped
from web.doors.phone.frames import audio_in, digit_of, number_in, object_in, read_object, text_in, to_base64, to_json
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
    with_placed,
    xml,
)
from web.problems import ProblemError
from web.state import state_of

NAME = "telnyx"
VOICE_PATH, STREAM_PATH, STATUS_PATH = "/phone/telnyx/voice", "/phone/telnyx/stream", "/phone/telnyx/status"
_ENDS = {"completed": HUNG_UP, "busy": NOT_REACHED, "failed": NOT_REACHED, "no-answer": NOT_REACHED, "canceled": NOT_REACHED}

router = APIRouter(tags=["phone"])


class TelnyxStream:
    """The wire of one stream, as ``web.doors.phone.carrier.Carrier``: JSON, G.711 at 8 kHz in base64.

    The tutor's voice is µ-law, as the webhook's answer asks for; the caller's is what the call has where Telnyx does not
    transcode it, so A-law becomes µ-law here.
    """

    name = NAME
    piece_s = 0.02

    def __init__(self) -> None:
        self.codec = Codec("mulaw")
        self._stream_id: str | None = None
        self._alaw = False

    def parse(self, message: str | bytes) -> Event | None:
        """See ``Carrier.parse``."""
        data = read_object(message)
        event = data.get("event")
        match event:
            case "connected":
                return None
            case "start":
                return self._start(data)
            case "error":
                return Failed(str(object_in(data, "payload"))[:300])
            case "media" | "dtmf" | "mark" | "stop":
                pass
            case _:
                raise BadFrame(f"unknown event {str(event)[:40]!r}")
        if self._stream_id is None or data.get("stream_id") != self._stream_id:
            raise BadFrame(f"{event}: of another stream")
        match event:
            case "media":
                return self._media(object_in(data, "media"))
            case "dtmf":
                return digit_of(object_in(data, "dtmf").get("digit"))
            case "mark":
                return Mark(text_in(object_in(data, "mark"), "name"))
            case _:
                return Stopped()

    def audio(self, encoded: bytes) -> str:
        """See ``Carrier.audio``."""
        return to_json("media", media={"payload": to_base64(encoded)})

    def mark(self, name: str) -> str:
        """See ``Carrier.mark``."""
        return to_json("mark", mark={"name": name})

    def clear(self) -> str:
        """See ``Carrier.clear``."""
        return to_json("clear")

    def _start(self, data: dict[str, Any]) -> Started:
        if self._stream_id is not None:
            raise BadFrame("a second start")
        start = object_in(data, "start")
        media = object_in(start, "media_format")
        encoding, rate = media.get("encoding"), number_in(media, "sample_rate")
        if encoding not in ("PCMU", "PCMA") or rate != 8_000 or number_in(media, "channels") not in (None, 1):
            raise BadFrame(f"start: cannot take {str(media)[:100]}")
        given = start.get("custom_parameters") or {}
        if not isinstance(given, dict):
            raise BadFrame("start: custom_parameters is no object")
        parameters = {k: v for k, v in given.items() if isinstance(v, str)}
        stream_id, call_id = text_in(data, "stream_id"), text_in(start, "call_control_id")
        self._stream_id, self._alaw = stream_id, encoding == "PCMA"
        return Started(call_id, parameters.pop("token", ""), parameters)

    def _media(self, media: dict[str, Any]) -> Audio | None:
        if media.get("track", "inbound") not in ("inbound", "inbound_track"):
            return None
        encoded = audio_in(media)
        if self._alaw:
            encoded = audioop.lin2ulaw(audioop.alaw2lin(encoded, 2), 2)
        return Audio(encoded, number_in(media, "chunk"))


# Signatures


def is_signed(signature: str | None, timestamp: str | None, body: bytes, public_key: str) -> bool:
    """Whether ``body`` carries Telnyx's signature: Ed25519 over the timestamp, a bar and the body.

    ``signature`` and ``public_key`` are in base64; ``timestamp`` is that of the request's header.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(signature or "", validate=True), f"{timestamp}|".encode() + body)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


async def signed_form(request: Request, settings: PhoneSettings, *, now: float | None = None) -> dict[str, str]:
    """The form of a request that Telnyx has signed within the last minutes.

    Raises:
        ProblemError: 404, Telnyx is not set up; 403, the signature is missing, wrong or old.
    """
    key = settings.telnyx.public_key
    if key is None or settings.public_url is None:
        raise off("Telnyx", "phone.telnyx.public_key")
    body, timestamp = await request.body(), request.headers.get("telnyx-timestamp")
    if not is_signed(request.headers.get("telnyx-signature-ed25519"), timestamp, body, key):
        raise refusal(NAME, "signature", "not signed by Telnyx")
    sent_at = int(timestamp) if timestamp and timestamp.isascii() and timestamp.isdigit() else None
    if not is_fresh(sent_at, time.time() if now is None else now):
        raise refusal(NAME, "stale", "Telnyx has signed this too long ago")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


# What Telnyx calls


@router.post(VOICE_PATH, response_class=Response, responses={200: {"content": {"application/xml": {}}}})
async def voice(request: Request) -> Response:
    """Take a call: Telnyx asks what to do with it, and is told to connect its stream."""
    state = state_of(request)
    settings = state.settings.phone
    form = await signed_form(request, settings)
    call_id, placed = form.get("CallSid", ""), placed_of(request)
    if not call_id:
        raise ProblemError(422, "CallSid is missing")
    state.phone.adopt(NAME, placed, call_id)
    if form.get("AnsweredBy", "").startswith(("machine", "fax")):
        await state.phone.hang_up(NAME, call_id, MACHINE)
    if state.phone.standing(NAME, call_id) == "ended":
        return xml("<Hangup/>")
    outbound = placed is not None or form.get("Direction", "inbound").startswith("outbound")
    token = await token_for(state, NAME, call_id, dialled=form.get("To"), caller=form.get("From"), outbound=outbound)
    if token is None:
        return xml('<Reject reason="busy"/>') if not outbound else xml("<Hangup/>")
    again = f"{settings.public_url}{with_placed(VOICE_PATH, placed)}"
    # Should the stream break off, Telnyx goes on behind <Connect>, and asks again.
    return xml(
        f'<Connect><Stream url={quoteattr(stream_address(settings, STREAM_PATH))} track="inbound_track" codec="PCMU"',
        ' bidirectionalMode="rtp" bidirectionalCodec="PCMU" bidirectionalSamplingRate="8000">',
        f'<Parameter name="token" value={quoteattr(token)}/></Stream></Connect>',
        f'<Redirect method="POST">{again}</Redirect>',
    )


@router.post(STATUS_PATH, status_code=204)
async def status(request: Request) -> Response:
    """How a call is doing: one that is over, or was never answered, ends its session."""
    state = state_of(request)
    form = await signed_form(request, state.settings.phone)
    call_id, reason = form.get("CallSid", ""), _ENDS.get(form.get("CallStatus", ""))
    if form.get("AnsweredBy", "").startswith(("machine", "fax")):
        reason = MACHINE
    await state.phone.told_of_end(NAME, placed_of(request), call_id, reason)
    return Response(status_code=204)


@router.websocket(STREAM_PATH)
async def take_stream(websocket: WebSocket) -> None:
    """The stream of a call that was announced to ``voice``."""
    state = state_of(websocket)
    if state.settings.phone.telnyx.public_key is None:
        await websocket.close(1008)
        return
    await stream.serve(websocket, TelnyxStream(), state.phone)
