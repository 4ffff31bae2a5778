"""Whole calls whose voice comes from a Kyutai server: captions, interruptions, and a server that dies in mid-reply."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pipeline.faults.lines import APOLOGY
from tests.pipeline.tts.kyutai_server import KyutaiServer

ENGINE = {"PARLEY_TTS__ENGINE": "kyutai", "PARLEY_STT__POCKETSPHINX__WORKERS": "1"}


async def serve(own_server: Any, voice: KyutaiServer, **env: str) -> Any:
    # In a thread: the server looks for the voice, which lives on this loop, before it is ready.
    return await asyncio.to_thread(own_server, **ENGINE, PARLEY_TTS__KYUTAI__URL=voice.url, **env)


async def detail(server: Any) -> dict[str, Any]:
    engines = (await asyncio.to_thread(server.get, "/status"))["engines"]
    (voice,) = (engine for engine in engines if engine["stage"] == "tts")
    return dict(voice["detail"])


async def report(learner: Any, server: Any, session_id: str) -> list[dict[str, Any]]:
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis", 60)
    kept = await asyncio.to_thread(server.wait_for, lambda: server.get(f"/api/sessions/{session_id}"), "the stored session")
    return list(kept["turns"])


@pytest.mark.parametrize("door", ["websocket", "webrtc"])
async def test_a_call_is_spoken_captioned_and_interrupted(own_server, join, door):
    voice = KyutaiServer(word_frames=2)
    async with voice.running():
        server = await serve(own_server, voice)
        learner = await join(server.url, door)
        session_id = (await learner.until("connected"))["session_id"]
        greeting = await learner.until("ai_text", 30, is_complete=True)
        await learner.until("turn_complete", 60)
        captions = [m["text"] for m in learner.of("word")]
        assert " ".join(captions) == greeting["text"]
        assert learner.client.heard.last_voiced() is not None

        before = len(voice.visits)
        await learner.client.send({"type": "text", "text": "My name is Anna."})
        await voice.until(lambda: any(visit.frames >= 8 for visit in voice.visits[before:]))
        answer = await learner.until("ai_text", 30, is_complete=True)
        await learner.until("word", 30, index=3)
        await learner.client.send({"type": "interrupt"})
        cut = await learner.until("interrupted", 10)
        assert answer["text"].startswith(cut["text"])
        assert 2 <= len(cut["text"].split()) < len(answer["text"].split())
        await voice.until(lambda: voice.open == 0, within_s=10)
        assert voice.faults == []
        said = (await detail(server))["active"]
        assert said == 0

        turns = await report(learner, server, session_id)
        assert [t["text"] for t in turns if t["role"] == "tutor"][:2] == [greeting["text"], cut["text"]]
        first = next(t for t in turns if t["role"] == "tutor")
        assert [w["text"] for w in first["words"]] == greeting["text"].split()
        starts = [w["start_s"] for w in first["words"]]
        assert starts == sorted(starts)
        assert starts[-1] > 0.15 * (len(starts) - 2)


async def test_a_voice_that_dies_in_mid_reply_is_excused_and_comes_back(own_server, join):
    voice = KyutaiServer(word_frames=2)
    async with voice.running():
        server = await serve(own_server, voice)
        learner = await join(server.url, "websocket")
        await learner.until("connected")
        await learner.until("turn_complete", 60)

        voice.drop_after = 1
        await learner.client.send({"type": "text", "text": "My name is Anna."})
        error = await learner.until("error", 30)
        assert "voice" in error["message"]
        at = time.monotonic()
        await learner.until("ai_text", 30, is_complete=True, text=APOLOGY["tts"])
        await learner.until("turn_complete", 30)
        assert learner.client.heard.first_voiced(at - 1) is not None  # by the spare voice
        assert (await detail(server))["failed"] == 1

        await voice.stop()
        await learner.client.send({"type": "text", "text": "I come from Spain."})
        await learner.until("error", 30)
        await learner.until("ai_text", 30, is_complete=True, text=APOLOGY["tts"])
        await learner.until("turn_complete", 30)
        await voice.start()
        visits = len(voice.visits)
        await learner.client.send({"type": "text", "text": "I like music."})
        answer = await learner.until("ai_text", 30, is_complete=True)
        await learner.until("turn_complete", 60)
        assert [visit.end for visit in voice.visits[visits:]] == ["said"]
        assert len(voice.visits[visits].text.split()) >= len(answer["text"].split())
        assert voice.faults == []
