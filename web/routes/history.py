"""What a learner takes away from an earlier session: its transcript, as JSON or as Markdown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import JSONResponse

from agent.record import CallRecord
from web.problems import Problem, ProblemError
from web.routes.sessions import require_store
from web.schemas import ID_EXAMPLE
from web.state import state_of

router = APIRouter(tags=["sessions"])
_SPEAKERS = {"learner": "You", "tutor": "Tutor"}
_MARKS = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>#|"})


@router.get(
    "/api/sessions/{session_id}/export",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}, "text/markdown": {}}, "description": "The file."},
        404: {"model": Problem, "description": "There is no such session."},
        409: {"model": Problem, "description": "The session is still running."},
    },
)
async def export_session(
    request: Request,
    session_id: Annotated[str, Path(min_length=1, max_length=64, description="A session's id.", examples=[ID_EXAMPLE])],
    format: Annotated[Literal["json", "markdown"], Query(description="The file's format.")] = "json",
) -> Response:
    """One ended session as a file: all that is kept of it as JSON, or its transcript and corrections as Markdown."""
    state = state_of(request)
    if state.sessions.get(session_id) is not None:
        raise ProblemError(409, "the session is still running; end it first", kind="session-live", title="Still running")
    store = require_store(state)
    record: CallRecord | None = await store.get_session(session_id)
    if record is None:
        raise ProblemError(404, f"there is no session {session_id!r}", kind="unknown-session", title="Unknown session")
    # The id is that of a row that we wrote, so it is fit for a header.
    headers = {
        "Content-Disposition": f'attachment; filename="parley-{record.session_id}.{"md" if format == "markdown" else format}"'
    }
    if format == "markdown":
        return Response(to_markdown(record), media_type="text/markdown; charset=utf-8", headers=headers)
    return JSONResponse(to_json(record, await store.get_report(session_id)), headers=headers)


def to_json(record: CallRecord, report: dict[str, Any] | None) -> dict[str, Any]:
    """All that is kept of a session; ``*_at`` are seconds since the epoch, as in ``agent.record``."""
    return {
        "session_id": record.session_id,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "end_reason": record.end_reason,
        "door": record.door,
        "level": record.level,
        "lesson": record.lesson,
        "turns": [turn.to_dict() for turn in record.turns],
        "metrics": [row.to_dict() for row in record.metrics],
        "report": report,
    }


def to_markdown(record: CallRecord) -> str:
    """The transcript with each turn's corrections. What was said is escaped: it is text, never markup."""
    began = datetime.fromtimestamp(record.started_at, UTC)
    lines = [f"# {_plain(record.lesson)}, {record.level}", "", f"{began:%Y-%m-%d %H:%M} UTC", ""]
    for turn in record.turns:
        cut = " *(interrupted)*" if turn.interrupted else ""
        lines += [f"**{_SPEAKERS[turn.role]}:** {_plain(turn.text)}{cut}", ""]
        lines += [f"- {_plain(c.original)} → {_plain(c.correction)}: {_plain(c.explanation)}" for c in turn.corrections]
        lines += [""] if turn.corrections else []
    return "\n".join(lines)


def _plain(text: str) -> str:
    return " ".join(text.split()).translate(_MARKS)
