"""Loading and unloading the engines while the server runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from pipeline.loading import LoadFailed
from pipeline.sessions import CallsRunning
from web.problems import Problem, ProblemError
from web.routes.health import engine_infos
from web.schemas import EngineChoice, Models
from web.state import WebState, state_of

router = APIRouter(prefix="/models", tags=["models"])
_FAILED: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "An engine failed to load; which, and why."}}
_RUNNING: dict[int | str, dict[str, Any]] = {409: {"model": Problem, "description": "Sessions have not ended."}}


def _models(state: WebState) -> Models:
    return Models(ready=state.ready, engines=engine_infos(state))


@router.post("/load", responses=_FAILED)
async def load(request: Request, body: EngineChoice | None = None) -> Models:
    """Load and warm up engines, one after the other; answers when that is done. What is loaded stays as it is.

    It goes on when the client hangs up, and `GET /status` tells meanwhile.
    """
    state = state_of(request)
    try:
        await state.sessions.loader.load((body or EngineChoice()).stages)
    except LoadFailed as e:
        raise ProblemError(503, str(e), kind="load-failed", title="Loading failed") from None
    return _models(state)


@router.post("/unload", responses=_RUNNING)
async def unload(request: Request, body: EngineChoice | None = None) -> Models:
    """Release engines and their memory. Refused while a session has not ended; afterwards no call begins until a load."""
    state = state_of(request)
    try:
        await state.sessions.unload((body or EngineChoice()).stages)
    except CallsRunning as e:
        raise ProblemError(409, str(e), kind="calls-running", title="Calls are running") from None
    return _models(state)
