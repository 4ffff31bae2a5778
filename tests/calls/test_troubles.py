"""A machine in trouble while calls run: a loop that stands still, a full disk, a locked database, a clock that is set."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.faulty import LATE_S
from tests.calls.faulty import FaultyServer, serve

STALL_S = 0.5
IMPATIENT = {
    "PARLEY_FAULTS__STT_TIMEOUT_S": "1",
    "PARLEY_FAULTS__LLM_TIMEOUT_S": "2.1",
    "PARLEY_FAULTS__LLM_GAP_TIMEOUT_S": "1",
    "PARLEY_FAULTS__TTS_TIMEOUT_S": "1",
}
"""Little more than the stages take: the fake tutor that is late takes 2 s."""
SENTENCE = "My sister works in a large hospital."
ANSWER_S = 1.8
"""Six words of 0.3 s: how long the fake tutor speaks."""
PACKET_S = 0.02


@pytest.fixture(scope="module")
def troubled(tmp_path_factory) -> Iterator[FaultyServer]:
    yield from serve(
        tmp_path_factory.mktemp("troubled"), "tests.calls.troubled_server", PARLEY_RECORDING__ENABLED="true", **IMPATIENT
    )


async def post(server: FaultyServer, path: str, **params: Any) -> None:
    await asyncio.to_thread(server.post, path, **params)


async def quiet(learner: Any) -> None:
    while time.monotonic() - (learner.client.heard.last_voiced() or 0.0) < 0.6:  # noqa: ASYNC110 - nothing tells of silence
        await asyncio.sleep(0.05)


async def stall(server: FaultyServer, times: int) -> None:
    for _ in range(times):
        await post(server, "/trouble/stall", seconds=STALL_S)
        await asyncio.sleep(0.05)


async def row_of(learner: Any, turn: int) -> dict[str, Any]:
    """The metrics row of the record's turn ``turn``."""
    while (row := (await learner.until("metrics"))["row"])["turn"] != turn or row["sent"] is None:
        pass
    return row


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
@pytest.mark.parametrize("when", ["while the learner speaks", "while the answer is made", "while the tutor speaks"])
async def test_a_loop_that_stands_still_is_no_fault_and_loses_no_turn(troubled, join, door, when):
    faults, errors = troubled.count("parley_faults_total"), troubled.count("parley_errors_total")
    learner = await join(troubled.url, door)
    session_id = (await learner.until("connected"))["session_id"]
    await asyncio.sleep(0.5)
    if when == "while the answer is made":
        await post(troubled, "/bench/fault", session=session_id, fault="llm.late")
    for turn in (0, 2):
        utterance = await learner.say(SENTENCE, wait=False)
        if when == "while the learner speaks":
            await asyncio.sleep(0.3)
            await stall(troubled, 2)
            await utterance.done.wait()
        else:
            await utterance.done.wait()
            if when == "while the tutor speaks":
                await learner.until("speaking", who="tutor", active=True)
            await stall(troubled, 6 if when == "while the answer is made" else 3)
        ended = learner.client.microphone.ended_at(utterance)
        row = await row_of(learner, turn)
        await learner.until("turn_complete")
        await quiet(learner)
        # Rows are told truthfully: what the client measured, but for its own few packets of delay.
        measured_ms = learner.client.heard.voice_to_voice_s(ended) * 1000
        assert row["user_stop"] <= row["eot"] <= row["sent"]
        # An answer may be begun before the turn is surely over.
        assert row["user_stop"] <= row["llm_first_token"] <= row["tts_first_audio"] <= row["sent"]
        assert abs(measured_ms - row["v2v_ms"]) < 400, (measured_ms, row)
        if when == "while the answer is made":
            assert row["v2v_ms"] > LATE_S * 1000
    assert learner.client.heard.voiced_packets >= 2 * ANSWER_S / PACKET_S * 0.9, "the audio goes on where it stopped"
    assert not learner.of("error")
    assert troubled.count("parley_faults_total") == faults
    assert troubled.count("parley_errors_total") == errors
    turns = (await asyncio.to_thread(troubled.get, f"/api/sessions/{session_id}"))["turns"]
    assert [(t["role"], t["interrupted"]) for t in turns] == [("learner", False), ("tutor", False)] * 2


async def answered(learner: Any, turn: int) -> float:
    """Say something as the record's turn ``turn``, hear the answer out; its voice-to-voice time in ms."""
    await learner.say(SENTENCE)
    row = await row_of(learner, turn)
    await learner.until("turn_complete")
    await quiet(learner)
    assert not learner.of("error")
    return float(row["v2v_ms"])


async def hang_up(learner: Any) -> dict[str, Any]:
    await learner.client.send({"type": "end_conversation"})
    return (await learner.until("analysis"))["data"]


def in_database(server: FaultyServer, session_id: str) -> tuple[list[int], bool]:
    """What is durable: the indices of a session's turns, and whether its end and report are."""
    with contextlib.closing(sqlite3.connect(next(server.data_dir.glob("*.db")))) as db:
        turns = [index for (index,) in db.execute('select "index" from turns where session_id = ? order by 1', (session_id,))]
        ended = db.execute("select ended_at, report from sessions where id = ?", (session_id,)).fetchone()
    return turns, ended is not None and None not in ended


# A locked database

LOCKED_S = 30.0
LATE_MS = 3000
"""More than any answer of the stand-ins takes, and less than one wait for the lock."""


async def test_neither_an_answer_nor_the_end_of_a_call_waits_for_a_locked_database(troubled, join):
    learner = await join(troubled.url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    free_ms = [await answered(learner, turn) for turn in (0, 2)]
    other = sqlite3.connect(next(troubled.data_dir.glob("*.db")), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        locked_at = time.monotonic()
        locked_ms = [await answered(learner, turn) for turn in (4, 6)]
        await learner.client.send({"type": "set_level", "level": "advanced"})
        report = await hang_up(learner)
        late = await join(troubled.url, "websocket")
        late_id = (await late.until("connected"))["session_id"]
        locked_ms.append(await answered(late, 0))
        assert max(locked_ms) < max(free_ms) + LATE_MS, (free_ms, locked_ms)
        assert report["measures"]["learner_turns"]["value"] == 4

        # What cannot be written yet can be read all the same, and the operator sees it.
        told = await asyncio.to_thread(troubled.get, f"/api/sessions/{session_id}")
        assert (told["live"], len(told["turns"]), told["level"]) == (False, 8, "advanced")
        assert await asyncio.to_thread(troubled.get, f"/api/sessions/{session_id}/report") == report
        status = (await asyncio.to_thread(troubled.get, "/status"))["store"]
        assert "locked" in status["error"]
        assert status["waiting"] > 0
        deleted = await asyncio.to_thread(httpx.delete, f"{troubled.url}/api/sessions/{session_id}", timeout=60)
        assert (deleted.status_code, deleted.headers["Retry-After"]) == (503, "5")
        await asyncio.sleep(max(0.0, locked_at + LOCKED_S - time.monotonic()))
        assert in_database(troubled, session_id)[0] == [0, 1, 2, 3], "it was locked all the time"
    finally:
        other.close()
    await hang_up(late)
    await asyncio.to_thread(
        troubled.wait_for, lambda: troubled.get("/status")["store"] == {"waiting": 0, "error": None}, "all to be written"
    )
    assert in_database(troubled, session_id) == (list(range(8)), True)
    assert in_database(troubled, late_id) == ([0, 1], True)


# A full disk


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own; skips where none can be had."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as f:
        for size in (65_536, 4096, 512):
            with contextlib.suppress(OSError):
                while True:
                    f.write(os.urandom(size))


@pytest.mark.parametrize("how", ["no space left", "no file may grow"])
async def test_a_full_disk_ends_no_call_and_what_comes_later_is_kept(tmp_path, join, how):
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk")) if how == "no space left" else tmp_path
        serving = serve(tmp_path, "tests.calls.troubled_server", data_dir=disk / "data", PARLEY_RECORDING__ENABLED="true")
        server = next(serving)
        stack.callback(lambda: next(serving, None))
        learner = await join(server.url, "websocket")
        session_id = (await learner.until("connected"))["session_id"]
        await answered(learner, 0)
        if how == "no space left":
            fill(disk / "filler")
        else:
            await post(server, "/trouble/disk", bytes=4096)
        await answered(learner, 2)
        report = await hang_up(learner)
        assert [m["reason"].endswith("The call goes on.") for m in learner.of("recording_stopped")] == [True]
        assert report["measures"]["learner_turns"]["value"] == 2
        late = await join(server.url, "websocket")
        late_id = (await late.until("connected"))["session_id"]
        await answered(late, 0)
        assert (await hang_up(late))["measures"]["learner_turns"]["value"] == 1
        store = (await asyncio.to_thread(server.get, "/status"))["store"]
        assert store["error"]
        assert store["waiting"] > 0
        assert server.count("parley_errors_total", 'stage="store"') >= 1
        assert server.count("parley_errors_total", 'stage="recording"') >= 1
        assert server.count("parley_faults_total") == 0

        if how == "no space left":
            (disk / "filler").unlink()
        else:
            await post(server, "/trouble/disk")
        after = await join(server.url, "websocket")
        after_id = (await after.until("connected"))["session_id"]
        await answered(after, 0)
        await hang_up(after)
        await asyncio.to_thread(
            server.wait_for, lambda: server.get("/status")["store"] == {"waiting": 0, "error": None}, "all to be written"
        )
        assert in_database(server, session_id) == ([0, 1, 2, 3], True)
        assert in_database(server, late_id) == ([0, 1], True)
        assert in_database(server, after_id) == ([0, 1], True)
        await asyncio.to_thread(server.wait_for, lambda: server.get(f"/api/sessions/{after_id}")["recorded"], "the recording")


# A clock that is set


@pytest.fixture
def clock(troubled) -> Iterator[Any]:
    """Sets the server's wall clock, by so many seconds against the true one."""

    async def set_by(seconds: float) -> None:
        await post(troubled, "/trouble/clock", by=seconds)

    yield set_by
    troubled.post("/trouble/clock", by=0)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def durations(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number below ``value`` whose name says that it is a time, in any unit."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from durations(below, key if key not in ("value", "unit") else name)
    elif isinstance(value, list):
        for below in value:
            yield from durations(below, name)
    elif isinstance(value, int | float) and name.endswith(("_s", "_ms", "_sec", "seconds", "minutes", "duration")):
        yield name, value


async def test_setting_the_clock_in_mid_call_makes_no_time_negative(troubled, clock, join):
    uptime_s = (await asyncio.to_thread(troubled.get, "/status"))["uptime_s"]
    learner = await join(troubled.url, "websocket")
    began = time.monotonic()
    session_id = (await learner.until("connected"))["session_id"]
    for turn, by in ((0, 0), (2, -3600), (4, 3600)):
        await clock(by)
        assert 0 < await answered(learner, turn) < LATE_MS
    await clock(-3600)
    report = await hang_up(learner)
    passed_s = time.monotonic() - began
    await asyncio.to_thread(
        troubled.wait_for, lambda: troubled.get(f"/api/sessions/{session_id}")["recorded"], "the recording to be finished"
    )
    told = await asyncio.to_thread(troubled.get, f"/api/sessions/{session_id}")
    times = [told["started_at"], *(t[key] for t in told["turns"] for key in ("started_at", "ended_at")), told["ended_at"]]
    assert len(times) == 14
    assert times == sorted(times)
    assert 0 < at(told["ended_at"]) - at(told["started_at"]) < passed_s + 1
    assert at(told["started_at"]) - 1 <= at(told["recording_started_at"]) <= at(told["turns"][0]["started_at"])
    found = [*durations(report), *durations(told["metrics"])]
    assert len(found) > 10
    assert [f for f in found if f[1] < 0] == []
    assert (await asyncio.to_thread(troubled.get, "/status"))["uptime_s"] >= uptime_s

    ids = [session_id]
    for by in (-7200, 7200, -7200):
        await clock(by)
        later = await join(troubled.url, "websocket")
        ids.append((await later.until("connected"))["session_id"])
        await hang_up(later)
    history = (await asyncio.to_thread(troubled.get, "/api/sessions"))["items"]
    assert [item["id"] for item in history[: len(ids)]] == ids[::-1], "newest first is the order in which they were"


async def test_timers_do_not_look_at_the_clock(tmp_path, join):
    serving = serve(
        tmp_path, "tests.calls.troubled_server", PARLEY_LIMITS__MAX_CALL_S="15", PARLEY_SESSION__RESUME_FOR_S="12",
        PARLEY_SESSION__DETACH_AFTER_S="2",
    )  # fmt: skip
    server = next(serving)
    try:
        learner = await join(server.url, "websocket")
        token = (await learner.until("connected"))["resume_token"]
        await post(server, "/trouble/clock", by=3600)
        await answered(learner, 0)
        await learner.client.close()
        await asyncio.to_thread(
            server.wait_for, lambda: server.get("/status")["detached_calls"] == 1, "the call to be detached"
        )
        await post(server, "/trouble/clock", by=-3600)
        back = await join(server.url, "websocket", resume=token)
        await back.until("connected", resumed=True)
        await back.until("analysis")
        told = server.get("/api/sessions")["items"][0]
        assert 15 <= at(told["ended_at"]) - at(told["started_at"]) < 45
    finally:
        next(serving, None)
