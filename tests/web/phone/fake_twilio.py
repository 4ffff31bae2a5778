"""A stand-in for Twilio, written from its public pages: it calls the webhook, opens the stream, and checks every message by
them.

The pages: "Media Streams - WebSocket Messages", "TwiML: Stream", "Webhooks security", "Voice status callbacks".
"""

from __future__ import annotations

import audioop
import base64
import hashlib
import hmac
import json
import secrets
import xml.etree.ElementTree as ET
from typing import Any

import httpx

from tests.web.phone.caller import CALLER, NUMBER, Played, StreamCaller

AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = "AC" + "0" * 32


def sid(kind: str) -> str:
    return kind + secrets.token_hex(16)


def signature(url: str, form: dict[str, str], auth_token: str = AUTH_TOKEN) -> str:
    """As "Webhooks security" has it: the URL, then each name and value of the form in the order of the names."""
    signed = url
    for name in sorted(form):
        signed += name + form[name]
    return base64.b64encode(hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


class FakeTwilio(StreamCaller):
    """One call: ``await dial()``, then ``await connect()``, then ``say`` and ``press`` until ``hang_up``."""

    def __init__(self, url: str, public_url: str, *, number: str = NUMBER, mark_delay_s: float = 0.05) -> None:
        super().__init__(url, public_url, mark_delay_s=mark_delay_s)
        self.number = number
        self.call_id, self.stream_id = sid("CA"), sid("MZ")
        self._start: dict[str, Any] = {}

    # The webhooks

    def form(self, **more: str) -> dict[str, str]:
        return {
            "AccountSid": ACCOUNT,
            "ApiVersion": "2010-04-01",
            "CallSid": self.call_id,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "From": CALLER,
            "To": self.number,
            **more,
        }

    async def post(self, path: str, form: dict[str, str], *, signed: str | None = "") -> httpx.Response:
        """A webhook of ``path``; ``signed`` replaces the signature, ``None`` leaves it out."""
        headers = {}
        if signed is not None:
            headers["X-Twilio-Signature"] = signed or signature(f"{self.public_url}{path}", form)
        return await self._http.post(f"{self.url}{path}", data=form, headers=headers)

    async def dial(self, **more: str) -> ET.Element:
        """The TwiML that answers the call."""
        response = await self.post("/phone/twilio/voice", self.form(**more))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith(("application/xml", "text/xml"))
        root = ET.fromstring(response.text)
        assert root.tag == "Response"
        return root

    # The stream

    async def connect(self, twiml: ET.Element) -> FakeTwilio:
        """Open the stream that the TwiML asks for."""
        stream = twiml.find("Connect/Stream")
        assert stream is not None, ET.tostring(twiml)
        assert set(stream.attrib) <= {"url", "name", "statusCallback", "statusCallbackMethod", "track"}
        url = stream.attrib["url"]
        assert url.startswith("ws")
        assert "?" not in url, "Twilio passes no query on"
        parameters = {p.attrib["name"]: p.attrib["value"] for p in stream.findall("Parameter")}
        assert all(len(k) + len(v) < 500 for k, v in parameters.items())
        return await self.open(parameters)

    async def open(self, parameters: dict[str, str]) -> FakeTwilio:
        self.stream_id = sid("MZ")
        self._start = {
            "streamSid": self.stream_id,
            "accountSid": ACCOUNT,
            "callSid": self.call_id,
            "tracks": ["inbound"],
            "customParameters": parameters,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        await self._open("/phone/twilio/stream")
        return self

    def _message(self, event: str, **body: Any) -> str:
        return json.dumps({"event": event, "sequenceNumber": str(self.sequence()), "streamSid": self.stream_id, **body})

    def hello(self) -> list[str]:
        connected = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        return [connected, self._message("start", start=self._start)]

    def media(self, number: int, pcm16: bytes) -> str:
        payload = base64.b64encode(audioop.lin2ulaw(pcm16, 2)).decode()
        media = {"track": "inbound", "chunk": str(number), "timestamp": str(number * 20), "payload": payload}
        return self._message("media", media=media)

    def read(self, message: str | bytes) -> Played:
        assert isinstance(message, str), "Twilio takes text messages"
        data = json.loads(message)
        check_message(data, self.stream_id)
        match data["event"]:
            case "media":
                return "audio", audioop.ulaw2lin(base64.b64decode(data["media"]["payload"]), 2)
            case "mark":
                return "mark", data["mark"]["name"]
            case _:
                return "clear", ""

    def mark_message(self, name: str) -> str:
        return self._message("mark", mark={"name": name})

    def digit_message(self, digit: str) -> str:
        return self._message("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def bye(self) -> str:
        return self._message("stop", stop={"accountSid": ACCOUNT, "callSid": self.call_id})

    async def status(self, what: str, path: str | None = None) -> httpx.Response:
        return await self.post(path or "/phone/twilio/status", self.form(CallStatus=what, CallDuration="9"))

    def voice_message(self, ulaw: bytes) -> str:
        """A message with this audio and no number."""
        media = {"track": "inbound", "payload": base64.b64encode(ulaw).decode()}
        return json.dumps({"event": "media", "streamSid": self.stream_id, "media": media})


def check_message(message: dict[str, Any], stream_sid: str) -> None:
    """A message to Twilio is one of the three that its page documents, with nothing else in it."""
    assert message["streamSid"] == stream_sid
    match message["event"]:
        case "media":
            assert message.keys() == {"event", "streamSid", "media"}
            assert message["media"].keys() == {"payload"}
            audio = base64.b64decode(message["media"]["payload"], validate=True)
            assert audio, "empty audio"
            assert audio[:4] != b"RIFF", "no file header"
        case "mark":
            assert message.keys() == {"event", "streamSid", "mark"}
            assert message["mark"].keys() == {"name"}
        case "clear":
            assert message.keys() == {"event", "streamSid"}
        case other:
            raise AssertionError(f"Twilio knows no {other!r}")
