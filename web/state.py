"""What the routes and doors of one process share. It lies in ``app.state.parley``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from starlette.requests import HTTPConnection

from pipeline.engine_manager.manager import EngineManager
from pipeline.sessions import SessionManager
from pipeline.settings.tree import Settings
from web.auth import Authenticator
from web.problems import ProblemError
from web.rate import RateLimiter

if TYPE_CHECKING:
    from pipeline.transports.signalling import Signalling
    from web.doors.phone.audiosocket import AudioSocketServer
    from web.doors.phone.desk import Desk
    from web.doors.phone.outbound import Dialler
    from web.doors.phone.sip.server import SipServer
    from web.doors.realtime.client_secrets import ClientSecrets
    from web.doors.webrtc import Peers


@dataclass(slots=True)
class WebState:
    """Everything that outlives a request."""

    settings: Settings
    sessions: SessionManager
    manager: EngineManager
    """The engines that this process started."""
    auth: Authenticator
    signalling: Signalling
    peers: Peers
    phone: Desk
    dialler: Dialler
    audiosocket: AudioSocketServer
    sip: SipServer
    session_rate: RateLimiter
    page_dir: Path
    client_secrets: ClientSecrets
    """Ephemeral keys of the Realtime doors."""
    started_at: float = field(default_factory=time.monotonic)
    """Monotonic seconds."""
    loading: asyncio.Task[None] | None = None
    start_error: str | None = None
    """Why the server cannot take calls whatever is loaded."""

    @property
    def load_error(self) -> str | None:
        """Why calls cannot begin, where something has failed."""
        return self.start_error or self.manager.failures() or self.sessions.loader.failures()

    @property
    def ready(self) -> bool:
        """Whether calls can begin."""
        return self.sessions.ready and self.start_error is None and self.manager.ready


def state_of(connection: HTTPConnection) -> WebState:
    """The state of the app that answers ``connection``."""
    return cast(WebState, connection.app.state.parley)


def address_of(connection: HTTPConnection) -> str:
    """The client's address, as the key of its rate limits."""
    return connection.client.host if connection.client else "unknown"


def count_session(connection: HTTPConnection) -> None:
    """Count a new session against the client's allowance.

    Raises:
        ProblemError: 429, the allowance is used up.
    """
    state, address, now = state_of(connection), address_of(connection), time.monotonic()
    if not state.session_rate.take(address, now):
        raise ProblemError(
            429,
            f"more than {state.settings.server.session_rate_per_minute} sessions a minute from {address}",
            kind="too-many-sessions",
            title="Too many sessions",
            retry_after_s=state.session_rate.retry_after_s(address, now),
        )
