"""A recogniser that hangs or raises does not hold up the audio."""

from __future__ import annotations

import asyncio

import pytest
from pipecat.frames.frames import ErrorFrame, TranscriptionFrame

from pipeline.faults.guard import bounded, guard_stt


async def collect(run, chunks=1):
    return [frame for _ in range(chunks) async for frame in run(b"\0\0")]


async def test_what_goes_through_is_unchanged():
    async def run_stt(_audio):
        yield None
        yield TranscriptionFrame("hello", "", "")

    frames = await collect(bounded(run_stt, 5))
    assert frames[0] is None
    assert frames[1].text == "hello"


async def test_a_hanging_recogniser_is_told_of_once_and_left_behind():
    closed = []

    async def run_stt(_audio):
        try:
            await asyncio.sleep(3600)
            yield None
        finally:
            closed.append(True)

    frames = await asyncio.wait_for(collect(bounded(run_stt, 0.05, then_s=0.001), 50), 30)
    errors = [f for f in frames if f is not None]
    assert len(errors) == 1
    assert isinstance(errors[0], ErrorFrame)
    assert "0.05 s" in errors[0].error
    assert len(closed) == 50


async def test_after_one_chunk_went_through_the_whole_wait_is_allowed_again():
    stuck = True

    async def run_stt(_audio):
        await asyncio.sleep(3600 if stuck else 0.05)
        yield TranscriptionFrame("hello", "", "")

    run = bounded(run_stt, 10)
    quick = bounded(run_stt, 0.01)
    assert isinstance((await collect(quick))[0], ErrorFrame)
    stuck = False
    assert (await asyncio.wait_for(collect(run), 30))[0].text == "hello"


async def test_an_exception_becomes_an_error_and_ends_the_chunk():
    async def run_stt(_audio):
        raise ValueError("no model")
        yield None

    frames = await collect(bounded(run_stt, 5), 3)
    assert [f.error for f in frames if f is not None] == ["ValueError: no model"]


async def test_cancelling_is_not_swallowed():
    async def run_stt(_audio):
        await asyncio.sleep(3600)
        yield None

    task = asyncio.create_task(collect(bounded(run_stt, 3600)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_stage_without_run_stt_is_left_alone():
    guard_stt(object(), 1)
