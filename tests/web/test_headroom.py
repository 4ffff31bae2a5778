"""A server that is late: what is refused, what goes on, and when calls are admitted again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from tests.web.test_webrtc_door import Peer

PUNCTUAL = {"max_loop_lag_ms": 40, "max_packet_late_ms": 0}
TALKING_S = 60.0


@contextlib.asynccontextmanager
async def blocked_loop(seconds: float) -> AsyncIterator[None]:
    """Something holds the event loop for ``seconds`` again and again."""

    async def block() -> None:
        while True:
            time.sleep(seconds)  # noqa: ASYNC251 - this is what is tested
            await asyncio.sleep(0.04)

    task = asyncio.create_task(block())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_is_late_refuses_calls_and_serves_those_that_it_has(serve):
    server = await serve(limits=PUNCTUAL)
    room = server.state.sessions.headroom
    async with server.http() as http, server.chat("?extras=1") as chat:
        token = (await http.post("/session")).json()["resume_token"]
        refused_before = await _metric(http, 'parley_calls_refused_total{by="headroom"}')
        async with blocked_loop(0.06):
            await server.until(lambda: not room.verdict.admits, "the lateness is noticed")
            said = (await http.get("/status")).json()["headroom"]
            assert (said["admits"], said["low"], said["left"]) == (False, True, 0.0)
            assert said["loop_lag_p99_s"] >= 0.04
            assert "ms late" in said["reason"]
            assert await _metric(http, "parley_headroom_admits") == 0
            assert room.low

            peer = Peer()
            try:
                for response in (await http.post("/session"), await http.post("/api/offer", json=await peer.offer())):
                    assert response.status_code == 429
                    assert int(response.headers["retry-after"]) == 10
                    problem = response.json()
                    assert problem["type"] == "urn:parley:problem:at-capacity"
                    assert "too busy for another call" in problem["detail"]
            finally:
                await peer.close()
            async with server.chat(hello=False) as refused:
                assert "too busy for another call" in (await refused.next())["message"]
                code, _ = await refused.closed()
                assert code == 1013
            assert await _metric(http, 'parley_calls_refused_total{by="headroom"}') == refused_before + 3

            # Who was let in before is let in again, and is served to the end.
            async with server.chat(f"?extras=1&resume={token}") as resumed:
                await resumed.until("ai_text")
                await resumed.send({"type": "end_conversation"})
                assert (await resumed.until("analysis"))["data"]
            await chat.send({"type": "text_input", "text": "my name is Anna"})
            await chat.until("turn_complete")
            await chat.send({"type": "end_conversation"})
            assert (await chat.until("analysis"))["data"]
        await server.until(lambda: room.verdict.admits, "the window passes")
        assert (await http.post("/session")).status_code == 201
        assert await _metric(http, "parley_headroom_admits") == 1


async def test_packets_that_leave_late_refuse_calls_too(serve):
    # The tutor talks all the while: over a WebSocket what waits for its time is what can be late.
    server = await serve(speech_s=TALKING_S, limits={"max_loop_lag_ms": 0, "max_packet_late_ms": 40})
    room = server.state.sessions.headroom
    async with server.http() as http, server.chat(), blocked_loop(0.06):
        await server.until(lambda: not room.verdict.admits, "the lateness is noticed")
        assert (await http.post("/session")).status_code == 429
        assert "the tutor's voice leaves up to" in (await http.get("/status")).json()["headroom"]["reason"]


async def test_packets_are_late_over_webrtc_too(serve):
    server = await serve(limits={"max_loop_lag_ms": 0, "max_packet_late_ms": 40})
    room = server.state.sessions.headroom
    peer = Peer()
    try:
        async with server.http() as http:
            answer = await http.post("/api/offer", json=await peer.offer())
            await peer.accept(answer.json())
            async with blocked_loop(0.06):
                await server.until(lambda: not room.verdict.admits, "the lateness is noticed")
                assert room.verdict.packet_late_p99_s >= 0.04
                assert (await http.post("/session")).status_code == 429
    finally:
        await peer.close()


async def _metric(http, name):
    lines = (await http.get("/metrics")).text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)
