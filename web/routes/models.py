"""Loading and unloading the engines while the server runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from pipeline.engine_manager.manager import StartFailed
from pipeline.loading import LoadFailed
from pipeline.sessions import CallsRunning
from web.problems import Problem, ProblemError
from web.routes.health import engine_infos, process_infos
from web.schemas import EngineChoice, Models
from web.state import WebState, state_of

router = APIRouter(prefix="/models", tags=["models"])
_FAILED: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "An engine failed to load; which, and why."}}
_RUNNING: dict[int | str, dict[str, Any]] = {409: {"model": Problem, "description": "Sessions have not ended."}}


def _models(state: WebState) -> Models:
    return Models(ready=state.ready, engines=engine_infos(state), processes=process_infos(state))


@router.post("/load", responses=_FAILED)
async def load(request: Request, body: EngineChoice | None = None) -> Models:
    """Start and load engines, one after the other; answers when that is done. What is loaded stays as it is.

    It goes on when the client hangs up, and `GET /status` tells meanwhile.
    """
    state, stages = state_of(request), (body or EngineChoice()).stages
    failed = []
    # A stage may do without its process, with another engine in its place, so it is loaded all the same.
    for load_them in (state.manager.start, state.sessions.loader.load):
        try:
            await load_them(stages)
        except (StartFailed, LoadFailed) as e:
            failed.append(str(e))
    if failed:
        raise ProblemError(503, "; ".join(failed), kind="load-failed", title="Loading failed")
    return _models(state)


@router.post("/unload", responses=_RUNNING)
async def unload(request: Request, body: EngineChoice | None = None) -> Models:
    """Release engines and their memory, and end their processes. Refused while a session has not ended.

    Afterwards no call begins until a load.
    """
    state, stages = state_of(request), (body or EngineChoice()).stages
    try:
        await state.sessions.unload(stages)
    except CallsRunning as e:
        raise ProblemError(409, str(e), kind="calls-running", title="Calls are running") from None
    await state.manager.stop(stages)
    return _models(state)
