"""An audio file as a turn of a running call."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from loguru import logger

from pipeline.session import NotInCall, UploadBusy
from pipeline.stt.recognition import RecogniserError
from pipeline.upload import KINDS, TooLong, UnknownKind, UploadError, decode
from web.problems import Problem, ProblemError
from web.routes.sessions import require_store
from web.schemas import ID_EXAMPLE, Uploaded
from web.state import state_of

router = APIRouter(tags=["sessions"])
_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such session."},
    409: {"model": Problem, "description": "The session is not in a call, or another file is being recognised."},
    413: {"model": Problem, "description": "The file is too large or too long."},
    415: {"model": Problem, "description": f"Not {KINDS}."},
    422: {"model": Problem, "description": "The file is damaged, silent, or no word could be made out."},
    503: {"model": Problem, "description": "The recogniser failed; trying again may help."},
}


@router.post(
    "/api/sessions/{session_id}/audio",
    responses=_RESPONSES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"The file itself ({KINDS}).",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/octet-stream", "audio/*")
            },
        }
    },
)
async def upload_audio(
    request: Request,
    session_id: Annotated[str, Path(min_length=1, max_length=64, description="A session's id.", examples=[ID_EXAMPLE])],
) -> Uploaded:
    """Say something in a running call with a file: it is recognised, and the tutor answers it."""
    state = state_of(request)
    session = state.sessions.get(session_id)
    if session is None:
        if await require_store(state).get_session(session_id) is None:
            raise ProblemError(404, f"there is no session {session_id!r}", kind="unknown-session", title="Unknown session")
        raise _not_in_call("the session has ended")
    if session.state != "attached":
        raise _not_in_call("no client is in this session's call")
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise ProblemError(415, "send the file itself as the body, not a multipart form", kind="unsupported-audio")
    limits = state.settings.upload
    data = await request.body()
    if len(data) > limits.max_bytes:
        raise ProblemError(413, f"the file has {len(data)} bytes, at most {limits.max_bytes} are taken", kind="audio-too-large")
    try:
        pcm16 = await asyncio.to_thread(decode, data, limits.max_s)
        heard = await session.upload(pcm16)
    except UnknownKind as e:
        raise ProblemError(415, str(e), kind="unsupported-audio") from None
    except TooLong as e:
        raise ProblemError(413, str(e), kind="audio-too-long") from None
    except UploadError as e:
        raise ProblemError(422, str(e), kind="unusable-audio") from None
    except NotInCall as e:
        raise _not_in_call(str(e)) from None
    except UploadBusy as e:
        raise ProblemError(409, str(e), kind="upload-busy", title="Busy") from None
    except RecogniserError as e:
        logger.warning("an uploaded file could not be recognised: {}", e)
        raise ProblemError(503, f"the recogniser failed: {e}", kind="recogniser-failed", retry_after_s=2) from None
    if not heard.text:
        raise ProblemError(422, "no word could be made out in the file", kind="nothing-heard")
    return Uploaded(
        text=heard.text,
        words=[{"text": w.text, "start_s": w.start_s, "end_s": w.end_s, "confidence": w.confidence} for w in heard.words],
        audio_s=round(len(pcm16) / 32_000, 3),
    )


def _not_in_call(detail: str) -> ProblemError:
    return ProblemError(409, detail, kind="not-in-call", title="Not in a call")
