"""A whole call whose learner's voice comes over a link that loses, delays and swaps packets."""

from __future__ import annotations

import asyncio

import httpx

from tests.impaired_link import ImpairedLink

ANSWER = "my name is anna"


async def _spoken_answer(server, join, **impaired):
    """What was heard of the answer, its row of metrics, the link, and what ``/status`` says of it."""
    learner = await join(server.url, "webrtc")
    connected = await learner.until("connected")
    link = ImpairedLink(learner.client._pc, **impaired)
    await learner.until("turn_complete", 60)
    await learner.say(ANSWER)
    said = await learner.until("transcript", is_final=True)
    await learner.until("turn_complete", 60)
    (status,) = [r for r in server.get("/status")["receiving"] if r["session_id"] == connected["session_id"]]
    row = next(m["row"] for m in learner.of("metrics") if m["row"]["v2v_ms"] is not None)
    return said["text"], row, link, status


async def test_a_sentence_is_heard_over_a_bad_link_as_over_a_good_one(server, join):
    good, row, _, status = await _spoken_answer(server, join)
    assert "name is anna" in good.lower()
    # Microphone and wire are this machine: a timer's lateness is not a loss.
    assert status["lost"] <= 1
    bad, bad_row, link, bad_status = await _spoken_answer(server, join, loss=0.05, jitter_s=0.03)
    assert bad == good
    assert len(link.dropped) > 5
    assert bad_status["lost"] >= 0.7 * len(link.dropped)
    assert bad_status["concealed_ms"] > 0
    assert 25 <= bad_status["depth_ms"] <= 200
    # The words are dated by when they were spoken, whatever was lost.
    for measured in (row, bad_row):
        assert 0 < measured["user_stop"] < measured["stt_final"]
    metrics = (await asyncio.to_thread(httpx.get, f"{server.url}/metrics")).text
    # The counters are brought up to date four times a second.
    assert _value(metrics, 'parley_received_packets_total{fate="lost"}') >= 0.7 * len(link.dropped)
    assert _value(metrics, 'parley_received_made_up_seconds_total{by="concealed"}') > 0
    assert _value(metrics, "parley_jitter_wait_seconds_count") > 0


def _value(metrics, name):
    return float(next(line for line in metrics.splitlines() if line.startswith(name + " ")).split()[1])
