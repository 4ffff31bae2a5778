"""Plivo: the webhook that takes a call, the stream that carries it (audio streaming, both directions), and its hang-up.

After Plivo's pages "Audio Streaming", "XML: Stream" and "Validating requests (V3 signatures)".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from xml.sax.saxutils import escape, quoteattr

from fastapi import APIRouter, Request, WebSocket
from starlette.responses import Response

from pipeline.settings.phone import PhoneSettings
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
    with_placed,
    xml,
)
from web.problems import ProblemError
from web.state import state_of

NAME = "plivo"
VOICE_PATH, STREAM_PATH, STATUS_PATH = "/phone/plivo/voice", "/phone/plivo/stream", "/phone/plivo/status"
CONTENT_TYPE, RATE_HZ = "audio/x-mulaw", 8_000
_ENDS = {"completed": HUNG_UP, "busy": NOT_REACHED, "failed": NOT_REACHED, "timeout": NOT_REACHED, "no-answer": NOT_REACHED}
_ENDS |= {"cancel": NOT_REACHED, "rejected": NOT_REACHED}
# The page on streams writes a=1;b=2, the page on XML a=1,b=2, and the prefix is that of Plivo's SIP headers.
_TOKEN = re.compile(r"(?:^|[\W_])(?:X-PH-)?token\W{1,4}(\w+)", re.IGNORECASE)

router = APIRouter(tags=["phone"])


class PlivoStream:
    """The wire of one stream, as ``web.doors.phone.carrier.Carrier``: JSON, µ-law at 8 kHz in base64.

    Plivo says nothing at the end of a call: the socket closes, and the hang-up comes as a request.
    """

    name = NAME
    piece_s = 0.02

    def __init__(self) -> None:
        self.codec = Codec("mulaw", RATE_HZ)
        self._stream_id: str | None = None

    def parse(self, message: str | bytes) -> Event | None:
        """See ``Carrier.parse``."""
        data = read_object(message)
        event = data.get("event")
        if event == "start":
            return self._start(data)
        if event not in ("media", "dtmf", "playedStream", "clearedAudio", "stop"):
            raise BadFrame(f"unknown event {str(event)[:40]!r}")
        if self._stream_id is None or data.get("streamId") != self._stream_id:
            raise BadFrame(f"{event}: of another stream")
        match event:
            case "media":
                media = object_in(data, "media")
                return Audio(audio_in(media), number_in(media, "chunk")) if media.get("track", "inbound") == "inbound" else None
            case "dtmf":
                return digit_of(object_in(data, "dtmf").get("digit"))
            case "playedStream":
                return Mark(text_in(data, "name"))
            case "stop":
                return Stopped()
            case _:
                return None

    def audio(self, encoded: bytes) -> str:
        """See ``Carrier.audio``."""
        return to_json("playAudio", media={"contentType": CONTENT_TYPE, "sampleRate": RATE_HZ, "payload": to_base64(encoded)})

    def mark(self, name: str) -> str:
        """See ``Carrier.mark``."""
        return to_json("checkpoint", streamId=self._stream_id, name=name)

    def clear(self) -> str:
        """See ``Carrier.clear``."""
        return to_json("clearAudio", streamId=self._stream_id)

    def _start(self, data: dict[str, Any]) -> Started:
        if self._stream_id is not None:
            raise BadFrame("a second start")
        start = object_in(data, "start")
        media = object_in(start, "mediaFormat")
        if media.get("encoding") != CONTENT_TYPE or number_in(media, "sampleRate") != RATE_HZ:
            raise BadFrame(f"start: cannot take {str(media)[:100]}")
        stream_id, call_id = text_in(start, "streamId"), text_in(start, "callId")
        found = _TOKEN.search(str(data.get("extra_headers") or "")[:1_000])
        self._stream_id = stream_id
        return Started(call_id, found[1] if found else "")


# Signatures


def sign(auth_token: str, url: str, nonce: str, form: Sequence[tuple[str, str]] = ()) -> str:
    """``X-Plivo-Signature-V3`` of a POST to ``url``: HMAC-SHA256, keyed with the auth token, in base64.

    Signed are the address, its query in the order of the names, the form in the order of names and values without anything
    between, and the nonce. A form puts a question mark behind an address without a query, and a full stop behind a query.
    """
    parts = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True)))
    text = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if query or form:
        text += f"?{query}"
    if query and form:
        text += "."
    text += "".join(name + value for name, value in sorted(form))
    return base64.b64encode(hmac.new(auth_token.encode(), f"{text}.{nonce}".encode(), hashlib.sha256).digest()).decode()


def is_signed(signatures: str | None, auth_token: str, url: str, nonce: str | None, form: Sequence[tuple[str, str]]) -> bool:
    """Whether one of ``signatures`` (a main account's request carries two, with a comma between) is Plivo's for ``url``."""
    if not signatures or not nonce:
        return False
    expected = sign(auth_token, url, nonce, form).encode()
    return any(hmac.compare_digest(s.strip().encode(errors="replace"), expected) for s in signatures.split(",")[:4])


async def signed_form(request: Request, settings: PhoneSettings, path: str) -> dict[str, str]:
    """The form of a request that Plivo has signed for ``path`` below ``phone.public_url``.

    Plivo signs no time, so a request can be sent again; it then gets what is worth nothing without Plivo's stream.

    Raises:
        ProblemError: 404, Plivo is not set up; 403, the signature is missing or wrong.
    """
    token = settings.plivo.auth_token
    if token is None or settings.public_url is None:
        raise off("Plivo", "phone.plivo.auth_token")
    form = parse_qsl((await request.body()).decode(errors="replace"), keep_blank_values=True)
    headers, url = request.headers, address_of(request, settings, path)
    nonce = headers.get("x-plivo-signature-v3-nonce")
    given = [headers.get("x-plivo-signature-v3"), headers.get("x-plivo-signature-ma-v3")]
    if not any(is_signed(s, token.get_secret_value(), url, nonce, form) for s in given):
        raise refusal(NAME, "signature", f"not signed by Plivo for {url}; see phone.public_url")
    return dict(form)


# What Plivo calls


@router.post(VOICE_PATH, response_class=Response, responses={200: {"content": {"application/xml": {}}}})
async def voice(request: Request) -> Response:
    """Take a call: Plivo asks what to do with it, and is told to connect its stream."""
    state = state_of(request)
    settings = state.settings.phone
    form = await signed_form(request, settings, VOICE_PATH)
    call_id, placed = form.get("CallUUID", ""), placed_of(request)
    if not call_id:
        raise ProblemError(422, "CallUUID is missing")
    state.phone.adopt(NAME, placed, call_id)
    if form.get("Machine") == "true":
        await state.phone.hang_up(NAME, call_id, MACHINE)
    if state.phone.standing(NAME, call_id) == "ended":
        return xml("<Hangup/>")
    outbound = placed is not None or form.get("Direction") == "outbound"
    token = await token_for(state, NAME, call_id, dialled=form.get("To"), caller=form.get("From"), outbound=outbound)
    if token is None:
        return xml('<Hangup reason="busy"/>')
    again = f"{settings.public_url}{with_placed(VOICE_PATH, placed)}"
    # Should the stream break off, Plivo goes on behind it, and asks again.
    return xml(
        f'<Stream bidirectional="true" keepCallAlive="true" contentType="{CONTENT_TYPE};rate={RATE_HZ}"',
        f" extraHeaders={quoteattr(f'token={token}')}>{escape(stream_address(settings, STREAM_PATH))}</Stream>",
        f'<Redirect method="POST">{escape(again)}</Redirect>',
    )


@router.post(STATUS_PATH, status_code=204)
async def status(request: Request) -> Response:
    """How a call is doing: one that is over, or was never answered, ends its session."""
    state = state_of(request)
    form = await signed_form(request, state.settings.phone, STATUS_PATH)
    call_id, reason = form.get("CallUUID", ""), _ENDS.get(form.get("CallStatus", ""))
    if form.get("Machine") == "true":
        reason = MACHINE
    await state.phone.told_of_end(NAME, placed_of(request), call_id, reason)
    return Response(status_code=204)


@router.websocket(STREAM_PATH)
async def take_stream(websocket: WebSocket) -> None:
    """The stream of a call that was announced to ``voice``."""
    state = state_of(websocket)
    if state.settings.phone.plivo.auth_token is None:
        await websocket.close(1008)
        return
    await stream.serve(websocket, PlivoStream(), state.phone)
