"""A machine in trouble while calls run: an event loop that stands still, a full disk, a locked database, a clock that is set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

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
        assert row["user_stop"] <= row["eot"] <= row["llm_first_token"] <= row["tts_first_audio"] <= row["sent"]
        assert abs(measured_ms - row["v2v_ms"]) < 400, (measured_ms, row)
        if when == "while the answer is made":
            assert row["v2v_ms"] > LATE_S * 1000
    assert learner.client.heard.voiced_packets >= 2 * ANSWER_S / PACKET_S * 0.9, "the audio goes on where it stopped"
    assert not learner.of("error")
    assert troubled.count("parley_faults_total") == faults
    assert troubled.count("parley_errors_total") == errors
    turns = (await asyncio.to_thread(troubled.get, f"/api/sessions/{session_id}"))["turns"]
    assert [(t["role"], t["interrupted"]) for t in turns] == [("learner", False), ("tutor", False)] * 2
