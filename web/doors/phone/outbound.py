"""Calls that this server places: ``POST /api/phone/calls``. What follows the answer is the stream door's, as with any call."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Request
from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agent.record import Level
from pipeline.metrics import prometheus
from pipeline.sessions import UnknownLesson
from pipeline.settings.carriers import E164, OutboundSettings
from pipeline.settings.phone import PhoneSettings
from pipeline.transports.bucket import Bucket
from web.doors.phone.desk import PhoneEntry, Wanted
from web.doors.phone.rest import CarrierApi, CarrierFailed, Order, api_of
from web.doors.phone.webhooks import PLACED
from web.problems import Problem, ProblemError
from web.routes.sessions import unknown_lesson
from web.state import WebState, count_session, state_of

router = APIRouter(tags=["phone"])
_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "The number is not among those that may be called."},
    404: {"model": Problem, "description": "This server places no calls."},
    409: {"model": Problem, "description": "The number is being called."},
    422: {"model": Problem, "description": "No number, or an unknown lesson."},
    429: {"model": Problem, "description": "At capacity, or too many calls; see Retry-After."},
    502: {"model": Problem, "description": "The carrier refused, or cannot be reached."},
}


class NewCall(BaseModel):
    """A call to be placed."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[str, StringConstraints(pattern=E164)] = Field(
        description="The learner's number, as E.164 has it: a plus sign, country and number.", examples=["+15550199"]
    )
    lesson: str | None = Field(None, max_length=64, description="A lesson's id; none: that of calls by phone.")
    level: Level | None = Field(None, description="The learner's level; none: that of calls by phone.")


class PlacedCall(BaseModel):
    """A call that the learner's telephone rings for."""

    session_id: str = Field(description="Its session, which ends where nobody answers.", examples=["9f86d081884c7d65"])
    to: str = Field(description="The number that is called.", examples=["+15550199"])
    carrier: str = Field(description="Who calls it.", examples=["twilio"])


class Dialler:
    """Places calls, and remembers who is being called. One for a process."""

    def __init__(self, settings: PhoneSettings) -> None:
        self._settings = settings
        rate = settings.outbound.per_minute
        self._allowance = Bucket(rate, rate / 60)
        self._http: httpx.AsyncClient | None = None
        self._calling: dict[str, PhoneEntry | None] = {}

    def api(self, carrier: str) -> CarrierApi:
        """A carrier's API, over connections that are kept."""
        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False, follow_redirects=False)
        return api_of(carrier, self._settings, self._http)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    def take(self, now: float) -> None:
        """Count a call against the allowance.

        Raises:
            ProblemError: 429, it is used up.
        """
        if not self._allowance.take(now):
            rate = self._settings.outbound.per_minute
            raise ProblemError(
                429,
                f"more than {rate} calls a minute; see phone.outbound.per_minute",
                kind="too-many-calls",
                title="Too many calls",
                retry_after_s=self._allowance.retry_after_s(now),
            )

    @contextlib.contextmanager
    def calling(self, number: str) -> Iterator[Callable[[PhoneEntry], None]]:
        """Nobody is rung up twice: ``number`` is taken until the block is left, and if it gave a call, until that has ended.

        Raises:
            ProblemError: 409, a call to ``number`` has not ended.
        """
        self._calling = {n: e for n, e in self._calling.items() if e is None or _is_open(e)}
        if number in self._calling:
            raise ProblemError(409, f"a call to {number} has not ended", kind="being-called", title="Being called")
        self._calling[number] = None

        def keep(entry: PhoneEntry) -> None:
            self._calling[number] = entry

        try:
            yield keep
        finally:
            if self._calling.get(number) is None:
                self._calling.pop(number, None)


def _is_open(entry: PhoneEntry) -> bool:
    return entry.session is not None and entry.session.state != "ended"


def may_call(number: str, prefixes: list[str]) -> bool:
    """Whether a number begins as one of ``prefixes`` does."""
    return any(number.startswith(prefix) for prefix in prefixes)


def _outbound(state: WebState) -> tuple[str, str, OutboundSettings]:
    outbound = state.settings.phone.outbound
    if outbound.carrier is None or outbound.from_number is None:
        raise ProblemError(
            404,
            "this server places no calls: phone.outbound.carrier is not set",
            kind="outbound-off",
            title="Outbound calls are off",
        )
    return outbound.carrier, outbound.from_number, outbound


@router.post("/api/phone/calls", status_code=201, responses=_REFUSALS)
async def place_call(request: Request, body: NewCall) -> PlacedCall:
    """Call a learner. The session waits until the call is answered; where it is not, the session ends without a report."""
    state = state_of(request)
    carrier, sender, outbound = _outbound(state)
    if not may_call(body.to, outbound.prefixes):
        prometheus.PHONE_REFUSED.labels(carrier, "prefix").inc()
        raise ProblemError(
            403,
            f"{body.to} begins with none of phone.outbound.prefixes",
            kind="number-not-allowed",
            title="Number not allowed",
        )
    phone = state.settings.phone
    if body.lesson is not None and state.ready and body.lesson not in state.sessions.lessons:
        there_are = ", ".join(sorted(state.sessions.lessons))
        raise unknown_lesson(UnknownLesson(f"unknown lesson {body.lesson!r}; there are: {there_are}"))
    with state.dialler.calling(body.to) as keep:
        count_session(request)
        state.dialler.take(time.monotonic())
        entry = await state.phone.reserve(carrier, body.to, Wanted(body.lesson or phone.lesson, body.level or phone.level))
        keep(entry)
    base, about = f"{phone.public_url}/phone/{carrier}", f"{PLACED}={entry.call_id}"
    order = Order(
        to=body.to,
        sender=sender,
        answer_url=f"{base}/voice?{about}",
        status_url=f"{base}/status?{about}",
        ring_s=outbound.ring_s,
        detect_machines=outbound.hang_up_on_machines,
    )
    try:
        call_id = await state.dialler.api(carrier).place(order)
    except BaseException as e:
        if entry.session is not None:
            await entry.session.discard()
        if not isinstance(e, CarrierFailed):
            raise
        prometheus.ERRORS.labels("phone").inc()
        raise ProblemError(502, str(e), kind="carrier-failed", title="The carrier did not place the call") from e
    if call_id is not None:
        state.phone.adopt(carrier, entry.call_id, call_id)
    logger.info("calling {}… through {}", body.to[:-4], carrier)
    return PlacedCall(session_id=entry.session_id, to=body.to, carrier=carrier)
