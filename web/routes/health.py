"""How the process and its machine are doing."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.engine_manager.cards import read_cards
from pipeline.engine_manager.gpu import needs_of
from pipeline.headroom import Verdict
from pipeline.loading import UNLOADED_RETRY_S
from pipeline.settings.load import SettingsError
from web.problems import Problem, ProblemError
from web.routes.page import app_version
from web.schemas import (
    EngineInfo,
    Gpu,
    GpuEngine,
    GpuInfo,
    HeadroomInfo,
    Health,
    ProcessInfo,
    Ready,
    ReceptionInfo,
    Status,
    StoreInfo,
    SystemInfo,
)
from web.state import WebState, state_of

if TYPE_CHECKING:
    from pipeline.transports.webrtc_capture import Reception

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """Whether the process is alive. The only route that never asks for a token."""
    return Health()


@router.get("/ready", responses={503: {"model": Problem, "description": "Still loading, unloaded, or loading failed."}})
async def ready(request: Request) -> Ready:
    """Whether calls can begin."""
    state = state_of(request)
    if state.load_error is not None:
        raise ProblemError(503, f"loading failed: {state.load_error}", kind="load-failed", title="Loading failed")
    if (missing := state.sessions.missing()) is not None:
        raise ProblemError(503, missing, kind="unloaded", title="Unloaded", retry_after_s=UNLOADED_RETRY_S)
    if not state.ready:
        waiting = state.manager.missing() or "the engines are still loading"
        raise ProblemError(503, waiting, kind="loading", title="Loading", retry_after_s=1)
    return Ready()


@router.get("/status")
async def status(request: Request) -> Status:
    """The engines, the calls and the uptime."""
    state = state_of(request)
    return Status(
        ready=state.ready,
        version=app_version(),
        uptime_s=round(time.monotonic() - state.started_at, 3),
        active_calls=state.sessions.active,
        detached_calls=state.sessions.detached,
        max_calls=state.settings.limits.max_calls,
        tasks=len(asyncio.all_tasks()),
        loop_lag_worst_s=round(state.sessions.lag.worst_recent_s, 4),
        headroom=_headroom(state.sessions.headroom.verdict),
        engines=engine_infos(state),
        processes=process_infos(state),
        store=_store(state),
        receiving=[_reception(session.id, reception) for session, reception in state.signalling.receptions()],
    )


def _headroom(verdict: Verdict) -> HeadroomInfo:
    return HeadroomInfo(
        left=round(verdict.headroom, 3),
        admits=verdict.admits,
        low=verdict.low,
        reason=verdict.reason,
        loop_lag_p99_s=verdict.loop_lag_p99_s,
        packet_late_p99_s=verdict.packet_late_p99_s,
    )


def _reception(session_id: str, reception: Reception) -> ReceptionInfo:
    return ReceptionInfo(
        session_id=session_id,
        packets=reception.packets,
        lost=reception.lost,
        late=reception.late,
        duplicates=reception.duplicates,
        undecodable=reception.undecodable,
        concealed_ms=round(reception.concealed_s * 1000),
        restored_ms=round(reception.restored_s * 1000),
        depth_ms=round(reception.depth_s * 1000, 1),
        jitter_ms=round(reception.jitter_s * 1000, 1),
    )


def engine_infos(state: WebState) -> list[EngineInfo]:
    """Every engine with its state. One that has failed since it was loaded says so itself."""
    infos = []
    for stage, engine in state.sessions.engines.items():
        said, life = engine.status(), state.sessions.loader.life(stage)
        infos.append(
            EngineInfo(
                name=said.name,
                stage=said.stage,
                state=said.state if life.state == "ready" else life.state,
                error=life.error,
                load_s=life.load_s,
                memory_mb=life.memory_mb,
                honours=sorted(engine.honours),
                detail=said.detail,
            )
        )
    return infos


def process_infos(state: WebState) -> list[ProcessInfo]:
    """The engines that are processes of their own and were started here."""
    return [
        ProcessInfo(
            name=s.name, url=s.url, state=s.state, pid=s.pid, restarts=s.restarts, progress=s.progress or None, error=s.error
        )
        for s in state.manager.statuses()
    ]


def _store(state: WebState) -> StoreInfo:
    try:
        journal = state.sessions.journal
    except RuntimeError:
        return StoreInfo()
    return StoreInfo(waiting=journal.waiting, error=journal.error)


@router.get("/gpu")
async def gpu(request: Request) -> GpuInfo:
    """The GPUs, by nvidia-smi, and what the engines that were started here are to take of them."""
    state = state_of(request)
    cards, reason = await asyncio.to_thread(read_cards)
    engines = await asyncio.to_thread(_gpu_engines, state, {card.index: card.total_gb for card in cards})
    return GpuInfo(available=bool(cards), reason=reason, gpus=[Gpu(**asdict(card)) for card in cards], engines=engines)


def _gpu_engines(state: WebState, sizes_gb: Mapping[int, float | None]) -> list[GpuEngine]:
    try:
        needs = needs_of(state.settings)
    except SettingsError:  # An engine's own file went after the start.
        return []
    states = {server.name: server.state for server in state.manager.statuses()}
    found = []
    for need in needs:
        # A share of a card of unknown size is an unknown amount.
        size_gb = sizes_gb.get(need.card) or state.settings.gpu.memory_gb or math.nan
        takes_gb = need.takes_gb(size_gb)
        known_gb = None if takes_gb is None or math.isnan(takes_gb) else round(takes_gb, 1)
        found.append(GpuEngine(name=need.name, gpu=need.card, memory_gb=known_gb, state=states.get(need.name, "stopped")))
    return found


@router.get("/system")
async def system(request: Request) -> SystemInfo:
    """CPU, memory, disk and this process."""
    return await asyncio.to_thread(_system, state_of(request).settings.data_dir)


def _system(data_dir: Path) -> SystemInfo:
    memory, process = psutil.virtual_memory(), psutil.Process()
    place = data_dir.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    with process.oneshot():
        try:
            open_files = process.num_fds()
        except (AttributeError, psutil.Error):
            open_files = None
        return SystemInfo(
            platform=platform.platform(),
            python=platform.python_version(),
            cpu_count=os.cpu_count() or 1,
            cpu_percent=psutil.cpu_percent(),
            load_average=[round(x, 2) for x in psutil.getloadavg()],
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            disk_free_bytes=shutil.disk_usage(place).free,
            process_rss_bytes=process.memory_info().rss,
            process_threads=process.num_threads(),
            process_open_files=open_files,
        )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """Prometheus exposition."""
    from pipeline.metrics import prometheus

    body, content_type = prometheus.render()
    return Response(body, media_type=content_type)


@router.get("/config")
async def config(request: Request) -> dict[str, Any]:
    """The settings in force, secrets masked."""
    from pipeline.settings.load import masked

    return masked(state_of(request).settings)
