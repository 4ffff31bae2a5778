"""A process that dies in mid-call: what it was told is durable is there, and its calls are closed at the next start."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.record import CallRecord, Turn
from pipeline.store.sql_recorder import INTERRUPTED, open_store

ROOT = Path(__file__).resolve().parents[3]

WRITER = """
import asyncio, sys
from pathlib import Path
from agent.record import CallRecord, Turn, Word
from pipeline.store.sql_recorder import open_store

async def main():
    store = await open_store(Path(sys.argv[1]))
    await store.open(CallRecord("killed", 1000.0, "websocket", "beginner", "introductions"))
    for i in range(100_000):
        text = f"turn {i} " + "and so on " * (i % 50)
        await store.add_turn("killed", Turn(i, "learner", text, 1000.0 + i, 1000.5 + i, words=[Word(text, 0.0, 0.5, 0.9)]))
        print(i, flush=True)

asyncio.run(main())
"""


@contextmanager
def writer(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(data_dir)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _kill_after(process: subprocess.Popen[str], turns: int) -> list[int]:
    """Kill the writer once it has reported ``turns`` turns; all turns that it reported."""
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(turns)]
    process.send_signal(signal.SIGKILL)
    # A last line may be cut by the kill.
    told += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    return told


@pytest.mark.parametrize("turns", [1, 37, 150])
async def test_kill_9_loses_no_turn_and_the_call_is_closed(tmp_path: Path, turns: int) -> None:
    with writer(tmp_path) as process:
        told = await asyncio.to_thread(_kill_after, process, turns)
    assert process.returncode == -signal.SIGKILL
    made: list[CallRecord] = []

    def report(record: CallRecord) -> dict[str, Any]:
        made.append(record)
        return {"turns": len(record.turns)}

    store = await open_store(tmp_path)
    before = await store.load_record("killed")
    assert [t.index for t in before.turns][: len(told)] == told
    assert before.turns[told[-1]].text.startswith(f"turn {told[-1]} ")
    assert before.ended_at is None
    assert await store.close_orphans(report) == ["killed"]
    after = await store.load_record("killed")
    assert (after.ended_at, after.end_reason) == (after.turns[-1].ended_at, INTERRUPTED)
    assert after.turns == before.turns
    assert await store.get_report("killed") == {"turns": len(after.turns)}
    assert [r.end_reason for r in made] == [INTERRUPTED]
    assert await store.close_orphans(report) == []
    await store.close()


async def test_a_call_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        store = await open_store(tmp_path)
        await store.open(CallRecord("ours", 2000.0, "webrtc", "beginner", "introductions"))
        assert await store.close_orphans(lambda _: {}) == []
    # The writer is dead now; our own call is not an orphan of this store, but it is one of a later store in this process.
    assert await store.close_orphans(lambda _: {}) == ["killed"]
    assert (await store.load_record("ours")).ended_at is None
    await store.close()
    again = await open_store(tmp_path)
    assert await again.close_orphans(lambda _: {}) == ["ours"]
    assert (await again.load_record("ours")).ended_at == 2000.0
    await again.close()


async def test_a_clock_that_was_set_ends_no_call_of_a_living_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = psutil.Process.create_time
    with writer(tmp_path) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        # The system tells when a process began by the time of day, reckoned back from now.
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: true(self) + 3600.0)
        store = await open_store(tmp_path)
        assert await store.close_orphans(lambda _: {}) == []
    assert await store.close_orphans(lambda _: {}) == ["killed"]
    await store.close()


async def test_a_report_that_fails_does_not_keep_the_call_open(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.open(CallRecord("a", 1000.0, "webrtc", "beginner", "introductions"))
    await store.add_turn("a", Turn(0, "tutor", "hello", 1000.0, 5000.0))
    await store.open(CallRecord("b", 900.0, "webrtc", "beginner", "introductions"))
    await store.close()

    def report(record: CallRecord) -> dict[str, Any]:
        if record.session_id == "a":
            raise RuntimeError("no report today")
        return {"fine": True}

    store = await open_store(tmp_path)
    assert await store.close_orphans(report) == ["b", "a"]
    assert (await store.load_record("a")).ended_at == 5000.0
    assert await store.get_report("a") == {"notes": ["The report could not be made."]}
    assert await store.get_report("b") == {"fine": True}
    await store.close()
