"""Whole calls over the three engines of configs/gpu.yaml, each a process of its own on tiny random weights.

What is recognised, thought and said is nonsense; that it comes, with its times, is interrupted everywhere, leaves nothing
behind, and survives the death of each engine, is not.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pipeline.faults.lines import APOLOGY, ON_SCREEN
from tests.calls.real_engines import BIN, SLOTS, Engines, write_models, write_settings
from tests.running_server import RunningServer

pytestmark = pytest.mark.skipif(not BIN.is_dir(), reason="the engines' environment was left out (ENGINES=0)")
STARTED_AGAIN = pytest.mark.leaves_running(reason="an engine that is started again belongs to the server of all these tests")

ENDLESS = 12_000
"""Letters that the language model writes in a minute or more, and the voice would say in a quarter of an hour."""
SHORT = 60


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    folder = tmp_path_factory.mktemp("engines")
    write_models(folder)
    arguments = ("--config", str(write_settings(folder, folder)))
    server = RunningServer(folder / "data", args=arguments, start_within_s=240)
    try:
        yield Engines(server.start())
    finally:
        if server.process is not None and server.process.poll() is None:
            assert server.stop() == 0
            assert "did not stop in time" not in server.log.read_text(), "a call that held up its own end"


async def until(condition: Callable[[], Any], what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        await asyncio.sleep(0.1)


async def joined(engines: Engines, join: Any) -> tuple[Any, str]:
    """A learner who was greeted, and the session's id."""
    learner = await join(engines.server.url, "websocket")
    connected = await learner.until("connected")
    greeting = await learner.until("ai_text", 60, is_complete=True)
    assert len(set(greeting["text"])) > 5, "a model that writes one letter shows nothing"
    await learner.until("turn_complete", 60)
    return learner, connected["session_id"]


async def set_length(learner: Any, letters: int) -> None:
    await learner.client.send({"type": "set_options", "max_tokens": letters})


async def come_back(engines: Engines, name: str, before: dict[str, int]) -> None:
    """Waits until an engine that was killed serves again, alone of all, and with it the whole."""
    wanted = before | {name: before[name] + 1}
    await until(lambda: engines.processes()[name]["state"] == "ready" and restarts(engines) == wanted, f"{name} again", 120)
    await asyncio.to_thread(engines.server.get, "/ready")


def restarts(engines: Engines) -> dict[str, int]:
    """How often each engine was started again."""
    return {name: process["restarts"] for name, process in engines.processes().items()}


async def kill(engines: Engines, name: str) -> dict[str, int]:
    """Kills an engine; returns how often each was started again before."""
    before = restarts(engines)
    engines.process(name).send_signal(signal.SIGKILL)
    await until(lambda: engines.processes()[name]["state"] != "ready", "its death is noticed")
    answer = await asyncio.to_thread(httpx.get, f"{engines.server.url}/ready")
    assert answer.status_code == 503
    assert f"engine {name} is " in answer.json()["detail"]
    return before


async def answered(learner: Any, text: str) -> None:
    """Says ``text`` by keyboard and waits for an answer that is none of the lines for faults."""
    await learner.client.send({"type": "text", "text": text})
    answer = await learner.until("ai_text", 60, is_complete=True)
    assert answer["text"].strip()
    assert answer["text"] not in APOLOGY.values()
    await learner.until("turn_complete", 60)


def free_slots(engines: Engines) -> bool:
    """Whether nobody has a slot of either speech engine."""
    return not any(engines.metric(kind, f"kyutai_{kind}_{what}") for kind in ("stt", "tts") for what in ("slots_used", "queue"))


async def test_a_call_is_heard_answered_interrupted_and_leaves_nothing(engines: Engines, join: Any) -> None:
    processes = engines.processes()
    assert {name: p["state"] for name, p in processes.items()} == {"llm": "ready", "stt": "ready", "tts": "ready"}
    assert engines.server.get("/gpu")["engines"] == [], "they compute on the processor"
    assert engines.metric("stt", "kyutai_stt_slots") == engines.metric("tts", "kyutai_tts_slots") == SLOTS
    finals = engines.stage("stt")["finals"]

    learner, session_id = await joined(engines, join)
    assert engines.metric("stt", "kyutai_stt_slots_used") == 1
    flushes = engines.metric("stt", "kyutai_stt_flush_seconds_count")
    voiced = learner.client.heard.voiced_packets
    assert voiced > 0, "the greeting was heard"
    await learner.say("good morning my name is anna and i like tea")
    said = await learner.until("transcript", 60, is_final=True)
    assert len(set(said["text"])) > 5
    answer = await learner.until("ai_text", 60, is_complete=True)
    await learner.until("turn_complete", 60)
    assert [w["index"] for w in learner.of("word")][-len(answer["text"].split()) :] == list(range(len(answer["text"].split())))
    assert learner.client.heard.voiced_packets > voiced
    assert engines.metric("stt", "kyutai_stt_flush_seconds_count") > flushes
    assert engines.stage("stt")["finals"] == finals + 1

    # An answer that would go on for minutes is spoken over.
    await set_length(learner, ENDLESS)
    await learner.client.send({"type": "text", "text": "Tell me everything."})
    await learner.until("speaking", 60, who="tutor", active=True)
    await set_length(learner, SHORT)
    await until(lambda: engines.metric("tts", "kyutai_tts_slots_used") == 1, "a slot for the answer")
    cancelled = engines.metric("tts", "kyutai_tts_sessions_total", end="cancelled")
    mind = await asyncio.to_thread(engines.process, "llm")
    assert mind.cpu_percent(0.5) > 20, "it writes"
    await learner.until("word", 60, index=1)  # a reply of which nothing was heard has no turn
    await learner.say("wait a moment please i have a question", wait=False)
    await learner.until("interrupted", 60)
    await until(lambda: engines.metric("tts", "kyutai_tts_sessions_total", end="cancelled") > cancelled, "the voice's end")
    again = await learner.until("ai_text", 60, is_complete=True)
    assert again["text"].strip()
    await learner.until("turn_complete", 60)
    await until(lambda: mind.cpu_percent(0.5) < 20, "the end of what nobody reads", 30)

    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis", 60)
    kept = await asyncio.to_thread(
        engines.server.wait_for, lambda: engines.server.get(f"/api/sessions/{session_id}"), "the stored session"
    )
    assert [t["role"] for t in kept["turns"]] == ["tutor", "learner", "tutor", "learner", "tutor", "learner", "tutor"]
    spoken = kept["turns"][1]
    assert spoken["text"] == said["text"]
    assert " ".join(w["text"] for w in spoken["words"]) == said["text"]
    for turn in (spoken, kept["turns"][2]):
        starts = [w["start_s"] for w in turn["words"]]
        assert starts == sorted(starts)
        assert len(set(starts)) > 1
        assert all(a["end_s"] >= a["start_s"] for a in turn["words"])
    assert len(kept["turns"][4]["text"]) < ENDLESS / 4, "what was heard of it"
    await until(lambda: free_slots(engines), "free slots")
    assert engines.stage("stt")["fallback_finals"] == 0
    assert engines.stage("tts")["failed"] == 0
    assert set(restarts(engines).values()) == {0}


@STARTED_AGAIN
async def test_a_call_survives_the_death_of_its_language_model(engines: Engines, join: Any) -> None:
    learner, _ = await joined(engines, join)
    await set_length(learner, ENDLESS)
    await learner.client.send({"type": "text", "text": "Tell me everything."})
    await learner.until("speaking", 60, who="tutor", active=True)
    await set_length(learner, SHORT)
    started = await kill(engines, "llm")
    assert (await learner.until("error", 60))["message"] == ON_SCREEN["llm"]
    await learner.until("ai_text", 60, is_complete=True, text=APOLOGY["llm"])
    await learner.until("turn_complete", 60)
    await come_back(engines, "llm", started)
    await answered(learner, "I like tea.")
    assert learner.of("error")[1:] == []


@STARTED_AGAIN
async def test_a_call_survives_the_death_of_its_voice(engines: Engines, join: Any) -> None:
    learner, _ = await joined(engines, join)
    await set_length(learner, ENDLESS)
    await learner.client.send({"type": "text", "text": "Tell me everything."})
    await learner.until("speaking", 60, who="tutor", active=True)
    await set_length(learner, SHORT)
    failed = engines.stage("tts")["failed"]
    started = await kill(engines, "tts")
    assert (await learner.until("error", 60))["message"] == ON_SCREEN["tts"]
    await learner.until("ai_text", 60, is_complete=True, text=APOLOGY["tts"])
    await learner.until("turn_complete", 60)
    assert engines.stage("tts")["failed"] > failed
    await come_back(engines, "tts", started)
    assert engines.metric("tts", "kyutai_tts_sessions_total") == 0, "it is another process"
    await answered(learner, "I like tea.")
    assert engines.metric("tts", "kyutai_tts_sessions_total", end="done") == 1
    assert learner.of("error")[1:] == []


@STARTED_AGAIN
async def test_a_call_survives_the_death_of_its_recogniser(engines: Engines, join: Any) -> None:
    learner, _ = await joined(engines, join)
    before = engines.stage("stt")
    speech = await learner.say("my name is anna and i come from spain", wait=False)
    await learner.until("speaking", who="learner", active=True)
    started = await kill(engines, "stt")
    await asyncio.wait_for(speech.done.wait(), 60)
    heard = await learner.until("transcript", 60, is_final=True)
    assert "spain" in heard["text"].lower(), "by the fallback"
    await learner.until("turn_complete", 60)
    assert engines.stage("stt")["fallback_finals"] == before["fallback_finals"] + 1
    await come_back(engines, "stt", started)
    await learner.say("good morning")
    await learner.until("transcript", 60, is_final=True)
    await learner.until("turn_complete", 60)
    after = engines.stage("stt")
    assert (after["finals"], after["fallback_finals"]) == (before["finals"] + 2, before["fallback_finals"] + 1)
    assert engines.metric("stt", "kyutai_stt_rows_total") > 0
    assert learner.of("error") == []
