"""A real server gives its engines back and takes them up again."""

from __future__ import annotations

import httpx
import psutil


def family(server) -> dict[int, psutil.Process]:
    assert server.process is not None
    own = psutil.Process(server.process.pid)
    return {p.pid: p for p in (own, *own.children(recursive=True))}


def memory_mb(server) -> float:
    return sum(p.memory_full_info().pss for p in family(server).values()) / 1e6


async def test_an_unloaded_server_has_no_workers_and_talks_again_after_a_load(own_server, join):
    server = own_server()
    async with httpx.AsyncClient(base_url=server.url, timeout=90) as http:
        engines = {e["stage"]: e for e in (await http.get("/status")).json()["engines"]}
        assert all(e["state"] == "ready" and e["load_s"] is not None for e in engines.values())
        workers = engines["stt"]["detail"]["pids"]
        assert set(workers) <= family(server).keys()
        before_mb = memory_mb(server)

        assert (await http.post("/models/unload", json={"engine": "stt"})).json()["ready"] is False
        assert not set(workers) & family(server).keys(), "the workers have ended"
        assert before_mb - memory_mb(server) > 0.5 * engines["stt"]["memory_mb"], "their memory is given back"
        assert (await http.post("/session")).status_code == 503
        assert (await http.get("/health")).status_code == 200

        loaded = (await http.post("/models/load")).json()
        assert loaded["ready"] is True
        assert not set(workers) & set(loaded["engines"][0]["detail"]["pids"])
    learner = await join(server.url, "websocket")
    assert (await learner.until("ai_text", is_complete=True))["text"]
    await learner.until("turn_complete", 60)
    await learner.say("my name is anna")
    assert "name" in (await learner.until("transcript", is_final=True))["text"].lower()
