"""A whole call from an Asterisk with the embedded engines: a voice at 8 kHz and at 16 kHz is understood and answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running_server import RunningServer
from tests.web.phone.fake_asterisk import FakeAsterisk, phoning


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server that an exchange calls."""
    env = {"PARLEY_TTS__ESPEAK__RATE_WPM": "250", "PARLEY_PHONE__AUDIOSOCKET__PORT": "0"}
    running = RunningServer(tmp_path_factory.mktemp("audiosocket") / "data", env).start()
    yield running
    assert running.stop() == 0


def port_of(server: RunningServer) -> int:
    found = re.search(r"listening: AudioSocket on 127\.0\.0\.1:(\d+)", server.log.read_text())
    assert found is not None
    return int(found[1])


async def ask(server: RunningServer, path: str) -> Any:
    return await asyncio.to_thread(server.get, path)


async def until_turns(server: RunningServer, session_id: str, count: int) -> Any:
    for _ in range(600):
        kept = await ask(server, f"/api/sessions/{session_id}")
        if len(kept["turns"]) >= count:
            return kept
        await asyncio.sleep(0.1)
    raise AssertionError([(t["role"], t["text"]) for t in kept["turns"]])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
async def test_a_spoken_call_from_greeting_to_report(server, flite_wav, rate_hz):
    async with phoning(FakeAsterisk(port_of(server), rate_hz=rate_hz)) as call:
        before = {s["id"] for s in (await ask(server, "/api/sessions"))["items"]}
        await call.dial()
        await call.until(lambda: call.voiced_s > 0.2, "the greeting begins")
        new = [s for s in (await ask(server, "/api/sessions"))["items"] if s["id"] not in before]
        assert [s["door"] for s in new] == ["phone"]
        session_id = new[0]["id"]
        await until_turns(server, session_id, 1)
        await call.say(flite_wav("my name is anna"))
        kept = await until_turns(server, session_id, 3)
        assert [t["role"] for t in kept["turns"]][:3] == ["tutor", "learner", "tutor"]
        assert "name" in kept["turns"][1]["text"].lower()
        await call.hang_up(word=False)
        await asyncio.to_thread(server.wait_for, lambda: not server.get(f"/api/sessions/{session_id}")["live"], "the end")
        assert (await ask(server, f"/api/sessions/{session_id}/report")).keys() >= {"grammar_score", "mistakes"}


async def test_speaking_over_the_tutor_stops_it_and_keeps_what_was_heard(server, flite_wav):
    async with phoning(FakeAsterisk(port_of(server))) as call:
        before = {s["id"] for s in (await ask(server, "/api/sessions"))["items"]}
        await call.dial()
        await call.until(lambda: call.voiced_s > 0.7, "the greeting begins")
        await call.say(flite_wav("my name is anna"), wait=False)
        new = [s for s in (await ask(server, "/api/sessions"))["items"] if s["id"] not in before]
        kept = await until_turns(server, new[0]["id"], 2)
        first = kept["turns"][0]
        assert first["interrupted"]
        assert first["words"][-1]["start_s"] < len(call.heard) / 2 / call.rate_hz
        call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.hung_up
