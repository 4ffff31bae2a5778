"""Reports from a process of their own: real processes, stopped, killed and outlived."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings

from agent.analysis.report import WITHOUT_LISTS, first_report
from agent.record import CallRecord, Turn
from pipeline.analyst import Analyst
from pipeline.analyst_wire import pack, unpack
from tests.agent.analysis.test_report import practice, records

ROOT = Path(__file__).resolve().parents[2]
PATIENT_S = 60.0  # no report is late in these tests but where a process is stopped
RECORD = practice(0.95)
QUICK = first_report(RECORD, with_lists=False)
WHOLE = first_report(RECORD)


@pytest.fixture
async def analyst() -> AsyncIterator[Analyst]:
    analyst = Analyst()
    await analyst.start()
    yield analyst
    await analyst.close()
    assert analyst.pid is None


@given(records)
@settings(max_examples=50, deadline=None)
def test_a_record_arrives_as_it_was(record):
    assert repr(unpack(pack(record))) == repr(record)


async def test_the_report_is_that_of_the_analysis(analyst):
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    assert WHOLE["levels"]["words"] > 0
    assert WITHOUT_LISTS not in WHOLE["notes"]


async def test_calls_that_end_together_share_one_process(analyst):
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    pid = analyst.pid
    records = [practice(0.95, answers=("I like football",) * n) for n in range(1, 9)]
    reports = await asyncio.gather(*(analyst.report(record, within_s=PATIENT_S) for record in records))
    assert [len(report["turns"]) for report in reports] == list(range(1, 9))
    assert analyst.pid == pid


async def test_a_late_report_is_made_without_the_lists(analyst):
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    slow = analyst.pid
    assert slow is not None
    os.kill(slow, signal.SIGSTOP)
    assert await analyst.report(RECORD, within_s=0.2) == QUICK
    assert QUICK["notes"][-1] == WITHOUT_LISTS
    # What that process might still have answered is not taken for the next report.
    other = practice(0.4)
    assert await analyst.report(other, within_s=PATIENT_S) == first_report(other)
    assert analyst.pid not in (None, slow)
    assert not psutil.pid_exists(slow)


async def test_a_call_that_ends_while_the_lists_load_does_not_end_the_process(analyst):
    for _ in range(100):
        if analyst.pid is not None:
            break
        await asyncio.sleep(0.05)
    loading = analyst.pid
    assert loading is not None
    os.kill(loading, signal.SIGSTOP)
    assert await analyst.report(RECORD, within_s=0.05) == QUICK
    os.kill(loading, signal.SIGCONT)
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    assert analyst.pid == loading


async def test_a_process_that_died_is_started_anew(analyst):
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    dead = analyst.pid
    assert dead is not None
    os.kill(dead, signal.SIGKILL)
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    assert analyst.pid not in (None, dead)


async def test_a_process_that_dies_at_its_work_costs_the_lists_at_most(analyst):
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    for _ in range(2):
        assert analyst.pid is not None
        os.kill(analyst.pid, signal.SIGSTOP)
        report = asyncio.create_task(analyst.report(RECORD, within_s=PATIENT_S))
        await asyncio.sleep(0.1)
        os.kill(analyst.pid, signal.SIGKILL)
        assert await report == WHOLE


async def test_where_no_process_can_be_started_reports_are_made_all_the_same(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    analyst = Analyst()
    await analyst.start()
    assert await analyst.report(RECORD, within_s=PATIENT_S) == QUICK
    await analyst.close()


async def test_a_record_that_cannot_be_analysed_harms_no_other(analyst):
    broken = CallRecord("s", 0.0, "webrtc", "beginner", "introductions", [Turn(0, "learner", 3, 0.0, 1.0)])  # type: ignore[arg-type]
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    pid = analyst.pid
    with pytest.raises(TypeError):
        await analyst.report(broken, within_s=PATIENT_S)
    assert await analyst.report(RECORD, within_s=PATIENT_S) == WHOLE
    assert analyst.pid == pid


async def test_before_the_start_and_after_the_close_there_is_no_process():
    analyst = Analyst()
    assert await analyst.report(RECORD) == QUICK
    await analyst.start()
    await analyst.close()
    await analyst.close()
    assert await analyst.report(RECORD) == QUICK
    assert analyst.pid is None


SERVER = """
import asyncio
from pipeline.analyst import Analyst

async def main():
    analyst = Analyst()
    await analyst.start()
    while analyst.pid is None:
        await asyncio.sleep(0.01)
    print(analyst.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_the_process_does_not_outlive_a_killed_server():
    with subprocess.Popen([sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        worker = psutil.Process(int(server.stdout.readline()))
        server.kill()
        server.wait()
        deadline = time.monotonic() + 30
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the process for reports is still there"
            time.sleep(0.05)
