"""Sessions: made, listed, read, ended, deleted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from loguru import logger

from agent.record import CallRecord
from pipeline.options import BadOption
from pipeline.sessions import UnknownLesson
from pipeline.store.database import StoreError
from web.problems import Problem, ProblemError
from web.schemas import Ended, NewSession, SessionCreated, SessionDetail, SessionItem, SessionPage, iso_utc
from web.state import WebState, count_session, state_of

router = APIRouter(tags=["sessions"])
SessionId = Annotated[str, Path(min_length=1, max_length=64, description="A session's id.", examples=["9f86d081884c7d65"])]
MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such session."}}
_REFUSED: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "An unknown lesson, or an option outside its range."},
    429: {"model": Problem, "description": "At capacity, or too many sessions; see Retry-After."},
    503: {"model": Problem, "description": "An engine is unloaded; see Retry-After."},
}


def unknown_lesson(e: UnknownLesson) -> ProblemError:
    """The refusal of a lesson that does not exist."""
    return ProblemError(422, f"lesson: {e}", kind="unknown-lesson", title="Unknown lesson")


def bad_option(e: BadOption) -> ProblemError:
    """The refusal of an option outside its range."""
    return ProblemError(422, str(e), kind="bad-option", title="Option out of range")


def no_session(session_id: str) -> ProblemError:
    """The refusal of a session that does not exist."""
    return ProblemError(404, f"there is no session {session_id!r}", kind="unknown-session", title="Unknown session")


def require_store(state: WebState) -> Any:
    """The store; 503 as long as it is not open."""
    try:
        return state.sessions.store
    except RuntimeError as e:
        raise ProblemError(503, str(e), kind="loading", title="Loading", retry_after_s=1) from None


async def kept_record(state: WebState, session_id: str) -> CallRecord | None:
    """The record of a session that has ended: from memory as long as the store has not taken all of it."""
    store = require_store(state)
    waiting = state.sessions.journal.unwritten(session_id)
    record: CallRecord | None = waiting.record if waiting is not None else await store.get_session(session_id)
    return record


async def kept_report(state: WebState, session_id: str) -> dict[str, Any] | None:
    """The same for its report."""
    store = require_store(state)
    waiting = state.sessions.journal.unwritten(session_id)
    report: dict[str, Any] | None = waiting.report if waiting is not None else await store.get_report(session_id)
    return report


@router.post("/session", status_code=201, responses=_REFUSED)
async def create_session(request: Request, body: NewSession | None = None) -> SessionCreated:
    """A session that waits for a connection. Connect with its resume token before it expires."""
    state, wanted = state_of(request), body or NewSession()
    count_session(request)
    try:
        session = await state.sessions.create(
            door="rest", level=wanted.level, lesson=wanted.lesson, record=wanted.record, options=wanted.options
        )
    except UnknownLesson as e:
        raise unknown_lesson(e) from None
    except BadOption as e:
        raise bad_option(e) from None
    expires = iso_utc(time.time() + state.settings.session.resume_for_s)
    assert expires is not None
    return SessionCreated(
        session_id=session.id, resume_token=session.resume_token, expires=expires, recording=session.recording
    )


@router.delete("/session/{session_id}", responses=MISSING)
async def end_session(request: Request, session_id: SessionId) -> Ended:
    """End a live session; its report is the answer."""
    session = state_of(request).sessions.get(session_id)
    if session is None:
        raise no_session(session_id)
    return Ended(session_id=session.id, report=await session.end("ended over REST"))


@router.get("/api/sessions")
async def list_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200, description="Most sessions of a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Only sessions in which all of these words were said.")] = None,
) -> SessionPage:
    """All sessions, newest first, or those that match a search."""
    store = require_store(state_of(request))
    try:
        page = await store.list_sessions(limit=limit, cursor=cursor, said=q)
    except ValueError as e:
        raise ProblemError(422, f"cursor: {e}", kind="invalid-request") from None
    recordings = state_of(request).sessions.recordings
    recorded = await asyncio.to_thread(lambda: {s.id for s in page.items if recordings.has(s.id)})
    return SessionPage(items=[_item(s, recorded=s.id in recorded) for s in page.items], next=page.next)


@router.get("/api/sessions/{session_id}", responses=MISSING)
async def get_session(request: Request, session_id: SessionId) -> SessionDetail:
    """One session with its turns and metrics; of a live one, what has happened so far."""
    state = state_of(request)
    live = state.sessions.get(session_id)
    record = live.record if live else await kept_record(state, session_id)
    if record is None:
        raise no_session(session_id)
    recorded = None if live else await state.sessions.recordings.find(record.session_id)
    report = None if live else await kept_report(state, session_id)
    return SessionDetail(
        id=record.session_id,
        started_at=iso_utc(record.started_at) or "",
        ended_at=iso_utc(record.ended_at),
        door=record.door,
        level=record.level,
        lesson=record.lesson,
        turn_count=len(record.turns),
        end_reason=record.end_reason,
        live=live is not None,
        options=asdict(live.call_state.options) if live is not None else None,
        score=(report or {}).get("final_score"),
        recorded=recorded is not None,
        recording_started_at=iso_utc(recorded.started_at) if recorded is not None else None,
        turns=[_turn(t) for t in record.turns],
        metrics=[m.to_dict() for m in record.metrics],
    )


@router.delete(
    "/api/sessions/{session_id}",
    status_code=204,
    response_class=Response,
    responses={
        **MISSING,
        409: {"model": Problem, "description": "The session is still running."},
        503: {"model": Problem, "description": "The database cannot be written at the moment; see Retry-After."},
    },
)
async def delete_session(request: Request, session_id: SessionId) -> Response:
    """Delete all that is kept of a session that has ended: its sound, then its turns, metrics and report."""
    state = state_of(request)
    if state.sessions.get(session_id) is not None:
        raise ProblemError(409, "the session is still running; end it first", kind="session-live", title="Still running")
    store = require_store(state)
    if await kept_record(state, session_id) is None:
        raise no_session(session_id)
    try:
        # First, so that what cannot be deleted can still be found, and deleted later.
        await state.sessions.recordings.drop(session_id)
    except OSError as e:
        logger.error("the recording of {} could not be deleted: {}", session_id, e)
        raise ProblemError(500, "its recording could not be deleted; the server's log says why", kind="not-deleted") from e
    try:
        deleted = await store.delete_session(session_id)
        if state.sessions.journal.forget(session_id):
            # Something of it was still being written, and may be there only now.
            await store.delete_session(session_id)
            deleted = True
    except StoreError as e:
        if not e.passing:
            raise
        logger.error("{} could not be deleted: {}", session_id, e)
        detail = "the database cannot be written at the moment; try again"
        raise ProblemError(503, detail, kind="store-busy", title="Try again", retry_after_s=5) from e
    if not deleted:
        raise no_session(session_id)
    return Response(status_code=204)


def _item(s: Any, *, recorded: bool) -> SessionItem:
    return SessionItem(
        id=s.id,
        started_at=iso_utc(s.started_at) or "",
        ended_at=iso_utc(s.ended_at),
        door=s.door,
        level=s.level,
        lesson=s.lesson,
        turn_count=s.turn_count,
        score=s.score,
        recorded=recorded,
    )


def _turn(turn: Any) -> dict[str, Any]:
    data: dict[str, Any] = turn.to_dict()
    return {**data, "started_at": iso_utc(turn.started_at), "ended_at": iso_utc(turn.ended_at)}
