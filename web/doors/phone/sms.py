"""A text with the link to the report when a call has ended, and the page behind the link.

The link needs no login: it names the session and the time until which it is good, and is signed with a key that is derived from
the carrier's own secrets, so that it outlives a restart of the server and ends with a change of the secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Any

from fastapi import APIRouter, Request
from loguru import logger
from pydantic import SecretStr
from starlette.responses import Response

from pipeline.metrics import prometheus
from pipeline.settings.phone import PhoneSettings
from web.doors.phone.desk import AfterCall, PhoneEntry
from web.doors.phone.outbound import Dialler, may_call
from web.doors.phone.rest import CARRIERS, CarrierFailed
from web.problems import ProblemError
from web.routes.report import get_report
from web.state import state_of

REPORT_PATH = "/phone/report"
_TOKEN = re.compile(r"([0-9a-f]{8,64})\.([0-9]{1,12})\.([0-9a-f]{64})")

router = APIRouter(tags=["phone"])


def link_token(session_id: str, good_until: int, secrets: list[SecretStr]) -> str:
    """The end of a link: the session, the time in seconds since the epoch until which it is good, and the signature."""
    return f"{session_id}.{good_until}.{_sign(f'{session_id}.{good_until}', secrets)}"


def read_token(token: str, keys: list[list[SecretStr]]) -> tuple[str, int] | None:
    """The session of a link and the time until which it is good; ``None`` where none of ``keys`` has signed it."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    signed = f"{found[1]}.{found[2]}"
    if not any(hmac.compare_digest(found[3], _sign(signed, secrets)) for secrets in keys if secrets):
        return None
    return found[1], int(found[2])


def _sign(text: str, secrets: list[SecretStr]) -> str:
    key = hashlib.sha256(b"parley report link" + b"\0".join(s.get_secret_value().encode() for s in secrets)).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _secrets_of(settings: PhoneSettings, carrier: str) -> list[SecretStr]:
    return list(getattr(settings, carrier).secrets) if carrier in CARRIERS else []


def report_texter(settings: PhoneSettings, dialler: Dialler) -> AfterCall:
    """What sends the text after a call. A number that may not be texted gets none."""

    async def send(entry: PhoneEntry, report: dict[str, Any]) -> None:
        sms, secrets = settings.sms, _secrets_of(settings, entry.carrier)
        if not sms.enabled or sms.from_number is None or not secrets or not may_call(entry.caller or "", sms.prefixes):
            return
        token = link_token(entry.session_id, int(time.time() + 3600 * sms.link_ttl_h), secrets)
        text = sms.text.replace("{link}", f"{settings.public_url}{REPORT_PATH}/{token}")
        try:
            await dialler.api(entry.carrier).text(entry.caller or "", sms.from_number, text)
        except CarrierFailed as e:
            prometheus.ERRORS.labels("phone").inc()
            logger.error("the text with a report's link was not sent: {}", e)

    return send


@router.get(f"{REPORT_PATH}/{{token}}", response_class=Response, responses={200: {"content": {"text/html": {}}}})
async def linked_report(request: Request, token: str) -> Any:
    """The report behind a link that was sent by text, as a page."""
    settings = state_of(request).settings.phone
    read = read_token(token, [_secrets_of(settings, carrier) for carrier in CARRIERS])
    if read is None:
        prometheus.PHONE_REFUSED.labels("report", "token").inc()
        raise ProblemError(404, "this link leads nowhere")
    session_id, good_until = read
    if time.time() > good_until:
        raise ProblemError(410, "this link was good for some time only", kind="link-expired", title="Link expired")
    page: Response = await get_report(request, session_id, "html")
    page.headers["Cache-Control"] = "no-store"
    page.headers["X-Robots-Tag"] = "noindex"
    page.headers["Referrer-Policy"] = "no-referrer"
    return page
