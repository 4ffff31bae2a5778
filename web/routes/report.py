"""The report of a session: as data, as a page to print, and its plots."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from agent.analysis.page import CONTENT_SECURITY_POLICY, to_html
from agent.analysis.plots import plots
from web.problems import Problem, ProblemError
from web.routes.sessions import MISSING, SessionId, kept_record, kept_report, no_session
from web.state import WebState, state_of

router = APIRouter(tags=["sessions"])
_REFUSALS: dict[int | str, dict[str, Any]] = {
    **MISSING,
    409: {"model": Problem, "description": "The session is still running."},
}


@router.get(
    "/api/sessions/{session_id}/report",
    response_model=dict[str, Any],
    responses={200: {"content": {"text/html": {}}, "description": "The report."}, **_REFUSALS},
)
async def get_report(
    request: Request,
    session_id: SessionId,
    format: Annotated[Literal["json", "html"], Query(description="Data, or a page to print.")] = "json",
) -> Any:
    """The report of a session that has ended: as JSON, or as one HTML page that can be printed or kept."""
    state = state_of(request)
    report = await _report(state, session_id)
    if format == "json":
        return report
    live = state.sessions.get(session_id)
    record = live.record if live else await kept_record(state, session_id)
    if record is None:
        raise no_session(session_id)
    lesson = state.sessions.lessons.get(record.lesson)
    page = await asyncio.to_thread(to_html, report, record, title=lesson.title if lesson else record.lesson)
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/api/sessions/{session_id}/report/plots", responses=_REFUSALS)
async def get_plots(request: Request, session_id: SessionId) -> dict[str, str]:
    """The report's plots, SVG by name; a plot without data is left out. What was said is in none of them."""
    report = await _report(state_of(request), session_id)
    return await asyncio.to_thread(plots, report)


async def _report(state: WebState, session_id: str) -> dict[str, Any]:
    live = state.sessions.get(session_id)
    if live is not None:
        # A session has its report a moment before it has ended, and its client asks at once.
        if live.report is not None:
            return live.report
        raise ProblemError(
            409, "the session is still running; its report comes at its end", kind="session-live", title="Still running"
        )
    report = await kept_report(state, session_id)
    if report is None:
        if await kept_record(state, session_id) is None:
            raise no_session(session_id)
        raise ProblemError(404, "this session has no report: nobody spoke in it", kind="no-report", title="No report")
    return report
