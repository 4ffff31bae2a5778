"""Calls by SIP over a real server and a telephone of the tests' own: who is let in, what is heard, and how calls end."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from pipeline.metrics import prometheus
from tests.web.conftest import Running
from tests.web.phone.sip.telephone import Telephone, phoning

PHONE = {"sip": {"port": 0}}


def telephone(server: Running, **options: Any) -> Telephone:
    port = server.state.sip.port
    assert port is not None
    return Telephone(port, **options)


def session_of(server: Running) -> Any:
    entries = [e for (carrier, _), e in server.state.phone._entries.items() if carrier == "sip"]
    return server.state.sessions.get(entries[-1].session_id) if entries else None


def refused(why: str) -> float:
    return prometheus.REGISTRY.get_sample_value("parley_phone_refused_total", {"carrier": "sip", "why": why}) or 0.0


async def greeted(call: Telephone) -> None:
    assert await call.dial() == "200"
    await call.until(lambda: call.voiced_s > 0.1, "the greeting is heard")


async def report_of(server: Running, session_id: str) -> dict[str, Any]:
    async with server.http() as http:
        for _ in range(500):
            response = await http.get(f"/api/sessions/{session_id}/report")
            if response.status_code == 200:
                report: dict[str, Any] = response.json()
                return report
            await asyncio.sleep(0.02)
    raise AssertionError(f"no report: {response.text}")


async def test_it_does_not_listen_unless_a_port_is_set(serve):
    server = await serve()
    assert server.state.sip.port is None


@pytest.mark.parametrize("codec", [0, 8])
async def test_a_caller_is_greeted_and_hangs_up(serve, codec):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server, codec=codec)) as call:
        await greeted(call)
        session = session_of(server)
        assert session.record.door == "phone"
        await call.hang_up()
        await server.until(lambda: session.state == "ended", "the session ends")
        assert (await report_of(server, session.id)).keys() >= {"grammar_score", "mistakes"}
    await server.until(lambda: not server.state.sip.calls and not server.state.sip.agent.dialogs, "nothing is left")


async def test_hash_as_an_event_hangs_up_and_makes_the_report(serve):
    server = await serve(phone=PHONE)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        session = session_of(server)
        call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.messages[-1][0] == "BYE"
        assert (await report_of(server, session.id)).keys() >= {"grammar_score"}


async def test_2_makes_the_tutor_louder_once_a_press(serve):
    server = await serve(phone=PHONE, speech_s=6.0)
    async with phoning(telephone(server)) as call:
        await greeted(call)
        usual = np.abs(call.samples[-800:]).max()
        call.press("2")
        await call.until(lambda: np.abs(call.samples[-320:]).max() > 1.4 * usual, "it is louder")
        # One step is 4 dB: a factor of 1.58.
        assert np.abs(call.samples[-320:]).max() < 1.9 * usual
