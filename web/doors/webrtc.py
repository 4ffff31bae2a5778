"""The WebRTC door: an SDP offer becomes a call, and only then an answer.

Admission and the building of the call happen before the answer, so that a browser is never connected to nothing: what fails is
an HTTP error. An offer with the ``pc_id`` of an open connection renews it; with that of a lost one, or with a resume token, it
goes on with the session over a new connection (there is no ICE restart).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from fastapi import APIRouter, Request
from loguru import logger

from pipeline.call import BuildFailed
from pipeline.engine import NotLoaded
from pipeline.options import BadOption
from pipeline.session import Session
from pipeline.sessions import UnknownLesson
from pipeline.transports.base import CallTransport
from pipeline.transports.signalling import BadOffer, UnknownPeer
from web.problems import Problem, ProblemError, not_loaded
from web.routes.sessions import bad_option, unknown_lesson
from web.schemas import Answer, Candidates, Done, Offer
from web.state import WebState, count_session, state_of

router = APIRouter(prefix="/api", tags=["webrtc"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The SDP cannot be answered."},
    404: {"model": Problem, "description": "The pc_id or the resume token belongs to no session (any more)."},
    422: {"model": Problem, "description": "An unknown lesson, or an option outside its range."},
    429: {"model": Problem, "description": "At capacity, unloaded, or too many sessions; see Retry-After."},
}


class Peers:
    """Which session a ``pc_id`` belongs to, for as long as the session lives."""

    def __init__(self, keep: int = 1_000) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._keep = keep

    def add(self, pc_id: str, session: Session) -> None:
        """A peer connection was made for ``session``; what belongs to ended sessions is forgotten."""
        for old in [p for p, s in self._sessions.items() if s.state == "ended"]:
            del self._sessions[old]
        self._sessions[pc_id] = session
        while len(self._sessions) > self._keep:
            self._sessions.popitem(last=False)

    def get(self, pc_id: str) -> Session | None:
        """The session of a peer connection; ``None`` where it has ended or never was."""
        session = self._sessions.get(pc_id)
        return session if session is not None and session.state != "ended" else None

    def __len__(self) -> int:
        return len(self._sessions)


@router.post("/offer", responses=_ERRORS)
async def offer(request: Request, body: Offer) -> Answer:
    """Start a call, or take one up, over a new peer connection."""
    count_session(request)
    return await answer_offer(state_of(request), body)


async def answer_offer(state: WebState, body: Offer, started: Session | None = None) -> Answer:
    """Answer an offer; ``started`` is the session that it is for, where it does not say so itself.

    Raises:
        ProblemError: there is no call, as the door's responses say.
    """
    if body.pc_id is not None and (renewed := await _renewed(state, body)) is not None:
        return renewed
    known = started or _known_session(state, body)
    tried: Session | None = None

    async def build(transport: CallTransport) -> Session:
        nonlocal tried
        session = known
        if session is None:
            session = await state.sessions.create(
                door="webrtc",
                level=body.data.level,
                lesson=body.data.lesson,
                record=body.data.record,
                options=body.data.options,
            )
        tried = session
        if session.state == "new":
            session.record.door = "webrtc"  # it may have been made over REST
            if not body.data.record:
                await session.decline_recording()
        hello = session.hello()
        await session.attach(transport)
        await transport.send(hello)
        return session

    try:
        # Refused before any work is done for the offer, and once more (with effect) while the call is built.
        if known is None:
            state.sessions.admit()
        answer, session = await state.signalling.offer(body.sdp, body.type, build)
    except BaseException as e:
        if tried is not None and (tried is not known or tried.state == "new"):
            await tried.discard()  # nothing else would end it
        problem = _as_problem(e)
        if problem is None:
            raise
        raise problem from e
    state.peers.add(answer["pc_id"], session)
    return _answer(answer["sdp"], answer["pc_id"], session)


@router.patch("/offer", responses={404: {"model": Problem, "description": "The pc_id belongs to no peer connection."}})
async def candidates(request: Request, body: Candidates) -> Done:
    """Candidates that were found after the offer (trickle ICE)."""
    try:
        await state_of(request).signalling.candidates(body.pc_id, [c.model_dump() for c in body.candidates])
    except UnknownPeer:
        raise _unknown_peer(body.pc_id) from None
    except BadOffer as e:
        raise ProblemError(400, str(e), kind="bad-candidate", title="Bad candidate") from None
    return Done()


def _answer(sdp: str, pc_id: str, session: Session) -> Answer:
    return Answer(
        sdp=sdp,
        pc_id=pc_id,
        session_id=session.id,
        resume_token=session.resume_token,
        recording=session.recording,
    )


async def _renewed(state: WebState, body: Offer) -> Answer | None:
    """The answer of a connection that is still open to a new offer of its client; ``None`` where it is not open."""

    async def build(_: CallTransport) -> Session:
        raise AssertionError("an open connection has its call")

    try:
        answer, session = await state.signalling.offer(
            body.sdp, body.type, build, pc_id=body.pc_id, restart_pc=bool(body.restart_pc)
        )
    except UnknownPeer:
        return None
    except BadOffer as e:
        raise _bad_offer(e) from e
    return _answer(answer["sdp"], answer["pc_id"], session)


def _bad_offer(e: BadOffer) -> ProblemError:
    return ProblemError(400, str(e), kind="bad-offer", title="The SDP cannot be answered")


def _known_session(state: WebState, body: Offer) -> Session | None:
    if body.data.token is not None:
        session = state.sessions.by_token(body.data.token)
        if session is None:
            raise ProblemError(
                404, "no session waits for this resume token; it has ended", kind="unknown-session", title="Unknown session"
            )
        return session
    if body.pc_id is not None:
        session = state.peers.get(body.pc_id)
        if session is None:
            raise _unknown_peer(body.pc_id)
        return session
    return None


def _unknown_peer(pc_id: str) -> ProblemError:
    return ProblemError(
        404,
        f"pc_id {pc_id[:40]!r} belongs to no session; offer without it to start one",
        kind="unknown-peer",
        title="Unknown peer",
    )


def _as_problem(e: BaseException) -> ProblemError | None:
    match e:
        case UnknownLesson():
            return unknown_lesson(e)
        case BadOption():
            return bad_option(e)
        case NotLoaded():
            return not_loaded(e, 429)  # clients repeat an offer at once after a 5xx
        case BadOffer():
            return _bad_offer(e)
        case BuildFailed():
            logger.error("a call could not be built: {}", e)
            return ProblemError(
                500, "the call could not be built; the server's log says why", kind="build-failed", title="Build failed"
            )
        case _:
            return None
