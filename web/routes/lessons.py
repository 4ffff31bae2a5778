"""What a call can be about, and what a page needs to know before one."""

from __future__ import annotations

from fastapi import APIRouter, Request

from agent.record import LEVELS
from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from pipeline.options import OPTION_STAGES
from web.schemas import AudioRates, ClientConfig, IceServerInfo, IceServers, LessonInfo, Lessons, OptionInfo
from web.state import WebState, state_of

router = APIRouter(prefix="/api", tags=["lessons"])
_ROLES = {"llm": "tutor", "tts": "voice"}


def _lessons(state: WebState) -> list[LessonInfo]:
    return [
        LessonInfo(id=key, title=lesson.title, goal=lesson.goal, kind=lesson.kind, level=lesson.level)
        for key, lesson in state.sessions.lessons.items()
    ]


def _ice_servers(state: WebState) -> list[IceServerInfo]:
    return [IceServerInfo.model_validate(server) for server in state.signalling.ice_servers_for_client()]


def _options(state: WebState) -> list[OptionInfo]:
    infos = []
    for name, stage in OPTION_STAGES.items():
        limits, engine = getattr(state.settings.options, name), state.sessions.engines[stage]
        used = name in engine.honours
        infos.append(
            OptionInfo(
                name=name,
                min=limits.min,
                max=limits.max,
                default=limits.default,
                whole=isinstance(limits.default, int),
                used=used,
                reason=None if used else f"The {engine.name} {_ROLES[stage]} does not use it.",
            )
        )
    return infos


@router.get("/lessons")
async def lessons(request: Request) -> Lessons:
    """All lessons."""
    state = state_of(request)
    return Lessons(items=_lessons(state), default=state.settings.tutor.lesson)


@router.get("/ice-servers", response_model_exclude_none=True)
async def ice_servers(request: Request) -> IceServers:
    """STUN and TURN servers for a peer connection, with fresh credentials."""
    return IceServers(ice_servers=_ice_servers(state_of(request)))


@router.get("/client-config", response_model_exclude_none=True)
async def client_config(request: Request) -> ClientConfig:
    """Everything that a page asks before a call, in one answer."""
    state = state_of(request)
    settings = state.settings
    return ClientConfig(
        lessons=_lessons(state),
        levels=list(LEVELS),
        default_level=settings.tutor.level,
        default_lesson=settings.tutor.lesson,
        ice_servers=_ice_servers(state),
        audio=AudioRates(input_rate=INPUT_RATE_HZ, output_rate=OUTPUT_RATE_HZ),
        detach_after_s=settings.session.detach_after_s,
        resume_for_s=settings.session.resume_for_s,
        max_call_s=settings.limits.max_call_s,
        recording=settings.recording.enabled,
        upload_max_bytes=settings.upload.max_bytes,
        options=_options(state),
    )
