"""Whole calls with the embedded engines from a real SIP telephone, baresip: it is understood, answered, and hung up on."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agent.analysis.words import tokens
from tests.running_server import RunningServer
from tests.web.phone.sip.baresip import calling
from tests.web.phone.sip.telephone import Telephone, phoning


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    return {"PARLEY_TTS__ESPEAK__RATE_WPM": "250", "PARLEY_PHONE__SIP__PORT": "0"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, server_env: dict[str, str]) -> Iterator[RunningServer]:
    """One server that telephones call."""
    running = RunningServer(tmp_path_factory.mktemp("sip") / "data", server_env).start()
    yield running
    assert running.stop() == 0


def port_of(server: RunningServer) -> int:
    found = re.search(r"listening: SIP on 127\.0\.0\.1:(\d+)/udp", server.log.read_text())
    assert found is not None
    return int(found[1])


async def ask(server: RunningServer, path: str) -> Any:
    return await asyncio.to_thread(server.get, path)


async def until_listed(server: RunningServer, before: set[str]) -> str:
    """The session of the call that has just begun."""
    for _ in range(300):
        if new := [s for s in (await ask(server, "/api/sessions"))["items"] if s["id"] not in before]:
            assert [s["door"] for s in new] == ["phone"]
            return str(new[0]["id"])
        await asyncio.sleep(0.1)
    raise AssertionError("no session")


@pytest.fixture
async def before(server: RunningServer) -> set[str]:
    """The sessions that there were before the test."""
    return {s["id"] for s in (await ask(server, "/api/sessions"))["items"]}


async def until_turns(server: RunningServer, session_id: str, count: int) -> Any:
    for _ in range(600):
        kept = await ask(server, f"/api/sessions/{session_id}")
        if len(kept["turns"]) >= count:
            return kept
        await asyncio.sleep(0.1)
    raise AssertionError([(t["role"], t["text"]) for t in kept["turns"]])


async def until_ended(server: RunningServer, session_id: str) -> Any:
    await asyncio.to_thread(server.wait_for, lambda: not server.get(f"/api/sessions/{session_id}")["live"], "the end")
    return await ask(server, f"/api/sessions/{session_id}/report")


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_a_spoken_call_from_greeting_to_report(server, flite_wav, tmp_path, before, codec):
    async with calling(tmp_path, server, port_of(server), codec=codec) as call:
        session_id = await until_listed(server, before)
        await until_turns(server, session_id, 1)
        await call.say(flite_wav("my name is anna"))
        kept = await until_turns(server, session_id, 3)
        assert [t["role"] for t in kept["turns"]][:3] == ["tutor", "learner", "tutor"]
        assert "name" in kept["turns"][1]["text"].lower()
        await call.do("sndcode", "#")
        await call.until_said("session closed|terminated")
        assert (await until_ended(server, session_id)).keys() >= {"grammar_score", "mistakes"}
    assert f"Set audio decoder: {codec} 8000Hz" in call.log.read_text(errors="replace")
    assert call.voiced_s > 2.0, "the tutor was heard"
    assert np.abs(call.samples).max() > 3_000


async def test_a_caller_who_hangs_up_gets_a_report(server, tmp_path, before):
    async with calling(tmp_path, server, port_of(server)) as call:
        session_id = await until_listed(server, before)
        await until_turns(server, session_id, 1)
        await call.do("hangup")
        assert (await until_ended(server, session_id)).keys() >= {"grammar_score"}


async def test_a_call_that_was_on_hold_goes_on(server, tmp_path, before):
    async with calling(tmp_path, server, port_of(server)) as call:
        session_id = await until_listed(server, before)
        await until_turns(server, session_id, 1)
        # Its log has what it sends and what it receives, in bits a second: as much as G.711, or nothing.
        await call.until_said(r"audio=6\d{4}/6\d{4} ")
        await call.do("hold")
        await call.until_said(r"(?s)call: hold.*audio=\d+/0 ")
        await call.do("resume")
        await call.until_said(r"(?s)call: resume.*audio=6\d{4}/6\d{4} ")
        await call.do("hangup")
        await until_ended(server, session_id)


async def test_speaking_over_the_tutor_stops_it_and_keeps_what_was_heard(server, flite_wav, before):
    async with phoning(Telephone(port_of(server))) as call:
        assert await call.dial() == "200"
        session_id = await until_listed(server, before)
        await call.until(lambda: call.voiced_s > 0.7, "the greeting begins")
        await call.say(flite_wav("my name is anna"), wait=False)
        kept = await until_turns(server, session_id, 2)
        first = kept["turns"][0]
        assert first["interrupted"]
        assert first["words"][-1]["start_s"] < len(call.samples) / 8_000
        call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")


async def test_a_learner_reads_aloud_and_is_followed(own_server, speech_dir, tmp_path):
    entries = [json.loads(line) for line in (speech_dir / "manifest.jsonl").read_text().splitlines()]
    names = [f"learners/{name}.wav" for name in ("010270117", "010330026", "013360001", "022420015")]
    clips = {entry["text"]: speech_dir / entry["file"] for entry in entries if entry["file"] in names}
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(clips) + "\n")
    server = await asyncio.to_thread(
        own_server,
        PARLEY_TUTOR__READ_ALOUD_FILE=str(sentences),
        PARLEY_PHONE__LESSON="read_aloud",
        PARLEY_TTS__ESPEAK__RATE_WPM="450",  # nobody interrupts it
    )
    async with calling(tmp_path, server, port_of(server)) as call:
        session_id, seen, followed = await until_listed(server, set()), 0, {}
        while len(followed) < len(clips):
            turns = (await until_turns(server, session_id, seen + 1))["turns"]
            if turns[-1]["role"] != "tutor":
                continue
            prompt, seen = " ".join(tokens(turns[-1]["text"])), len(turns)
            asked = next((text for text in clips if " ".join(tokens(text)) in prompt and text not in followed), None)
            if asked is None:
                break  # asked again for one that was not understood, or the lesson is over
            await call.say(clips[asked])
            heard = (await until_turns(server, session_id, seen + 1))["turns"][seen]
            seen += 1
            followed[asked] = heard["role"] == "learner" and tokens(heard["text"]) == tokens(asked)
        assert sum(followed.values()) >= 2, f"half of the sentences are recognised word for word: {followed}"
