"""What must survive: a killed server, a killed worker, a lost connection, and many connections."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time

import httpx
import psutil
import pytest


async def test_after_kill_9_every_finished_turn_is_kept_and_the_session_is_closed(own_server, join, tmp_path):
    server = own_server()
    learner = await join(server.url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    await learner.until("turn_complete", 60)
    await learner.client.send({"type": "text", "text": "My name is Anna and I live in Rome."})
    await learner.until("transcript", is_final=True)
    await learner.until("speaking", who="tutor", active=True)
    assert server.process is not None
    workers = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    server.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "recogniser processes must end with the server"

    again = own_server(data_dir=server.data_dir)
    kept = again.get(f"/api/sessions/{session_id}")
    assert [t["role"] for t in kept["turns"]] == ["tutor", "learner"]
    assert kept["turns"][1]["text"] == "My name is Anna and I live in Rome."
    assert kept["ended_at"] is not None
    assert again.get(f"/api/sessions/{session_id}/report")["final_score"] is None


async def test_a_killed_recogniser_loses_no_word(own_server, join):
    server = own_server()
    learner = await join(server.url, "websocket")
    await learner.until("turn_complete", 60)
    assert server.process is not None
    utterance = await learner.say("i live in a small town and i like to read books", wait=False)
    await learner.until("speaking", who="learner", active=True)
    busy = max((p for p in psutil.Process(server.process.pid).children(recursive=True)), key=lambda p: sum(p.cpu_times()[:2]))
    os.kill(busy.pid, signal.SIGKILL)
    await asyncio.wait_for(utterance.done.wait(), 30)
    said = await learner.until("transcript", 40, is_final=True)
    assert "town" in said["text"] or "books" in said["text"]
    await learner.until("ai_text", is_complete=True)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")


async def test_a_lost_connection_is_taken_up_again_over_the_other_door(own_server, join):
    server = own_server(PARLEY_SESSION__DETACH_AFTER_S="1", PARLEY_SESSION__RESUME_FOR_S="60")
    both = asyncio.Barrier(2)
    async with asyncio.TaskGroup() as calls:
        calls.create_task(lose_and_take_up(server, join, both, "websocket", "webrtc"))
        calls.create_task(lose_and_take_up(server, join, both, "webrtc", "websocket"))


async def lose_and_take_up(server, join, both, first, second):
    learner = await join(server.url, first)
    connected = await learner.until("connected", resumed=False)
    await learner.until("turn_complete", 60)
    await learner.client.send({"type": "text", "text": "My name is Anna."})
    await learner.until("turn_complete", 60)
    await learner.client.close()

    def detached() -> bool:
        return "parley_detached_calls 2.0" in httpx.get(f"{server.url}/metrics").text

    await asyncio.to_thread(server.wait_for, detached, "both sessions to detach")
    await both.wait()
    back = await join(server.url, second, resume=connected["resume_token"])
    again = await back.until("connected", resumed=True)
    assert again["session_id"] == connected["session_id"]
    await back.client.send({"type": "text", "text": "I live in Rome."})
    await back.until("ai_text", is_complete=True)
    await back.until("turn_complete", 60)
    await back.client.send({"type": "end_conversation"})
    await back.until("analysis")
    texts = [t["text"] for t in server.get(f"/api/sessions/{connected['session_id']}")["turns"] if t["role"] == "learner"]
    assert texts == ["My name is Anna.", "I live in Rome."]


async def test_a_session_that_nobody_returns_to_ends_with_its_report(own_server, join):
    server = own_server(PARLEY_SESSION__DETACH_AFTER_S="1", PARLEY_SESSION__RESUME_FOR_S="1")
    learner = await join(server.url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    await learner.until("speaking", who="tutor", active=True)
    await learner.client.close()
    server.wait_for(lambda: server.get(f"/api/sessions/{session_id}")["ended_at"], "the session to end")
    assert server.get(f"/api/sessions/{session_id}/report")["notes"]


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
async def test_fifty_calls_leave_nothing_behind(own_server, join, door):
    server = own_server(PARLEY_LIMITS__MAX_CALLS="60", PARLEY_SERVER__SESSION_RATE_PER_MINUTE="10000")
    assert server.process is not None
    process = psutil.Process(server.process.pid)

    def facts() -> tuple[int, int, int]:
        tasks = server.get("/status")["tasks"]
        return int(tasks), process.num_threads(), process.num_fds()

    async def cycle(n: int) -> None:
        learner = await join(server.url, door)
        await learner.until("connected")
        await learner.until("ai_text", is_complete=True)
        if n % 2:
            await learner.client.send({"type": "end_conversation"})
            await learner.until("analysis")
        await learner.client.close()

    def no_calls() -> bool:
        text = httpx.get(f"{server.url}/metrics").text
        return "parley_active_calls 0.0" in text

    # More at once than later: the loop's executor makes a thread when it first has no idle one, and keeps it.
    for _ in range(3):
        await asyncio.gather(*(cycle(2 * n + 1) for n in range(10)))
    server.wait_for(no_calls, "the first calls to end")
    await asyncio.sleep(1)
    before = facts()
    for n in range(0, 50, 5):
        await asyncio.gather(*(cycle(2 * (n + k) + 1) for k in range(5)))
    server.wait_for(no_calls, "all calls to end")
    deadline = time.monotonic() + 20
    after = facts()
    while time.monotonic() < deadline and any(a > b + 2 for a, b in zip(after, before, strict=True)):
        await asyncio.sleep(1)
        after = facts()
    assert all(a <= b + 2 for a, b in zip(after, before, strict=True)), f"tasks, threads, fds: {before} before, {after} after"
    with sqlite3.connect(next(server.data_dir.glob("*.db"))) as db:
        assert db.execute("select count(*) from sessions where ended_at is null").fetchone() == (0,)
