"""What a learner takes away from an earlier session: its transcript, its sound, or both."""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse

from agent.record import CallRecord
from pipeline.recording.archive import Recorded
from web.problems import Problem, ProblemError
from web.routes.sessions import kept_record, kept_report
from web.schemas import ID_EXAMPLE
from web.state import WebState, state_of

router = APIRouter(tags=["sessions"])
_SPEAKERS = {"learner": "You", "tutor": "Tutor"}
_MARKS = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>#|"})


@router.get(
    "/api/sessions/{session_id}/export",
    response_class=Response,
    responses={
        200: {
            "content": {"application/json": {}, "text/markdown": {}, "audio/*": {}, "application/zip": {}},
            "description": "The file.",
        },
        404: {"model": Problem, "description": "There is no such session, or it was not recorded."},
        409: {"model": Problem, "description": "The session is still running."},
    },
)
async def export_session(
    request: Request,
    session_id: Annotated[str, Path(min_length=1, max_length=64, description="A session's id.", examples=[ID_EXAMPLE])],
    format: Annotated[Literal["json", "markdown", "audio", "zip"], Query(description="The file's format.")] = "json",
) -> Response:
    """One ended session as a file: all that is kept as JSON, the transcript and corrections as Markdown, the recording, or
    all of these in a ZIP (without sound where it was not recorded)."""
    state = state_of(request)
    record = await _ended(state, session_id)
    # The id is that of a row that we wrote, so it is fit for a header.
    name = f"parley-{record.session_id}"
    if format == "audio":
        recorded = await _recorded(state, record.session_id)
        return FileResponse(recorded.path, media_type=recorded.media_type, filename=name + recorded.path.suffix)
    if format == "markdown":
        return Response(to_markdown(record), media_type="text/markdown; charset=utf-8", headers=_attached(f"{name}.md"))
    data = to_json(record, await kept_report(state, session_id))
    if format == "json":
        return JSONResponse(data, headers=_attached(f"{name}.json"))
    sound = await state.sessions.recordings.find(record.session_id)
    path = await asyncio.to_thread(_zip, name, data, to_markdown(record), sound.path if sound else None)
    return FileResponse(
        path, media_type="application/zip", filename=f"{name}.zip", background=BackgroundTask(path.unlink, missing_ok=True)
    )


@router.head("/api/sessions/{session_id}/audio", include_in_schema=False)
@router.get(
    "/api/sessions/{session_id}/audio",
    response_class=FileResponse,
    responses={
        200: {"content": {"audio/flac": {}, "audio/ogg": {}}, "description": "Learner left, tutor right."},
        206: {"description": "The part that was asked for with Range."},
        404: {"model": Problem, "description": "There is no such session, or it was not recorded."},
        409: {"model": Problem, "description": "The session is still running."},
    },
)
async def session_audio(
    request: Request,
    session_id: Annotated[str, Path(min_length=1, max_length=64, description="A session's id.", examples=[ID_EXAMPLE])],
) -> Response:
    """The recording of an ended session, or a range of it."""
    state = state_of(request)
    record = await _ended(state, session_id)
    recorded = await _recorded(state, record.session_id)
    return FileResponse(recorded.path, media_type=recorded.media_type)


async def _ended(state: WebState, session_id: str) -> CallRecord:
    if state.sessions.get(session_id) is not None:
        raise ProblemError(409, "the session is still running; end it first", kind="session-live", title="Still running")
    record = await kept_record(state, session_id)
    if record is None:
        raise ProblemError(404, f"there is no session {session_id!r}", kind="unknown-session", title="Unknown session")
    return record


async def _recorded(state: WebState, session_id: str) -> Recorded:
    recorded = await state.sessions.recordings.find(session_id)
    if recorded is None:
        raise ProblemError(404, "this session was not recorded", kind="not-recorded", title="Not recorded")
    return recorded


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _zip(name: str, data: dict[str, Any], markdown: str, sound: FilePath | None) -> FilePath:
    with tempfile.NamedTemporaryFile(prefix="parley-", suffix=".zip", delete=False) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}/session.json", json.dumps(data, indent=2, ensure_ascii=False))
            archive.writestr(f"{name}/transcript.md", markdown)
            if sound is not None:
                archive.write(sound, f"{name}/{sound.name}", zipfile.ZIP_STORED)
        return FilePath(file.name)


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
