"""Every stage failing or stalling in every way of ``bench.faulty``: something is heard, and the call goes on."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from bench.faulty import FAULTS
from tests.calls.faulty import serve
from web.talk.errors import TalkError

NO_FAULT = {"stt.late", "llm.late", "tts.late", "stt.empty"}
"""What is slow or says honestly that there was nothing to hear is no fault."""
QUICK = {
    "PARLEY_FAULTS__STT_TIMEOUT_S": "2.5",
    "PARLEY_FAULTS__LLM_TIMEOUT_S": "3",
    "PARLEY_FAULTS__LLM_GAP_TIMEOUT_S": "2",
    "PARLEY_FAULTS__TTS_TIMEOUT_S": "2.5",
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    yield from serve(tmp_path_factory.mktemp("faulty"), **QUICK)


@pytest.fixture(scope="module")
def faulty_and_impatient(tmp_path_factory):
    """A server that takes a learner's silence for longer than it is."""
    yield from serve(tmp_path_factory.mktemp("impatient"), PARLEY_SILENCE__ASK_AFTER_S="1.5")


async def switch(url: str, session_id: str, fault: str | None) -> None:
    async with httpx.AsyncClient() as http:
        query = {"session": session_id, **({"fault": fault} if fault else {})}
        (await http.post(f"{url}/bench/fault", params=query)).raise_for_status()


async def audible(learner, after: float, within_s: float = 10.0) -> bool:
    """Whether the tutor's voice arrives within ``within_s`` of ``after``: the promise, and no matter of the machine's speed."""
    while time.monotonic() - after < within_s:
        if learner.client.heard.first_voiced(after) is not None:
            return True
        await asyncio.sleep(0.05)
    return False


async def quiet(learner) -> None:
    while time.monotonic() - (learner.client.heard.last_voiced() or 0.0) < 0.6:  # noqa: ASYNC110 - nothing tells of silence
        await asyncio.sleep(0.05)


async def through(join, url: str, fault: str) -> str:
    """One fault in one call; what went wrong, or nothing."""
    learner = await join(url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    await asyncio.sleep(0.5)
    await switch(url, session_id, fault)
    said = await learner.say("My sister works in a large hospital.")
    ended = learner.client.microphone.ended_at(said)
    if not await audible(learner, ended):
        return f"{fault}: nothing was heard; {learner.summary()}"
    if fault not in NO_FAULT:
        error = await learner.until("error", 20)
        if not error["message"]:
            return f"{fault}: no words on the page"
    await switch(url, session_id, None)
    await quiet(learner)
    said = await learner.say("We went to the market on Saturday.")
    ended = learner.client.microphone.ended_at(said)
    if not await audible(learner, ended):
        return f"{fault}: the next turn was not answered; {learner.summary()}"
    await learner.until("transcript", 20, is_final=True, text="the quick brown fox")
    await learner.client.send({"type": "end_conversation"})
    report = await learner.until("analysis", 30)
    return "" if report["data"]["measures"]["learner_turns"]["value"] >= 1 else f"{fault}: no turn in the report"


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
async def test_the_call_goes_on(faulty, join, stage):
    faults = [fault for fault in FAULTS if fault.startswith(stage)]
    found = await asyncio.gather(*(through(join, faulty.url, fault) for fault in faults))
    assert [trouble for trouble in found if trouble] == []


async def test_faults_are_counted(faulty, join):
    learner = await join(faulty.url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    await switch(faulty.url, session_id, "llm.error")

    def count() -> float:
        lines = httpx.get(f"{faulty.url}/metrics").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith('parley_faults_total{kind="failed",stage="llm"}')
        )

    before = count()
    await learner.client.send({"type": "text", "text": "Hello"})
    await learner.until("error")
    assert count() == before + 1


async def end_after_three(join, url: str, fault: str) -> None:
    learner = await join(url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    await asyncio.sleep(0.5)
    await switch(url, session_id, fault)
    for _ in range(3):
        await learner.say("My sister works in a large hospital.")
        await learner.until("error", 20)
        if len(learner.of("error")) < 3:
            await learner.until("turn_complete", 20)
            await quiet(learner)
    goodbye = await learner.until("ai_text", 20, is_complete=True)
    assert "Goodbye" in goodbye["text"]
    heard_at = time.monotonic()
    await learner.until("analysis", 30)
    assert learner.client.heard.first_voiced(heard_at - 0.2) is not None, f"{fault}: the farewell is spoken"
    with pytest.raises((TalkError, AssertionError)):
        await learner.until("never", 10)


async def test_three_in_a_row_end_the_call_politely_with_its_report(faulty, join):
    async with asyncio.TaskGroup() as calls:
        for fault in ("stt.stall", "llm.stall", "tts.stall", "tts.raise"):
            calls.create_task(end_after_three(join, faulty.url, fault), name=fault)


async def test_what_the_voice_could_not_say_stays_in_the_record(faulty, join):
    learner = await join(faulty.url, "websocket")
    session_id = (await learner.until("connected"))["session_id"]
    await switch(faulty.url, session_id, "tts.error")
    await learner.client.send({"type": "text", "text": "Hello"})
    await learner.until("error")
    await learner.until("turn_complete")
    await switch(faulty.url, session_id, None)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis", 30)
    async with httpx.AsyncClient() as http:
        turns = (await http.get(f"{faulty.url}/api/sessions/{session_id}")).json()["turns"]
    assert [t["role"] for t in turns][:2] == ["learner", "tutor"]
    assert turns[1]["text"].startswith("word0 word1")


async def test_a_silent_learner_is_asked_twice_and_then_left_in_peace(faulty_and_impatient, join):
    learner = await join(faulty_and_impatient.url, "websocket")
    # What the fake says by itself, unasked but for the silence: it has no greeting of its own.
    for _ in range(2):
        await learner.until("ai_text", 30, is_complete=True)
        await learner.until("turn_complete", 30)
    goodbye = await learner.until("ai_text", 30, is_complete=True)
    assert "Goodbye" in goodbye["text"]
    await learner.until("analysis", 30)


async def test_a_learner_who_speaks_is_not_hung_up_on(faulty_and_impatient, join):
    learner = await join(faulty_and_impatient.url, "websocket")
    for _ in range(5):
        await learner.until("turn_complete", 30)
        await learner.client.send({"type": "text", "text": "I am here."})
        await learner.until("ai_text", 30, is_complete=True)
    assert not learner.of("analysis")
