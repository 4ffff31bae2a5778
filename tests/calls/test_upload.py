"""A file as a turn of a call, over each door: recognised by the real recogniser, and answered."""

from __future__ import annotations

import asyncio

import httpx
import pytest


def post(server, session_id: str, data: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/api/sessions/{session_id}/audio", content=data, timeout=60, headers=headers)


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
async def test_a_file_is_recognised_and_answered(server, join, flite_wav, door):
    learner = await join(server.url, door)
    session_id = (await learner.until("connected"))["session_id"]
    await learner.until("turn_complete", 60)
    data = flite_wav("my name is anna").read_bytes()
    posted = asyncio.create_task(asyncio.to_thread(post, server, session_id, data))
    said = await learner.until("transcript", 60, is_final=True)
    response = await posted
    assert response.status_code == 200, response.text
    assert "name" in said["text"].lower()
    assert response.json()["text"] == said["text"]
    await learner.until("ai_text", is_complete=True)
    await learner.until("turn_complete", 60)
    turn = server.get(f"/api/sessions/{session_id}")["turns"][1]
    assert turn["source"] == "upload"
    assert turn["typed"] is False
    assert [w["text"] for w in turn["words"]] == [w["text"] for w in response.json()["words"]]
    assert all(0 <= w["confidence"] <= 1 for w in turn["words"])

    for bad, status in ((b"just text", 415), (b"", 422), (b"RIFF\x00\x00\x00\x00WAVEnothing", 422)):
        refused = await asyncio.to_thread(post, server, session_id, bad)
        assert refused.status_code == status, refused.text
        assert refused.headers["content-type"] == "application/problem+json"
    large = await asyncio.to_thread(post, server, session_id, bytes(10_000_001))
    assert large.status_code == 413
    assert "10000000" in large.json()["detail"]

    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    ended = await asyncio.to_thread(post, server, session_id, data)
    assert ended.status_code == 409
    assert ended.json()["type"] == "urn:parley:problem:not-in-call"
    assert (await asyncio.to_thread(post, server, "nobody", data)).status_code == 404
