"""``/api/offer``: a real peer connection over loopback, and every way in which an offer is refused before it is answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

LIVENESS_S = 20.0


class Peer:
    """A browser's part: one track each way, and a data channel."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection()
        self.channel = self.pc.createDataChannel("chat")
        self.pc.addTrack(AudioStreamTrack())
        self.heard = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self.pc.on("track", self._on_track)

    def _on_track(self, track: Any) -> None:
        self._listening = asyncio.create_task(self._listen(track))

    async def _listen(self, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if np.abs(frame.to_ndarray()).max() > 1_000:
                    self.heard.set()

    async def offer(self) -> dict[str, str]:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return {"sdp": self.pc.localDescription.sdp, "type": "offer"}

    async def accept(self, answer: dict[str, Any]) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    async def close(self) -> None:
        await self.pc.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    one = Peer()
    yield one
    await one.close()


@pytest.fixture
async def other_peer() -> AsyncIterator[Peer]:
    one = Peer()
    yield one
    await one.close()


def assert_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:parley:problem:{kind}"
    return problem


def counts(server) -> tuple[int, int, int]:
    sessions = server.state.sessions
    return sessions.active, sessions.detached, server.state.signalling.peers


async def test_an_offer_becomes_a_call_that_is_heard(serve, peer):
    server = await serve(speech_s=2.0)
    async with server.http() as http:
        body = {**await peer.offer(), "request_data": {"level": "advanced", "lesson": "introductions"}}
        response = await http.post("/api/offer", json=body)
        assert response.status_code == 200
        answer = response.json()
        assert answer.keys() == {"sdp", "type", "pc_id", "session_id", "resume_token", "recording"}
        session = server.state.sessions.get(answer["session_id"])
        assert (session.record.door, session.record.level, session.state) == ("webrtc", "advanced", "attached")
        await peer.accept(answer)
        peer.channel.on("open", lambda: peer.channel.send('{"type":"ping"}'))
        await asyncio.wait_for(peer.heard.wait(), LIVENESS_S)
        ended = await http.delete(f"/session/{answer['session_id']}")
        assert ended.status_code == 200
        await server.until(lambda: counts(server) == (0, 0, 0), "the call is gone")


async def test_an_offer_may_set_options_within_their_ranges(serve, peer):
    server = await serve()
    async with server.http() as http:
        body = {**await peer.offer(), "request_data": {"speech_rate": 9}}
        problem = assert_problem(await http.post("/api/offer", json=body), 422, "bad-option")
        assert problem["detail"] == "speech_rate must be a number from 0.7 to 1.5, not 9"
        await server.until(lambda: counts(server) == (0, 0, 0), "nothing is left of it")
        body["request_data"] = {"speech_rate": 1.2, "max_tokens": 100}
        answer = (await http.post("/api/offer", json=body)).json()
        options = server.state.sessions.get(answer["session_id"]).call_state.options
        assert (options.speech_rate, options.max_tokens, options.temperature) == (1.2, 100, 0.7)


async def test_the_client_librarys_spelling_and_unknown_fields_are_taken(serve, peer):
    server = await serve()
    async with server.http() as http:
        body = {**await peer.offer(), "requestData": {"level": "intermediate", "theirs": 1}, "pc_id": None, "future": True}
        answer = (await http.post("/api/offer", json=body)).json()
        assert server.state.sessions.get(answer["session_id"]).record.level == "intermediate"


async def test_candidates_are_taken_or_refused(serve, peer):
    server = await serve()
    async with server.http() as http:
        answer = (await http.post("/api/offer", json=await peer.offer())).json()
        candidate = {
            "candidate": "candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host",
            "sdp_mid": "0",
            "sdp_mline_index": 0,
        }
        good = await http.patch("/api/offer", json={"pc_id": answer["pc_id"], "candidates": [candidate]})
        assert (good.status_code, good.json()) == (200, {"status": "success"})
        bad = {**candidate, "candidate": "candidate:nonsense"}
        assert_problem(
            await http.patch("/api/offer", json={"pc_id": answer["pc_id"], "candidates": [bad]}), 400, "bad-candidate"
        )
        assert_problem(await http.patch("/api/offer", json={"pc_id": "nobody", "candidates": []}), 404, "unknown-peer")
        assert_problem(await http.patch("/api/offer", json={"candidates": []}), 422, "invalid-request")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 422, "invalid-request"),
        ({"sdp": "", "type": "offer"}, 422, "invalid-request"),
        ({"sdp": "v=0", "type": "answer"}, 422, "invalid-request"),
        ({"sdp": "hello", "type": "offer"}, 400, "bad-offer"),
        ({"sdp": "v=0\r\n", "type": "offer", "request_data": {"level": "expert"}}, 422, "invalid-request"),
        ({"sdp": "v=0\r\n", "type": "offer", "request_data": {"session_token": "nobody's"}}, 404, "unknown-session"),
        ({"sdp": "v=0\r\n", "type": "offer", "pc_id": "nobody's"}, 404, "unknown-peer"),
        ({"sdp": "v=0\r\n", "type": "offer", "pc_id": "nobody's", "restart_pc": True}, 404, "unknown-peer"),
    ],
)
async def test_bad_offers(serve, body, status, kind):
    server = await serve()
    async with server.http() as http:
        assert_problem(await http.post("/api/offer", json=body), status, kind)
    assert counts(server) == (0, 0, 0)


async def test_at_capacity_an_offer_is_429_with_retry_after(serve, peer, other_peer):
    server = await serve(limits={"max_calls": 1})
    async with server.http() as http:
        assert (await http.post("/api/offer", json=await peer.offer())).status_code == 200
        refused = await http.post("/api/offer", json=await other_peer.offer())
        assert "taken" in assert_problem(refused, 429, "at-capacity")["detail"]
        assert int(refused.headers["retry-after"]) > 0
        assert counts(server)[2] == 1


async def test_too_many_offers_from_one_address_are_429(serve, peer):
    server = await serve(server={"session_rate_per_minute": 1})
    async with server.http() as http:
        offer = await peer.offer()
        assert (await http.post("/api/offer", json=offer)).status_code == 200
        assert_problem(await http.post("/api/offer", json=offer), 429, "too-many-sessions")


async def test_a_call_that_cannot_be_built_is_an_error_and_closes_everything(serve, peer):
    server = await serve()
    server.engines["stt"].broken = True
    async with server.http() as http:
        problem = assert_problem(await http.post("/api/offer", json=await peer.offer()), 500, "build-failed")
        assert "it broke" not in str(problem)
    assert counts(server) == (0, 0, 0)


async def test_an_unknown_lesson_is_refused(serve, peer):
    server = await serve()
    async with server.http() as http:
        body = {**await peer.offer(), "request_data": {"lesson": "nowhere"}}
        assert "introductions" in assert_problem(await http.post("/api/offer", json=body), 422, "unknown-lesson")["detail"]
    assert counts(server) == (0, 0, 0)


@pytest.mark.parametrize("by", ["session_token", "resume", "pc_id"])
async def test_a_lost_call_is_taken_up_over_a_new_connection(serve, peer, other_peer, by):
    server = await serve()
    async with server.http() as http:
        answer = (await http.post("/api/offer", json=await peer.offer())).json()
        session = server.state.sessions.get(answer["session_id"])
        await peer.accept(answer)
        await server.until(lambda: peer.pc.connectionState == "connected", "the connection stands")
        await peer.close()
        await server.until(lambda: session.state == "detached", "the session is detached")
        body: dict[str, Any] = await other_peer.offer()
        if by == "pc_id":
            body |= {"pc_id": answer["pc_id"], "restart_pc": True}
        else:
            body["request_data"] = {by: answer["resume_token"]}
        again = (await http.post("/api/offer", json=body)).json()
        assert again["session_id"] == answer["session_id"]
        assert session.state == "attached"
        assert server.state.sessions.active == 1


async def test_a_session_made_over_rest_is_taken_up(serve, peer):
    server = await serve()
    async with server.http() as http:
        made = (await http.post("/session", json={"level": "advanced"})).json()
        body = {**await peer.offer(), "request_data": {"session_token": made["resume_token"]}}
        answer = (await http.post("/api/offer", json=body)).json()
        assert answer["session_id"] == made["session_id"]
        assert (await http.get(f"/api/sessions/{made['session_id']}")).json()["door"] == "webrtc"


async def test_a_bad_offer_does_not_cost_a_waiting_session_its_place(serve, peer):
    server = await serve()
    async with server.http() as http:
        made = (await http.post("/session")).json()
        data = {"session_token": made["resume_token"]}
        assert_problem(
            await http.post("/api/offer", json={"sdp": "x", "type": "offer", "request_data": data}), 400, "bad-offer"
        )
        answer = (await http.post("/api/offer", json={**await peer.offer(), "request_data": data})).json()
        assert answer["session_id"] == made["session_id"]


async def test_a_build_that_fails_ends_a_waiting_session(serve, peer):
    server = await serve()
    server.engines["llm"].broken = True
    async with server.http() as http:
        made = (await http.post("/session")).json()
        body = {**await peer.offer(), "request_data": {"session_token": made["resume_token"]}}
        assert_problem(await http.post("/api/offer", json=body), 500, "build-failed")
    assert counts(server) == (0, 0, 0)


async def test_a_session_moves_between_the_doors(serve, peer):
    server = await serve()
    async with server.http() as http:
        answer = (await http.post("/api/offer", json=await peer.offer())).json()
        async with server.chat(f"?extras=1&resume={answer['resume_token']}", hello=False) as chat:
            connected = await chat.next()
            assert (connected["session_id"], connected["resumed"]) == (answer["session_id"], True)
            await chat.send({"type": "text", "text": "over here"})
            await chat.until("transcript", text="over here", is_final=True)
            await server.until(lambda: counts(server) == (1, 0, 0), "the peer connection is closed")


async def test_stopping_the_server_closes_peer_connections(serve, peer):
    server = await serve()
    async with server.http() as http:
        answer = (await http.post("/api/offer", json=await peer.offer())).json()
    session = server.state.sessions.get(answer["session_id"])
    await peer.accept(answer)
    await server.stop()
    assert session.state == "ended"
    assert server.state.signalling.peers == 0
