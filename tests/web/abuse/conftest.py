"""A real server for clients that mean no good, or do not know better."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.running_server import RunningServer, own_server, server  # noqa: F401  (fixtures)


@pytest.fixture(scope="session")
def server_env() -> dict[str, str]:
    """Nobody is turned away for coming often, and sessions whose client is gone do not wait for long. All doors are open."""
    return {
        "PARLEY_PHONE__PUBLIC_URL": "https://tutor.example.org",
        "PARLEY_PHONE__RETURN_WITHIN_S": "1",
        "PARLEY_PHONE__AUDIOSOCKET__PORT": "0",
        "PARLEY_PHONE__TWILIO__AUTH_TOKEN": "0" * 32,
        "PARLEY_PHONE__TELNYX__PUBLIC_KEY": "A" * 43 + "=",
        "PARLEY_PHONE__PLIVO__AUTH_TOKEN": "0" * 32,
        "PARLEY_PHONE__VONAGE__SIGNATURE_SECRET": "0" * 32,
        "PARLEY_PHONE__EXOTEL__STREAM_KEY": "a-stream-key",
        "PARLEY_PHONE__EXOTEL__STREAM_TOKEN": "a-stream-token",
        "PARLEY_SERVER__SESSION_RATE_PER_MINUTE": "100000",
        "PARLEY_SESSION__RESUME_FOR_S": "1",
        "PARLEY_LIMITS__MAX_CALLS": "40",
    }


@pytest.fixture
def nothing_broke(server: RunningServer) -> Iterator[RunningServer]:  # noqa: F811
    """The server, which afterwards has no call left and no failure in its log."""
    begun = server.log.stat().st_size
    yield server
    server.wait_for(lambda: calls(server) == 0, "every call ends", timeout_s=60)
    said = server.log.read_text()[begun:]
    failure = re.search(r"^.*(?:Traceback|\b(?:ERROR|CRITICAL)\b|was never retrieved)", said, re.M)
    assert failure is None, said[max(0, failure.start() - 500) : failure.end() + 3_000]


def calls(server: RunningServer) -> int:  # noqa: F811
    """Calls that are running or wait for their client."""
    status = server.get("/status")
    return int(status["active_calls"]) + int(status["detached_calls"])
