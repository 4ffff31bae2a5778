"""Turns that are ended by voice and words together, with the real recogniser and smart-turn."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(scope="module")
def patient(module_server):
    return module_server(PARLEY_TURNS__END="patient", PARLEY_TTS__ESPEAK__RATE_WPM="450")


async def test_a_pause_after_words_that_must_go_on_does_not_end_the_turn(patient, join):
    learner = await join(patient.url, "websocket")
    connected = await learner.until("connected")
    await learner.until("turn_complete", 60)
    await learner.say("I would like to go to the")
    await asyncio.sleep(0.8)
    await learner.say("market with my sister.")
    await learner.until("ai_text", 60, is_complete=True)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    kept = patient.wait_for(lambda: patient.get(f"/api/sessions/{connected['session_id']}"), "the stored session")
    said = [t["text"].lower() for t in kept["turns"] if t["role"] == "learner"]
    assert len(said) == 1, said
    assert "sister" in said[0] or "market" in said[0]


async def test_a_whole_sentence_is_answered(patient, join):
    learner = await join(patient.url, "websocket")
    await learner.until("turn_complete", 60)
    for text in ("My name is Anna.", "I come from Spain."):
        await learner.say(text)
        await learner.until("transcript", 30, is_final=True)
        answer = await learner.until("ai_text", 30, is_complete=True)
        assert answer["text"].strip()
        await learner.until("turn_complete", 60)
    rows = [m["row"] for m in learner.of("metrics") if m["row"]["v2v_ms"] is not None]
    assert len({row["turn"] for row in rows}) == 2
    assert all(row["user_stop"] < row["eot"] < row["sent"] for row in rows)
