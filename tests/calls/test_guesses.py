"""Answers that are begun before the turn is over, in a whole call: the recogniser knows what is said, all else is real."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bench.servers import ServerProcess
from web.talk.wavs import read_wav

LEAD_S = 0.5
RATE_HZ = 16_000


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server whose recogniser is told beforehand what will be said (``bench/oracle.py``)."""
    async with ServerProcess("oracle", sorted(os.sched_getaffinity(0))) as server:
        yield server.url


def trimmed(wav: Path) -> Any:
    """Without the silence around the words."""
    pcm = read_wav(wav, RATE_HZ)
    voiced = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 300)
    return pcm[voiced[0] : voiced[-1] + 1]


async def say(learner: Any, url: str, flite_wav: Any, parts: Sequence[str], pause_s: float) -> None:
    """Say ``parts`` with a pause of ``pause_s`` between them."""
    pcm, words = np.zeros(round(LEAD_S * RATE_HZ), np.int16), []
    for i, part in enumerate(parts):
        if i:
            pcm = np.concatenate([pcm, np.zeros(round(pause_s * RATE_HZ), np.int16)])
        pcm = np.concatenate([pcm, trimmed(flite_wav(part))])
        words += [[word, len(pcm) / RATE_HZ - LEAD_S] for word in part.split()]
    end_s = len(pcm) / RATE_HZ - LEAD_S
    utterance = learner.client.microphone.say(pcm)
    while learner.client.microphone.onset_at(utterance) is None:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.005)
    begins = learner.client.microphone.onset_at(utterance) + LEAD_S
    body = {"lead_s": begins - time.monotonic(), "words": words, "voice_s": 0.0, "end_s": end_s}
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(f"{url}/bench/oracle/say", json=body)).raise_for_status()
    await asyncio.wait_for(utterance.done.wait(), 30)


def stored(url: str, connected: dict[str, Any]) -> list[tuple[str, str]]:
    """Who said what, as it is kept."""
    kept = httpx.get(f"{url}/api/sessions/{connected['session_id']}", trust_env=False).json()
    return [(turn["role"], turn["text"]) for turn in kept["turns"]]


def guesses(url: str) -> dict[str, float]:
    """How many were confirmed, and withdrawn."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.findall(r'^parley_speculations_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_a_guess_that_was_right_is_the_answer(url, join, flite_wav):
    learner = await join(url, "websocket")
    connected = await learner.until("connected")
    await say(learner, url, flite_wav, ["My brother works in a bank"], 0.0)
    answer = await learner.until("ai_text", 30, is_complete=True)
    await learner.until("turn_complete", 30)
    assert guesses(url) == {"confirmed": 1.0}
    assert len([m for m in learner.of("ai_text") if m["is_complete"]]) == 1
    (row,) = [m["row"] for m in learner.of("metrics")]
    # It had been begun before the turn was over, so what there is of it was there when it was.
    assert row["user_stop"] < row["llm_first_token"] < row["eot"] < row["sent"]
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    assert stored(url, connected) == [
        ("learner", "My brother works in a bank"),
        ("tutor", answer["text"]),
    ]


async def test_a_guess_that_was_wrong_leaves_no_trace_but_in_the_metrics(url, join, flite_wav):
    learner = await join(url, "websocket")
    connected = await learner.until("connected")
    # The first part could well be all; the learner goes on before that is sure.
    await say(learner, url, flite_wav, ["I usually get up at seven", "and go to work by bus"], 0.7)
    said = "I usually get up at seven and go to work by bus"
    answer = await learner.until("ai_text", 30, is_complete=True)
    await learner.until("turn_complete", 30)
    assert guesses(url)["withdrawn"] >= 1
    transcripts = [m["text"] for m in learner.of("transcript") if m["is_final"]]
    assert transcripts == [said]
    first_text = next(i for i, m in enumerate(learner.messages) if m["type"] == "ai_text")
    assert [m for m in learner.messages[:first_text] if m["type"] == "transcript" and m["text"] == said]
    assert "".join(m["text"] for m in learner.of("ai_text") if not m["is_complete"]).strip() == answer["text"]
    assert len(learner.of("turn_complete")) == len(learner.of("ai_audio_start")) == 1
    assert not learner.of("interrupted")
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    assert stored(url, connected) == [("learner", said), ("tutor", answer["text"])]


async def test_what_the_learner_types_meanwhile_is_answered_instead(url, join, flite_wav):
    learner = await join(url, "websocket")
    await learner.until("connected")
    saying = asyncio.create_task(say(learner, url, flite_wav, ["I usually get up at seven", "and go to work by bus"], 0.6))
    while not learner.of("transcript") and not saying.done():
        await asyncio.sleep(0.05)
        item = await learner.client.receive(0.05)
        if item is not None:
            learner.messages.append(item[0])
    await learner.client.send({"type": "text", "text": "Good morning."})
    await saying
    await learner.until("ai_text", 30, is_complete=True)
    finals = [m["text"] for m in learner.of("transcript") if m["is_final"]]
    assert "Good morning." in " ".join(finals)
