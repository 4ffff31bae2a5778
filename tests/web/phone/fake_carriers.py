"""Stand-ins for Telnyx, Plivo, Vonage and Exotel, written from their public pages.

Each calls the webhook, opens the stream that it is told to, gives its marks back as the carrier does, and checks every message
against the documents.
"""

from __future__ import annotations

import audioop
import base64
import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.web.phone.caller import CALLER, NUMBER, Played, StreamCaller


class FakeCarrier(StreamCaller):
    """One call: ``await connect()`` after ``await answer()``, then ``say`` and ``press`` until ``hang_up``."""

    name = ""

    def __init__(self, url: str, public_url: str, **options: Any) -> None:
        super().__init__(url, public_url)
        self.call_id = str(uuid.uuid4())
        self.stream_id = str(uuid.uuid4())
        self.caller = options.get("caller", CALLER)

    async def answer(self, path: str | None = None, **more: str) -> str:
        """Ask the webhook what to do with the call; the address of the stream, after a check of the whole answer."""
        raise NotImplementedError

    async def connect(self, address: str) -> FakeCarrier:
        host = urlsplit(self.public_url)._replace(scheme="wss").geturl()
        assert address.startswith(host), address
        await self._open(address.removeprefix(host))
        return self


def ulaw_of(payload: str) -> bytes:
    """A payload of µ-law as pcm16; it is whole pieces of 20 ms without a file's header."""
    encoded = base64.b64decode(payload, validate=True)
    assert encoded, "empty audio"
    assert len(encoded) % 160 == 0
    assert encoded[:4] != b"RIFF"
    return audioop.ulaw2lin(encoded, 2)


def text_of(message: str | bytes) -> dict[str, Any]:
    assert isinstance(message, str), "the carrier takes text messages"
    data: dict[str, Any] = json.loads(message)
    return data


def markup(response: httpx.Response) -> ET.Element:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith(("application/xml", "text/xml"))
    root = ET.fromstring(response.text)
    assert root.tag == "Response"
    return root


class FakeTelnyx(FakeCarrier):
    """Pages: "Stream call media over WebSocket", "TeXML: Stream", "Receiving webhooks"."""

    name = "telnyx"
    KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    SETTINGS: dict[str, Any] = {"public_key": PUBLIC_KEY}  # noqa: RUF012

    def __init__(self, url: str, public_url: str, **options: Any) -> None:
        super().__init__(url, public_url, **options)
        self.call_id = f"v3:{secrets.token_urlsafe(32)}"
        self.encoding = options.get("encoding", "PCMU")
        self.parameters: dict[str, str] = {}

    async def post(
        self, path: str, form: dict[str, str], *, signed: str | None = "", at: float | None = None
    ) -> httpx.Response:
        body, timestamp = urlencode(form).encode(), str(int(time.time() if at is None else at))
        headers = {"Content-Type": "application/x-www-form-urlencoded", "telnyx-timestamp": timestamp}
        if signed is not None:
            own = base64.b64encode(self.KEY.sign(timestamp.encode() + b"|" + body)).decode()
            headers["telnyx-signature-ed25519"] = signed or own
        return await self._http.post(f"{self.url}{path}", content=body, headers=headers)

    def form(self, **more: str) -> dict[str, str]:
        call = {
            "CallSid": self.call_id,
            "AccountSid": "f5586561-8ff0-4291-a51b-c7dfe4139ff9",
            "From": self.caller,
            "To": NUMBER,
        }
        return {**call, "CallStatus": "ringing", "Direction": "inbound", **more}

    async def dial(self, path: str | None = None, **more: str) -> ET.Element:
        return markup(await self.post(path or "/phone/telnyx/voice", self.form(**more)))

    async def answer(self, path: str | None = None, **more: str) -> str:
        root = await self.dial(path, **more)
        assert [e.tag for e in root] == ["Connect", "Redirect"]
        stream = root.find("Connect/Stream")
        assert stream is not None
        assert stream.attrib["bidirectionalMode"] == "rtp", "without it Telnyx plays MP3 only"
        assert stream.attrib["bidirectionalCodec"] == "PCMU"
        known = {"url", "track", "name", "codec", "bidirectionalMode", "bidirectionalCodec", "bidirectionalSamplingRate"}
        assert stream.attrib.keys() <= known
        self.parameters = {p.attrib["name"]: p.attrib["value"] for p in stream.findall("Parameter")}
        return stream.attrib["url"]

    async def status(self, what: str, path: str | None = None) -> httpx.Response:
        return await self.post(path or "/phone/telnyx/status", self.form(CallStatus=what))

    def hello(self) -> list[str]:
        start = {
            "user_id": "3E6F995F-85F7-4705-9741-53B116D28237",
            "call_control_id": self.call_id,
            "call_session_id": str(uuid.uuid4()),
            "from": self.caller,
            "to": NUMBER,
            "custom_parameters": self.parameters,
            "media_format": {"encoding": self.encoding, "sample_rate": 8000, "channels": 1},
        }
        return [
            json.dumps({"event": "connected", "version": "1.0.0"}),
            json.dumps({"event": "start", "sequence_number": "1", "stream_id": self.stream_id, "start": start}),
        ]

    def _message(self, event: str, **body: Any) -> str:
        return json.dumps({"event": event, "sequence_number": str(self.sequence()), "stream_id": self.stream_id, **body})

    def media(self, number: int, pcm16: bytes) -> str:
        encoded = audioop.lin2alaw(pcm16, 2) if self.encoding == "PCMA" else audioop.lin2ulaw(pcm16, 2)
        payload = base64.b64encode(encoded).decode()
        return self._message(
            "media", media={"track": "inbound", "chunk": str(number), "timestamp": str(20 * number), "payload": payload}
        )

    def read(self, message: str | bytes) -> Played:
        data = text_of(message)
        match data["event"]:
            case "media":
                assert data.keys() == {"event", "media"}
                assert data["media"].keys() == {"payload"}
                return "audio", ulaw_of(data["media"]["payload"])
            case "mark":
                assert data.keys() == {"event", "mark"}
                assert data["mark"].keys() == {"name"}
                return "mark", data["mark"]["name"]
            case other:
                assert data == {"event": "clear"}, other
                return "clear", ""

    def mark_message(self, name: str) -> str:
        return self._message("mark", mark={"name": name})

    def digit_message(self, digit: str) -> str:
        return self._message("dtmf", occurred_at="2026-11-21T12:00:00.000000Z", dtmf={"digit": digit})

    def bye(self) -> str:
        return self._message("stop", stop={"user_id": "3E6F995F", "call_control_id": self.call_id})


class FakePlivo(FakeCarrier):
    """Pages: "Audio Streaming", "XML: Stream", "Validating requests". A clear takes checkpoints away for good."""

    name = "plivo"
    marks_after_clear = False
    TOKEN = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    SETTINGS: dict[str, Any] = {"auth_token": TOKEN}  # noqa: RUF012

    def __init__(self, url: str, public_url: str, **options: Any) -> None:
        super().__init__(url, public_url, **options)
        self.extra_headers = ""

    async def post(self, path: str, form: dict[str, str], *, signed: str | None = "", key: str = TOKEN) -> httpx.Response:
        nonce = secrets.token_hex(10)
        bare, _, query = f"{self.public_url}{path}".partition("?")
        text = f"{bare}?{'&'.join('='.join(pair) for pair in sorted(parse_qsl(query)))}{'.' if query else ''}"
        for name in sorted(form):
            text += name + form[name]
        digest = hmac.new(key.encode(), f"{text}.{nonce}".encode(), hashlib.sha256).digest()
        headers = {"X-Plivo-Signature-V3-Nonce": nonce}
        if signed is not None:
            headers["X-Plivo-Signature-V3"] = signed or base64.b64encode(digest).decode()
        return await self._http.post(f"{self.url}{path}", data=form, headers=headers)

    def form(self, **more: str) -> dict[str, str]:
        # Plivo writes numbers without their plus sign.
        call = {"CallUUID": self.call_id, "From": self.caller.lstrip("+"), "To": NUMBER.lstrip("+"), "Direction": "inbound"}
        return {**call, "CallStatus": "in-progress", "Event": "StartApp", **more}

    async def dial(self, path: str | None = None, **more: str) -> ET.Element:
        return markup(await self.post(path or "/phone/plivo/voice", self.form(**more)))

    async def answer(self, path: str | None = None, **more: str) -> str:
        root = await self.dial(path, **more)
        stream = root.find("Stream")
        assert stream is not None
        assert stream.attrib["bidirectional"] == "true"
        assert stream.attrib["keepCallAlive"] == "true", "the call would end at once"
        assert stream.attrib["contentType"] == "audio/x-mulaw;rate=8000"
        self.extra_headers = stream.attrib["extraHeaders"]
        assert len(self.extra_headers) <= 512
        assert re.fullmatch(r"([A-Za-z0-9]+=[A-Za-z0-9]+,?)+", self.extra_headers), "Plivo passes on letters and digits"
        return (stream.text or "").strip()

    async def status(self, what: str, path: str | None = None) -> httpx.Response:
        return await self.post(path or "/phone/plivo/status", self.form(CallStatus=what, Event="Hangup", HangupCause="NORMAL"))

    def hello(self) -> list[str]:
        start = {
            "callId": self.call_id,
            "streamId": self.stream_id,
            "accountId": "MAXXXXXXXXXXXXXXXXXX",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        return [json.dumps({"event": "start", "sequenceNumber": 0, "start": start, "extra_headers": self.extra_headers})]

    def _message(self, event: str, **body: Any) -> str:
        return json.dumps({"event": event, "sequenceNumber": self.sequence(), "streamId": self.stream_id, **body})

    def media(self, number: int, pcm16: bytes) -> str:
        payload = base64.b64encode(audioop.lin2ulaw(pcm16, 2)).decode()
        stamp = str(1_700_000_000_000 + 20 * number)
        return self._message("media", media={"track": "inbound", "timestamp": stamp, "chunk": number, "payload": payload})

    def read(self, message: str | bytes) -> Played:
        data = text_of(message)
        match data["event"]:
            case "playAudio":
                assert data.keys() == {"event", "media"}
                assert data["media"].keys() == {"contentType", "sampleRate", "payload"}
                assert (data["media"]["contentType"], data["media"]["sampleRate"]) == ("audio/x-mulaw", 8000)
                return "audio", ulaw_of(data["media"]["payload"])
            case "checkpoint":
                assert data.keys() == {"event", "streamId", "name"}
                assert data["streamId"] == self.stream_id
                return "mark", data["name"]
            case _:
                assert data == {"event": "clearAudio", "streamId": self.stream_id}
                return "clear", ""

    def mark_message(self, name: str) -> str:
        return self._message("playedStream", name=name)

    def after_clear(self) -> str:
        return self._message("clearedAudio")

    def digit_message(self, digit: str) -> str:
        return self._message("dtmf", dtmf={"track": "inbound", "digit": digit, "timestamp": "1700000000000"})


class FakeVonage(FakeCarrier):
    """Pages: "WebSockets in the Vonage Voice API", "NCCO reference", "Decoding signed webhooks"."""

    name = "vonage"
    rate_hz = 16_000
    marks_after_clear = False
    SECRET = "vonage signature secret of thirty-two bytes"
    APPLICATION = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
    SETTINGS: dict[str, Any] = {"signature_secret": SECRET, "application_id": APPLICATION}  # noqa: RUF012

    def __init__(self, url: str, public_url: str, **options: Any) -> None:
        super().__init__(url, public_url, **options)
        self.headers: dict[str, str] = {}
        self.content_type = ""

    @staticmethod
    def jwt(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
        def part(data: dict[str, Any]) -> str:
            return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

        head = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}"
        signature = hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest()
        return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    async def post(self, path: str, body: dict[str, Any], *, signed: str | None = "", **claims: Any) -> httpx.Response:
        content = json.dumps(body, separators=(",", ":")).encode()
        own = {
            "iat": int(time.time()),
            "jti": str(uuid.uuid4()),
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(content).hexdigest(),
            "api_key": "a1b2c3d4",
            "application_id": self.APPLICATION,
            **claims,
        }
        headers = {"Content-Type": "application/json"}
        if signed is not None:
            headers["Authorization"] = f"Bearer {signed or self.jwt(own)}"
        return await self._http.post(f"{self.url}{path}", content=content, headers=headers)

    def body(self, **more: str) -> dict[str, Any]:
        call = {"uuid": self.call_id, "conversation_uuid": f"CON-{uuid.uuid4()}"}
        return {**call, "from": self.caller.lstrip("+"), "to": NUMBER.lstrip("+"), **more}

    async def dial(self, path: str | None = None, **more: str) -> list[dict[str, Any]]:
        response = await self.post(path or "/phone/vonage/voice", self.body(**more))
        assert response.status_code == 200, response.text
        actions: list[dict[str, Any]] = response.json()
        assert isinstance(actions, list)
        return actions

    async def answer(self, path: str | None = None, **more: str) -> str:
        (action,) = await self.dial(path, **more)
        assert action["action"] == "connect"
        (endpoint,) = action["endpoint"]
        assert endpoint.keys() == {"type", "uri", "content-type", "headers"}
        assert endpoint["type"] == "websocket"
        assert endpoint["content-type"] in ("audio/l16;rate=8000", "audio/l16;rate=16000")
        assert len(json.dumps(endpoint["headers"])) <= 512
        self.headers, self.content_type = endpoint["headers"], endpoint["content-type"]
        return str(endpoint["uri"])

    async def status(self, what: str, path: str | None = None) -> httpx.Response:
        return await self.post(path or "/phone/vonage/status", self.body(status=what, direction="inbound"))

    def hello(self) -> list[str]:
        return [json.dumps({"event": "websocket:connected", "content-type": self.content_type, **self.headers})]

    def media(self, number: int, pcm16: bytes) -> bytes:
        return pcm16

    def read(self, message: str | bytes) -> Played:
        if isinstance(message, bytes):
            assert len(message) == 640, "20 ms at 16 kHz"
            return "audio", message
        data = text_of(message)
        if data["action"] == "notify":
            assert data.keys() == {"action", "payload"}
            return "mark", json.dumps(data["payload"])
        assert data == {"action": "clear"}
        return "clear", ""

    def mark_message(self, name: str) -> str:
        return json.dumps({"event": "websocket:notify", "payload": json.loads(name)})

    def after_clear(self) -> str:
        return json.dumps({"event": "websocket:cleared"})

    def digit_message(self, digit: str) -> str:
        return json.dumps({"event": "websocket:dtmf", "digit": digit, "duration": 260})


class FakeExotel(FakeCarrier):
    """Pages: "WebSocket protocol", "Working with the Stream and Voicebot Applet"."""

    name = "exotel"
    rate_hz = 16_000
    piece_s = 0.1
    KEY, TOKEN = "a-user-for-exotel", "a-password-for-exotel"
    SETTINGS: dict[str, Any] = {"stream_key": KEY, "stream_token": TOKEN}  # noqa: RUF012

    def __init__(self, url: str, public_url: str, **options: Any) -> None:
        super().__init__(url, public_url, **options)
        self.parameters: dict[str, str] = {}

    async def dial(self, path: str | None = None, *, key: str | None = None, **more: str) -> httpx.Response:
        call = {"CallSid": self.call_id, "CallFrom": self.caller, "CallTo": NUMBER, "Direction": "incoming", **more}
        auth = (key or self.KEY, self.TOKEN)
        return await self._http.get(f"{self.url}{path or '/phone/exotel/voice'}", params=call, auth=auth)

    async def answer(self, path: str | None = None, **more: str) -> str:
        response = await self.dial(path, **more)
        assert response.status_code == 200, response.text
        assert response.json().keys() == {"url"}
        address: str = response.json()["url"]
        self.parameters = dict(parse_qsl(urlsplit(address).query))
        assert self.parameters.pop("sample-rate") == "16000"
        assert len(self.parameters) <= 3
        assert sum(len(k) + len(v) for k, v in self.parameters.items()) <= 256
        return address

    async def status(self, what: str, path: str | None = None) -> httpx.Response:
        form = {"CallSid": self.call_id, "EventType": "terminal", "Status": what}
        return await self._http.post(f"{self.url}{path or '/phone/exotel/status'}", data=form, auth=(self.KEY, self.TOKEN))

    def hello(self) -> list[str]:
        start = {
            "stream_sid": self.stream_id,
            "call_sid": self.call_id,
            "account_sid": "exotel1",
            "from": self.caller,
            "to": NUMBER,
            "custom_parameters": self.parameters,
            "media_format": {"encoding": "audio/x-raw", "sample_rate": "16000", "bit_rate": "16"},
        }
        message = {"event": "start", "sequence_number": "1", "stream_sid": self.stream_id, "start": start}
        return [json.dumps({"event": "connected"}), json.dumps(message)]

    def _message(self, event: str, **body: Any) -> str:
        return json.dumps({"event": event, "sequence_number": str(self.sequence()), "stream_sid": self.stream_id, **body})

    def media(self, number: int, pcm16: bytes) -> str:
        payload = base64.b64encode(pcm16).decode()
        return self._message("media", media={"chunk": str(number), "timestamp": str(100 * number), "payload": payload})

    def read(self, message: str | bytes) -> Played:
        data = text_of(message)
        assert data["stream_sid"] == self.stream_id
        match data["event"]:
            case "media":
                assert data.keys() == {"event", "stream_sid", "media"}
                assert data["media"].keys() == {"payload"}
                audio = base64.b64decode(data["media"]["payload"], validate=True)
                assert 3_200 <= len(audio) <= 100_000
                assert len(audio) % 320 == 0
                return "audio", audio
            case "mark":
                assert data.keys() == {"event", "stream_sid", "mark"}
                return "mark", data["mark"]["name"]
            case _:
                assert data == {"event": "clear", "stream_sid": self.stream_id}
                return "clear", ""

    def mark_message(self, name: str) -> str:
        return self._message("mark", mark={"name": name})

    def digit_message(self, digit: str) -> str:
        return self._message("dtmf", dtmf={"digit": digit, "duration": "100"})

    def bye(self) -> str:
        stop = {"call_sid": self.call_id, "account_sid": "exotel1", "reason": "callended"}
        return self._message("stop", stop=stop)


CARRIERS: dict[str, type[FakeCarrier]] = {c.name: c for c in (FakeTelnyx, FakePlivo, FakeVonage, FakeExotel)}


def settings_of(*names: str) -> dict[str, Any]:
    """The settings under which the stand-ins can call."""
    return {name: dict(CARRIERS[name].SETTINGS) for name in names}  # type: ignore[attr-defined]
