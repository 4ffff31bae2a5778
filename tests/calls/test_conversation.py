"""A whole call over each door: greeting, speech, answer, interruption, report."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.parametrize("door", ["websocket", "webrtc"])


async def test_a_spoken_call_from_greeting_to_report(server, join, door):
    learner = await join(server.url, door)
    connected = await learner.until("connected")
    greeting = await learner.until("ai_text", is_complete=True)
    assert greeting["text"].strip()
    assert "".join(m["text"] for m in learner.of("ai_text")[:-1]).strip() == greeting["text"].strip()
    await learner.until("turn_complete", 60)

    await learner.say("my name is anna")
    said = await learner.until("transcript", is_final=True)
    assert "name" in said["text"].lower()
    answer = await learner.until("ai_text", is_complete=True)
    assert answer["text"].strip()
    assert answer["text"] != greeting["text"]
    await learner.until("turn_complete", 60)
    row = next(m["row"] for m in learner.of("metrics") if m["row"]["v2v_ms"] is not None)
    assert 0 < row["user_stop"] < row["stt_final"]
    # An answer may be begun before the turn is surely over.
    assert row["user_stop"] < row["eot"] <= row["sent"]
    assert row["user_stop"] < row["llm_first_token"] <= row["tts_first_audio"] <= row["sent"]

    await learner.client.send({"type": "end_conversation"})
    report = (await learner.until("analysis"))["data"]
    assert {"grammar_score", "final_score", "mistakes", "strengths", "suggestions"} <= report.keys()
    assert report["grammar_score"] is None, "one short answer is not enough speech for a score"

    kept = server.wait_for(lambda: server.get(f"/api/sessions/{connected['session_id']}"), "the stored session")
    turns = kept["turns"]
    assert [t["role"] for t in turns] == ["tutor", "learner", "tutor"]
    assert turns[1]["text"] == said["text"]
    assert turns[2]["text"] == answer["text"]
    assert server.get(f"/api/sessions/{connected['session_id']}/report") == report


async def test_speaking_over_the_tutor_stops_it_and_keeps_only_what_was_heard(server, join, door):
    learner = await join(server.url, door)
    connected = await learner.until("connected")
    await learner.until("speaking", who="tutor", active=True)
    await asyncio.sleep(0.7)
    await learner.say("wait a moment please", wait=False)
    interrupted = await learner.until("interrupted")
    full = next(m["text"] for m in learner.of("ai_text") if m["is_complete"])
    assert interrupted["text"]
    assert full.startswith(interrupted["text"])
    assert len(interrupted["text"]) < len(full)
    await learner.until("transcript", 30, is_final=True)
    await learner.until("ai_text", 30, is_complete=True)
    await learner.until("speaking", 30, who="tutor", active=True)
    row = await learner.until("metrics", 30)
    while row["row"]["barge_in_ms"] is None:
        row = await learner.until("metrics", 30)
    assert row["row"]["verdict"] == "real"
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    turns = server.get(f"/api/sessions/{connected['session_id']}")["turns"]
    assert turns[0]["interrupted"]
    assert turns[0]["text"] == interrupted["text"]


async def test_typing_level_lesson_and_the_interrupt_button(server, join, door):
    learner = await join(server.url, door)
    await learner.until("speaking", who="tutor", active=True)
    await learner.client.send({"type": "interrupt"})
    await learner.until("interrupted")
    await learner.client.send({"type": "set_level", "level": "advanced"})
    await learner.client.send({"type": "text", "text": "My name is Anna."})
    said = await learner.until("transcript", is_final=True)
    assert said["text"] == "My name is Anna."
    await learner.until("ai_text", is_complete=True)
    await learner.client.send({"type": "set_lesson", "lesson": "no such lesson"})
    refused = await learner.until("error")
    assert "no such lesson" in refused["message"]
    assert "introductions" in refused["message"]
    await learner.client.send({"type": "set_lesson", "lesson": "introductions"})
    await learner.until("ai_text", is_complete=True)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    assert any(m["items"] for m in learner.of("suggestions"))


async def test_silence_gets_no_answer_and_leaves_no_turn(server, join, door):
    learner = await join(server.url, door)
    connected = await learner.until("connected")
    await learner.until("turn_complete", 60)
    await asyncio.sleep(3)
    await learner.client.send({"type": "end_conversation"})
    report = (await learner.until("analysis"))["data"]
    assert report["final_score"] is None
    assert any("not enough speech" in note.lower() for note in report["notes"])
    turns = server.get(f"/api/sessions/{connected['session_id']}")["turns"]
    assert [t["role"] for t in turns] == ["tutor"]


async def test_a_turn_is_analysed_while_the_call_goes_on(server, join, door):
    learner = await join(server.url, door)
    connected = await learner.until("connected")
    await learner.until("turn_complete", 60)
    # The first call of a server may come before its checker is loaded.
    server.wait_for(lambda: server.get("/ready"), "the server to be ready")
    for _ in range(20):
        await learner.client.send({"type": "text", "text": "Yesterday I go to the market with a reluctant friend."})
        await learner.until("ai_text", 60, is_complete=True)
        if learner.of("turn_analysis"):
            break
    corrections = [m["items"] for m in learner.of("corrections")]
    assert [(c["original"], c["correction"]) for items in corrections for c in items][:1] == [("I go to", "I went to")]
    analysis = await learner.until("turn_analysis")
    assert analysis["notable"] == [{"word": "reluctant", "level": "B2"}]
    assert analysis["levels"]["A1"] >= 4

    await learner.client.send({"type": "end_conversation"})
    report = (await learner.until("analysis"))["data"]
    assert {m["correction"] for m in report["mistakes"]} == {"I went to"}
    kept = server.wait_for(lambda: server.get(f"/api/sessions/{connected['session_id']}"), "the stored session")
    turn = next(t for t in kept["turns"] if t["index"] == analysis["turn"])
    assert [c["correction"] for c in turn["corrections"]] == ["I went to"]
