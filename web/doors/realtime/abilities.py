"""What the engines of this server can be asked for by a Realtime client, and what a client has left of its allowance."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import HTTPConnection

from web.doors.realtime.checks import Abilities
from web.state import WebState, address_of


def abilities(state: WebState) -> Abilities:
    """As the chosen engines say."""
    settings, engines = state.settings, state.sessions.engines
    llm, tts = engines["llm"], engines["tts"]
    briefs: frozenset[str] = getattr(llm, "briefs", frozenset())
    options = settings.options
    section = getattr(settings.tts, settings.tts.engine, None)
    return Abilities(
        engine=llm.name,
        instructions="instructions" in briefs,
        tools="tools" in briefs,
        max_tokens=(options.max_tokens.min, options.max_tokens.max) if "max_tokens" in llm.honours else None,
        speed=(options.speech_rate.min, options.speech_rate.max) if "speech_rate" in tts.honours else None,
        voice=str(getattr(section, "voice", "") or "default"),
        recogniser=engines["stt"].name,
    )


def rate_limits(state: WebState, connection: HTTPConnection) -> list[dict[str, Any]]:
    """New sessions that the client's address may still begin."""
    limit = state.settings.server.session_rate_per_minute
    left, reset_s = state.session_rate.left(address_of(connection), time.monotonic())
    return [{"name": "requests", "limit": limit, "remaining": int(left), "reset_seconds": round(reset_s, 1)}]
