"""What the webhooks of carriers share: the address that was signed, refusals that are counted, the token for a stream."""

from __future__ import annotations

import re

from fastapi import Request
from loguru import logger
from starlette.responses import Response

from pipeline.engine import AtCapacity
from pipeline.metrics import prometheus
from pipeline.settings.phone import PhoneSettings
from web.problems import ProblemError
from web.state import WebState

FRESH_S = 300.0
"""Age of a signature, either way, up to which it is taken: the carriers' own advice."""
PLACED = "placed"
"""The query parameter by which a carrier's request is known to be about a call that this server has placed."""
HUNG_UP = "hung up by the caller"
NOT_REACHED = "the learner was not reached"
MACHINE = "a machine answered"
_PLAIN_NUMBER = re.compile(r"[1-9][0-9]{6,14}")


def address_of(request: Request, settings: PhoneSettings, path: str) -> str:
    """The address that the carrier has called, as the carrier knows it: ``path`` below ``phone.public_url``."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{settings.public_url}{path}{query}"


def stream_address(settings: PhoneSettings, path: str) -> str:
    """Where the carrier's stream is to connect."""
    return f"ws{(settings.public_url or '').removeprefix('http')}{path}"


def off(carrier: str, setting: str) -> ProblemError:
    """The answer where a carrier is not set up."""
    return ProblemError(404, f"calls through {carrier} are off: {setting} is not set")


def refusal(carrier: str, why: str, detail: str) -> ProblemError:
    """Counts a request that its carrier has not signed, and answers it."""
    prometheus.PHONE_REFUSED.labels(carrier, why).inc()
    logger.warning("a request to the door of {} was refused: {}", carrier, detail)
    return ProblemError(403, detail, kind="not-signed", title="Not signed")


def is_fresh(timestamp: float | None, now: float) -> bool:
    """Whether a signature of ``timestamp`` (seconds since the epoch) is young enough at ``now``."""
    return timestamp is not None and abs(now - timestamp) <= FRESH_S


def e164(number: str | None) -> str | None:
    """A number with its plus sign, which some carriers leave out; what is no number stays as it is."""
    text = (number or "").strip()
    return f"+{text}" if _PLAIN_NUMBER.fullmatch(text) else text or None


def with_placed(path: str, placed: str | None) -> str:
    """``path`` for a further request about the same call."""
    return f"{path}?{PLACED}={placed}" if placed else path


def placed_of(request: Request) -> str | None:
    """Which placed call a request is about."""
    placed = request.query_params.get(PLACED, "")
    return placed if placed.isalnum() else None


async def token_for(
    state: WebState, carrier: str, call_id: str, *, dialled: str | None, caller: str | None, outbound: bool = False
) -> str | None:
    """The token that the call's stream must show; ``None``, and counted, where there is no place for it."""
    if outbound:
        caller, dialled = dialled, caller
    try:
        return await state.phone.expect(carrier, call_id, dialled=e164(dialled), caller=e164(caller))
    except AtCapacity as e:
        logger.warning("a call by phone was turned away: {}", e)
        prometheus.PHONE_REFUSED.labels(carrier, "capacity").inc()
        return None


def xml(*elements: str) -> Response:
    """A carrier's markup: ``elements`` in a ``Response``."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><Response>{"".join(elements)}</Response>'
    return Response(text, media_type="application/xml", headers={"Cache-Control": "no-store"})
