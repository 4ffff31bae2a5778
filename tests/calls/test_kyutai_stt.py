"""Whole calls whose words come from a Kyutai server: real doors, real turn-taking, and a server that dies in between."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.stt.fake_kyutai import FakeKyutai
from tests.pipeline.stt.kyutai_call import until
from tests.pipeline.stt.marked_speech import mark
from tests.pipeline.stt.speech import read_pcm

WORDS = ("My", "name", "is", "Anna.", "I", "come", "from", "Spain.")


@pytest.fixture
def marked(flite_wav: Callable[..., Path], tmp_path: Path) -> Callable[[range], Path]:
    """``marked(numbers)``: a WAV of these words, which the server can hear."""

    def speak(numbers: range) -> Path:
        pcm = read_pcm(flite_wav(" ".join(WORDS[n] for n in numbers)))
        path = tmp_path / f"{numbers.start}.wav"
        with wave.open(str(path), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(16_000)
            wav.writeframes(mark(pcm, numbers, begin_s=0.1, end_s=len(pcm) / 32_000))
        return path

    return speak


async def test_turns_are_flushed_committed_and_survive_the_servers_death(own_server, join, marked) -> None:
    async with FakeKyutai(WORDS) as fake:
        # In a thread: the server looks for the recogniser, which lives on this loop, before it is ready.
        server = await asyncio.to_thread(
            own_server,
            PARLEY_STT__ENGINE="kyutai",
            PARLEY_STT__KYUTAI__URL=fake.url,
            PARLEY_STT__KYUTAI__FALLBACK="pocketsphinx",
            PARLEY_STT__POCKETSPHINX__WORKERS="1",
        )
        learner = await join(server.url, "websocket")
        connected = await learner.until("connected")
        await learner.until("turn_complete", 60)
        engines = (await asyncio.to_thread(server.get, "/status"))["engines"]
        (recogniser,) = (engine for engine in engines if engine["stage"] == "stt")
        assert recogniser["detail"]["extensions"] == ["flush", "pcm16"]
        await learner.play(marked(range(4)))
        heard = await learner.until("transcript", 30, is_final=True)
        assert heard["text"] == "My name is Anna."
        await learner.until("turn_complete", 60)
        calls = [s for s in fake.sessions if s.samples]
        assert len(calls) == 1
        assert calls[0].flushes >= 1
        assert calls[0].commits == 1
        assert calls[0].zeros == 0

        await fake.stop()
        await learner.say("I come from Spain.")
        heard = await learner.until("transcript", 30, is_final=True)
        assert "spain" in heard["text"].lower()  # by the embedded recogniser
        await learner.until("turn_complete", 60)

        await fake.start()
        await learner.play(marked(range(4, 8)))
        heard = await learner.until("transcript", 30, is_final=True)
        assert heard["text"] == "I come from Spain."
        await learner.until("turn_complete", 60)
        assert fake.problems == []

        await learner.client.send({"type": "end_conversation"})
        await learner.until("analysis", 60)
        kept = await asyncio.to_thread(
            server.wait_for, lambda: server.get(f"/api/sessions/{connected['session_id']}"), "the stored session"
        )
        first = next(t for t in kept["turns"] if t["role"] == "learner")
        assert [w["text"] for w in first["words"]] == ["My", "name", "is", "Anna."]
        starts = [w["start_s"] for w in first["words"]]
        assert starts == sorted(starts)
        await until(lambda: fake.taken == 0)
