"""The web application: every door and route, behind one guard.

``create_app`` builds it from the settings. It answers at once; engines load in the background, and ``/ready`` says when calls
can begin. Start it with ``web.serving.uvicorn_options``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from loguru import logger
from starlette.middleware.cors import CORSMiddleware

from pipeline.engine import Engine
from pipeline.engine_manager.launch import launches, with_addresses
from pipeline.engine_manager.manager import EngineManager, StartFailed
from pipeline.loading import LoadFailed
from pipeline.sessions import SessionManager
from pipeline.settings.tree import Settings
from pipeline.store.database import StoreError
from pipeline.transports.signalling import Signalling
from pipeline.transports.webrtc_warmup import warm_up
from web import problems
from web.auth import Authenticator
from web.doors import webrtc, websocket
from web.doors.phone import exotel, outbound, plivo, sms, telnyx, twilio, vonage
from web.doors.phone.audiosocket import AudioSocketServer
from web.doors.phone.desk import Desk
from web.doors.phone.outbound import Dialler
from web.doors.phone.sip.server import SipServer
from web.doors.realtime import calls as realtime_calls
from web.doors.realtime import client_secrets as realtime_secrets
from web.doors.realtime import websocket as realtime_websocket
from web.doors.realtime.client_secrets import ClientSecrets
from web.doors.rtvi import socket as rtvi_socket
from web.doors.rtvi import start as rtvi_start
from web.guard import Guard
from web.openapi import describe
from web.origin import HostPolicy, host_policy, parse_allowed_origins
from web.rate import RateLimiter
from web.routes import health, history, lessons, models, page, report, sessions, upload
from web.state import WebState
from web.turnstile import Turnstile

_ABOUT = """A self-hosted voice tutor for learners of English.

Talk with it over WebRTC (`POST /api/offer`) or the WebSocket `/ws/conversation` (pcm16 and JSON; see `docs/websocket.md`).
Errors are problem documents (RFC 9457). Times are ISO 8601 in UTC."""
_TAGS = [
    {"name": "page", "description": "The page and its login."},
    {"name": "health", "description": "How the process and its machine are doing."},
    {"name": "models", "description": "Loading and unloading the engines."},
    {"name": "lessons", "description": "What a call can be about."},
    {"name": "sessions", "description": "Live and past conversations."},
    {"name": "webrtc", "description": "The WebRTC door."},
    {"name": "rtvi", "description": "The RTVI door: `/ws/rtvi`, and what client SDKs ask before they connect."},
    {"name": "phone", "description": "What telephone carriers call, each request signed by its carrier."},
]


def create_app(settings: Settings, *, engines: Mapping[str, Engine] | None = None, page_dir: Path | None = None) -> FastAPI:
    """The application.

    ``engines`` replaces engines of the settings by stage, and ``page_dir`` the folder of the built page, for tests and
    benchmarks.

    Raises:
        ValueError: an origin of ``server.allowed_origins`` is none, or an engine is unknown or cannot be started.
    """
    settings = with_addresses(settings)
    origins = parse_allowed_origins(settings.server.allowed_origins)
    token = settings.auth.token.get_secret_value() if settings.auth.token is not None else None
    auth = Authenticator(token)
    per_minute = settings.server.session_rate_per_minute
    manager = SessionManager(settings, engines=engines)
    desk, dialler = Desk(settings, manager), Dialler(settings.phone)
    desk.after_call.append(sms.report_texter(settings.phone, dialler))
    state = WebState(
        settings=settings,
        sessions=manager,
        manager=EngineManager(launches(settings)),
        auth=auth,
        signalling=Signalling(settings.webrtc, detach_after_s=settings.session.detach_after_s),
        peers=webrtc.Peers(),
        phone=desk,
        dialler=dialler,
        audiosocket=AudioSocketServer(settings.phone.audiosocket, desk),
        sip=SipServer(settings.phone.sip, desk),
        session_rate=RateLimiter(per_minute, per_minute / 60),
        page_dir=page_dir or page.PAGE_DIR,
        client_secrets=ClientSecrets(),
    )
    app = FastAPI(
        title="Parley",
        version=page.app_version(),
        description=_ABOUT,
        openapi_tags=_TAGS,
        lifespan=_lifespan,
        # The pages of Swagger and ReDoc load scripts from elsewhere, which the page's policy forbids.
        docs_url=None,
        redoc_url=None,
    )
    app.state.parley = state
    app.state.sessions = state.sessions
    problems.install(app)
    for router in (
        page.router,
        health.router,
        models.router,
        lessons.router,
        sessions.router,
        report.router,
        history.router,
        upload.router,
        webrtc.router,
        websocket.router,
        realtime_websocket.router,
        realtime_secrets.router,
        realtime_calls.router,
        rtvi_socket.router,
        rtvi_start.router,
        twilio.router,
        telnyx.router,
        plivo.router,
        vonage.router,
        exotel.router,
        outbound.router,
        sms.router,
    ):
        app.include_router(router)
    app.router.routes.append(page.PageFiles(state.page_dir))
    hosts = host_policy(settings.server.host, machine_names(), settings.server.allowed_hosts)
    public = urlsplit(settings.phone.public_url).hostname if settings.phone.public_url else None
    app.add_middleware(
        Guard,
        hosts=hosts,
        origins=origins,
        auth=auth,
        max_body_bytes=settings.server.max_body_bytes,
        max_upload_bytes=settings.upload.max_bytes,
        client_secrets=state.client_secrets,
        carrier_hosts=HostPolicy(frozenset({public})) if public else None,
    )
    if settings.server.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[o.rstrip("/") for o in settings.server.allowed_origins],
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After", "Location"],
        )
    app.add_middleware(Turnstile)  # the last one is the outermost
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def machine_names() -> set[str]:
    """This machine's own names, without asking a name server (which could take seconds)."""
    name = socket.gethostname()
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: WebState = app.state.parley
    await state.audiosocket.start()
    await state.sip.start()
    # Not awaited: the server listens only after this function has yielded.
    state.loading = asyncio.create_task(_load(state), name="loading")
    try:
        yield
    finally:
        state.loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await state.loading
        state.audiosocket.stop_listening()
        state.sip.stop_listening()
        await state.sessions.close()
        await state.audiosocket.close()
        await state.sip.close()
        await state.phone.close()
        await state.dialler.close()
        await state.manager.close()
        await state.signalling.close()


async def _load(state: WebState) -> None:
    try:
        # Not at once with the engines, whose memory is measured while they load.
        await warm_up(state.settings.webrtc)
        if state.settings.models.preload:
            # A failure is told when the stage's own engine finds nobody there, or stands in for it.
            with contextlib.suppress(StartFailed):
                await state.manager.start()
        await state.sessions.start()
    except LoadFailed as e:
        logger.error("no calls until the engines are loaded (POST /models/load): {}", e)
    except StoreError as e:
        # A damaged or locked database: its text says what to do, and where in the code it was met does not help.
        state.start_error = str(e)
        logger.error("loading failed: {}", e)
    except Exception as e:
        state.start_error = f"{type(e).__name__}: {e}"
        logger.opt(exception=e).error("loading failed")
    else:
        if state.ready:
            logger.info("ready for calls")
        else:
            logger.warning("no calls yet: {}", state.manager.missing() or state.sessions.missing())
