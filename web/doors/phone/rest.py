"""What this server asks of carriers through their REST APIs: to place a call, and to send a text.

After the pages "Calls resource" and "Messages resource" (Twilio), "Initiate an outbound call" and "Send a message" (Telnyx),
"Make a call" and "Send a message" (Plivo), "Create an outbound call" and "Messages API" (Vonage), and "Make a call" and
"Send SMS" (Exotel). No carrier's own client is needed for two requests.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from loguru import logger
from pydantic import SecretStr

from pipeline.settings.phone import PhoneSettings

TIMEOUT_S = 10.0
JWT_TTL_S = 300


class CarrierFailed(RuntimeError):
    """A carrier did not do what it was asked for; the text says why, and holds no secret.

    ``status`` is what it answered with, ``None`` where it gave no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Order:
    """A call to be placed. Numbers are E.164; the carrier asks ``answer_url`` what to do once the learner has answered."""

    to: str
    sender: str
    answer_url: str
    status_url: str
    ring_s: int
    detect_machines: bool


class CarrierApi(Protocol):
    """One carrier's REST API."""

    async def place(self, order: Order) -> str | None:
        """Place a call. Returns the carrier's name for it, where it says so at once.

        Raises:
            CarrierFailed: it is not placed.
        """
        ...

    async def text(self, to: str, sender: str, text: str) -> None:
        """Send a text message.

        Raises:
            CarrierFailed: it is not sent.
        """
        ...


def api_of(carrier: str, settings: PhoneSettings, http: httpx.AsyncClient) -> CarrierApi:
    """The API of ``carrier``, with the keys of the settings."""
    return _APIS[carrier](settings, http)


class _Api:
    """What the APIs have in common: requests, and what is read from an answer."""

    name = ""

    def __init__(self, settings: PhoneSettings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http

    async def _post(self, url: str, **request: Any) -> dict[str, Any]:
        try:
            response = await self._http.post(url, timeout=TIMEOUT_S, **request)
        except httpx.TimeoutException:
            raise CarrierFailed(f"{self.name} did not answer within {TIMEOUT_S:g} s") from None
        except httpx.HTTPError as e:
            raise CarrierFailed(f"{self.name} cannot be reached: {type(e).__name__}") from None
        try:
            data = response.json()
        except ValueError:
            data = {}
        if response.is_success:
            return data if isinstance(data, dict) else {}
        logger.warning("{} answered {} to a request: {}", self.name, response.status_code, response.text[:500])
        said = _message_in(data)
        raise CarrierFailed(f"{self.name} refused: {said or f'HTTP {response.status_code}'}", response.status_code)


class _Twilio(_Api):
    name = "Twilio"

    async def place(self, order: Order) -> str | None:
        form = {
            "To": order.to,
            "From": order.sender,
            "Url": order.answer_url,
            "Method": "POST",
            "StatusCallback": order.status_url,
            "StatusCallbackMethod": "POST",
            "Timeout": str(order.ring_s),
        }
        if order.detect_machines:
            form["MachineDetection"] = "Enable"
        return _id_in(await self._send("Calls", form), "sid")

    async def text(self, to: str, sender: str, text: str) -> None:
        await self._send("Messages", {"To": to, "From": sender, "Body": text})

    async def _send(self, what: str, form: dict[str, str]) -> dict[str, Any]:
        twilio = self._settings.twilio
        url = f"{twilio.api_url}/2010-04-01/Accounts/{twilio.account_sid}/{what}.json"
        return await self._post(url, data=form, auth=(twilio.account_sid or "", _shown(twilio.auth_token)))


class _Telnyx(_Api):
    name = "Telnyx"

    async def place(self, order: Order) -> str | None:
        body: dict[str, Any] = {
            "ApplicationSid": self._settings.telnyx.application_sid,
            "To": order.to,
            "From": order.sender,
            "Url": order.answer_url,
            "UrlMethod": "POST",
            "StatusCallback": order.status_url,
            "StatusCallbackMethod": "POST",
            "Timeout": order.ring_s,
        }
        if order.detect_machines:
            body["MachineDetection"] = "Enable"
        answer = await self._send(f"texml/Accounts/{self._settings.telnyx.account_sid}/Calls", body)
        return _id_in(answer, "call_sid") or _id_in(answer, "sid")

    async def text(self, to: str, sender: str, text: str) -> None:
        await self._send("messages", {"from": sender, "to": to, "text": text})

    async def _send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        telnyx = self._settings.telnyx
        headers = {"Authorization": f"Bearer {_shown(telnyx.api_key)}"}
        return await self._post(f"{telnyx.api_url}/v2/{path}", json=body, headers=headers)


class _Plivo(_Api):
    name = "Plivo"

    async def place(self, order: Order) -> str | None:
        body: dict[str, Any] = {
            "from": order.sender.lstrip("+"),
            "to": order.to.lstrip("+"),
            "answer_url": order.answer_url,
            "answer_method": "POST",
            "hangup_url": order.status_url,
            "hangup_method": "POST",
            "ring_timeout": order.ring_s,
        }
        if order.detect_machines:
            body["machine_detection"] = "hangup"
        await self._send("Call", body)
        return None  # the request has a name, the call gets another

    async def text(self, to: str, sender: str, text: str) -> None:
        await self._send("Message", {"src": sender.lstrip("+"), "dst": to.lstrip("+"), "text": text})

    async def _send(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        plivo = self._settings.plivo
        url = f"{plivo.api_url}/v1/Account/{plivo.auth_id}/{what}/"
        return await self._post(url, json=body, auth=(plivo.auth_id or "", _shown(plivo.auth_token)))


class _Vonage(_Api):
    name = "Vonage"

    async def place(self, order: Order) -> str | None:
        body: dict[str, Any] = {
            "to": [{"type": "phone", "number": order.to.lstrip("+")}],
            "from": {"type": "phone", "number": order.sender.lstrip("+")},
            "answer_url": [order.answer_url],
            "answer_method": "POST",
            "event_url": [order.status_url],
            "event_method": "POST",
            "ringing_timer": order.ring_s,
        }
        if order.detect_machines:
            body["machine_detection"] = "hangup"
        return _id_in(await self._send("v1/calls", body), "uuid")

    async def text(self, to: str, sender: str, text: str) -> None:
        body = {"message_type": "text", "channel": "sms", "to": to.lstrip("+"), "from": sender.lstrip("+"), "text": text}
        await self._send("v1/messages", body)

    async def _send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        vonage = self._settings.vonage
        token = vonage_token(vonage.application_id or "", _shown(vonage.private_key), now=time.time())
        headers = {"Authorization": f"Bearer {token}"}
        return await self._post(f"{vonage.api_url}/{path}", json=body, headers=headers)


class _Exotel(_Api):
    name = "Exotel"

    async def place(self, order: Order) -> str | None:
        exotel = self._settings.exotel
        form = {
            "From": order.to,  # whom it calls first, and connects to the flow
            "CallerId": order.sender,
            "Url": f"http://my.exotel.com/{exotel.account_sid}/exoml/start_voice/{exotel.app_id}",
            "CallType": "trans",
            "TimeOut": str(order.ring_s),
            "StatusCallback": order.status_url,
            "StatusCallbackEvents[0]": "terminal",
        }
        call = (await self._send("Calls/connect", form)).get("Call")
        return _id_in(call, "Sid") if isinstance(call, dict) else None

    async def text(self, to: str, sender: str, text: str) -> None:
        await self._send("Sms/send", {"From": sender, "To": to, "Body": text})

    async def _send(self, what: str, form: dict[str, str]) -> dict[str, Any]:
        exotel = self._settings.exotel
        url = f"{exotel.api_url}/v1/Accounts/{exotel.account_sid}/{what}.json"
        return await self._post(url, data=form, auth=(_shown(exotel.api_key), _shown(exotel.api_token)))


_APIS: dict[str, type[_Twilio | _Telnyx | _Plivo | _Vonage | _Exotel]] = {
    "twilio": _Twilio,
    "telnyx": _Telnyx,
    "plivo": _Plivo,
    "vonage": _Vonage,
    "exotel": _Exotel,
}
CARRIERS = tuple(_APIS)


def vonage_token(application_id: str, private_key: str, *, now: float) -> str:
    """A JSON web token (RFC 7519, RS256) of an application's, good for some minutes from ``now`` (seconds since the epoch).

    Raises:
        CarrierFailed: ``private_key`` is no RSA key in PEM.
    """
    try:
        key = load_pem_private_key(private_key.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise CarrierFailed("phone.vonage.private_key is no RSA key in PEM")
    claims = {"application_id": application_id, "iat": int(now), "exp": int(now) + JWT_TTL_S, "jti": secrets.token_hex(16)}
    signed = b".".join(_part(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return b".".join((signed, _part(key.sign(signed, PKCS1v15(), hashes.SHA256())))).decode()


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _shown(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


def _id_in(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) and 0 < len(value) <= 200 else None


def _message_in(data: Any) -> str | None:
    """What an error says, in whichever of the carriers' forms."""
    if isinstance(data, dict):
        errors = data.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            data = errors[0]
        nested = data.get("RestException")
        if isinstance(nested, dict):
            data = nested
        for key in ("detail", "message", "Message", "error", "title"):
            if isinstance(data.get(key), str) and data[key]:
                return str(data[key])[:200]
    return None
