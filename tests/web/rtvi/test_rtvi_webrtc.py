"""RTVI over WebRTC: from /start by the way that the SDK takes to the offer, a typed turn, and ``disconnect-bot``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.web.rtvi.conftest import READY
from tests.web.test_webrtc_door import Peer


async def test_from_start_to_the_report(serve):
    server = await serve()
    peer, told = Peer(), list[dict[str, Any]]()
    peer.channel.on("message", lambda raw: told.append(json.loads(raw)) if isinstance(raw, str) else None)

    def found(kind: str, **fields: Any) -> list[dict[str, Any]]:
        of_kind = [m for m in told if m["type"] == kind]
        return [m for m in of_kind if all((m.get("data") or {}).get(k) == v for k, v in fields.items())]

    def send(kind: str, data: Any = None) -> None:
        peer.channel.send(json.dumps({"label": "rtvi-ai", "type": kind, "id": kind, "data": data}))

    try:
        async with server.http() as http:
            started = (await http.post("/start", json={"body": {"level": "advanced"}})).json()
            path = f"/sessions/{started['sessionId']}/api/offer"
            answer = await http.post(path, json=await peer.offer())
            assert answer.status_code == 200, answer.text
            assert answer.json()["session_id"] == started["sessionId"]
            await peer.accept(answer.json())
            candidates = {"pc_id": answer.json()["pc_id"], "candidates": []}
            assert (await http.patch(path, json=candidates)).status_code == 200
        session = server.state.sessions.get(started["sessionId"])
        await server.until(lambda: peer.channel.readyState == "open", "the channel opens")
        send("client-ready", READY)
        await server.until(lambda: found("bot-ready"), "the bot is ready")
        await asyncio.wait_for(peer.heard.wait(), 20)
        await server.until(lambda: found("server-message", type="turn_complete"), "the tutor has greeted")
        send("send-text", {"content": "hello there"})
        await server.until(lambda: found("server-message", type="ai_text", text="Answer 1."), "the answer comes")
        assert [m["data"]["msg_id"] for m in found("user-input", input_type="chat")] == ["send-text"]
        assert (session.record.door, session.record.level) == ("webrtc", "advanced")
        assert [(t.text, t.typed) for t in session.record.turns if t.role == "learner"] == [("hello there", True)]
        send("send-file", {"content": "x"})
        await server.until(lambda: found("server-message", type="error"), "a file is refused")
        send("disconnect-bot")
        await server.until(lambda: session.state == "ended", "the session ends")
        assert session.record.end_reason == "ended by the learner"
        await server.until(lambda: found("server-message", type="analysis"), "the report comes")
    finally:
        await peer.close()
