"""Calls through Twilio over a real server and a stand-in for Twilio: who is let in, what is heard, and how calls end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.web.conftest import Running
from tests.web.phone.fake_twilio import AUTH_TOKEN, FakeTwilio, phoning

PUBLIC = "https://tutor.example.org"
PHONE = {"public_url": PUBLIC, "twilio": {"auth_token": AUTH_TOKEN}}


def caller(server: Running, **options: Any) -> FakeTwilio:
    return FakeTwilio(server.url, PUBLIC, **options)


def session_of(server: Running, call: FakeTwilio) -> Any:
    entry = server.state.phone._entries["twilio", call.call_sid]
    return server.state.sessions.get(entry.session_id)


async def report_of(server: Running, call: FakeTwilio) -> dict[str, Any]:
    """The report in the store, once it is there."""
    session_id = server.state.phone._entries["twilio", call.call_sid].session_id
    async with server.http() as http:

        async def look() -> httpx.Response:
            return await http.get(f"/api/sessions/{session_id}/report")

        for _ in range(500):
            if (response := await look()).status_code == 200:
                return response.json()
            await asyncio.sleep(0.02)
    raise AssertionError(f"no report: {response.text}")


async def test_a_caller_is_greeted_at_once_and_can_hang_up(serve):
    server = await serve(phone=PHONE)
    async with phoning(caller(server)) as call:
        await call.connect(await call.dial())
        session = session_of(server, call)
        await call.until(lambda: call.heard.voiced_s >= 0.28, "the greeting is heard")
        assert session.record.door == "phone"
        assert call.heard.voiced_s == pytest.approx(0.3, abs=0.04)
        await call.until(lambda: call.returned, "marks come back")
        await call.hang_up()
        await report_of(server, call)
        assert session.record.end_reason == "hung up by the caller"
        # Twilio asks once more what to do behind <Connect>.
        assert [e.tag for e in await call.dial()] == ["Hangup"]
