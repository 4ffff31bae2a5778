"""``POST /start``: where an RTVI client SDK asks for a bot and learns how to connect to it, as from pipecat's runner."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.brief import Brief
from pipeline.options import BadOption
from pipeline.session import Session
from pipeline.sessions import UnknownLesson
from web.auth import bearer_of
from web.doors.webrtc import answer_offer
from web.doors.webrtc import candidates as add_candidates
from web.problems import Problem, ProblemError
from web.routes.sessions import MISSING, SessionId, bad_option, no_session, unknown_lesson
from web.schemas import Answer, Candidates, Done, IceServerInfo, NewSession, Offer
from web.state import WebState, count_session, state_of

router = APIRouter(tags=["rtvi"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "An unknown transport or lesson, or what the tutor's engine cannot follow."},
    429: {"model": Problem, "description": "At capacity, or too many sessions; see Retry-After."},
    503: {"model": Problem, "description": "An engine is unloaded; see Retry-After."},
}
_MAX_TOOLS = 64


class StartBody(NewSession):
    """What the call is to be: a lesson, or what the client says in place of the tutor."""

    model_config = ConfigDict(extra="ignore")

    instructions: str | None = Field(None, max_length=32_768, description="Who answers, in place of the tutor.")
    tools: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=_MAX_TOOLS,
        description="Functions that the client runs, as in OpenAI's chat completions.",
    )


class Start(BaseModel):
    """What a client SDK is asked to send as `requestData` of its `startBotAndConnect`."""

    model_config = ConfigDict(extra="ignore")

    transport: Literal["webrtc", "websocket"] = "webrtc"
    body: StartBody = Field(default_factory=StartBody)


class IceConfig(BaseModel):
    """STUN and TURN servers, as the small WebRTC transport takes them."""

    iceServers: list[IceServerInfo]


class Started(BaseModel):
    """How to connect. For WebRTC: `sessionId` and `iceConfig`; for a WebSocket: `wsUrl`, and `token` where one is needed.

    The WebSocket transport refuses an answer with anything else in it.
    """

    sessionId: str | None = None
    iceConfig: IceConfig | None = None
    wsUrl: str | None = None
    token: str | None = None


@router.post("/start", responses=_ERRORS, response_model_exclude_none=True)
async def start(request: Request, response: Response, body: Start | None = None) -> Started:
    """Make a session that waits for its client; it ends by itself where nobody connects."""
    state, wanted = state_of(request), body or Start()
    count_session(request)
    brief = _brief(state, wanted.body)
    session = await _create(state, wanted.body)
    session.call_state.brief = brief
    response.headers["Cache-Control"] = "no-store"
    if wanted.transport == "webrtc":
        servers = [IceServerInfo.model_validate(s) for s in state.signalling.ice_servers_for_client()]
        return Started(sessionId=session.id, iceConfig=IceConfig(iceServers=servers) if servers else None)
    url = request.url.replace(
        scheme="wss" if request.url.scheme == "https" else "ws",
        path=request.scope.get("root_path", "") + "/ws/rtvi",
        query=f"resume={session.resume_token}",
    )
    # The caller's own, as the SDK can put it nowhere but into the socket's address.
    token = bearer_of(request.headers.get("authorization")) if state.auth.required else None
    return Started(wsUrl=str(url), token=token)


@router.post("/sessions/{session_id}/api/offer", responses=MISSING)
async def offer(request: Request, session_id: SessionId, body: Offer) -> Answer:
    """The offer of a client that was told `sessionId`: as at `POST /api/offer`."""
    state = state_of(request)
    return await answer_offer(state, body, _waiting(state, session_id))


@router.patch("/sessions/{session_id}/api/offer", responses=MISSING)
async def candidates(request: Request, session_id: SessionId, body: Candidates) -> Done:
    """Its candidates: as at `PATCH /api/offer`."""
    return await add_candidates(request, body)


def _waiting(state: WebState, session_id: str) -> Session:
    session = state.sessions.get(session_id)
    if session is None or session.state == "ended":
        raise no_session(session_id)
    return session


def _brief(state: WebState, wanted: StartBody) -> Brief | None:
    if wanted.instructions is None and not wanted.tools:
        return None
    engine = state.sessions.engines["llm"]
    follows: frozenset[str] = getattr(engine, "briefs", frozenset())
    for what, given in (("instructions", wanted.instructions is not None), ("tools", bool(wanted.tools))):
        if given and what not in follows:
            raise ProblemError(
                422, f"{what}: the engine {engine.name!r} cannot follow them", kind="not-followed", title="Not followed"
            )
    return Brief(instructions=wanted.instructions, tools=tuple(wanted.tools))


async def _create(state: WebState, wanted: StartBody) -> Session:
    try:
        return await state.sessions.create(
            door="rest", level=wanted.level, lesson=wanted.lesson, record=wanted.record, options=wanted.options
        )
    except UnknownLesson as e:
        raise unknown_lesson(e) from None
    except BadOption as e:
        raise bad_option(e) from None
