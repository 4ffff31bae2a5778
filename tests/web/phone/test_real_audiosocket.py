"""A whole call from an Asterisk with the embedded engines: a voice at 8 kHz and at 16 kHz is understood and answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.running_server import RunningServer
from tests.web.phone.caller import phoning
from tests.web.phone.fake_asterisk import FakeAsterisk
from tests.web.phone.stored import ask, connected, until_turns


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


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
async def test_a_spoken_call_from_greeting_to_report(server, flite_wav, rate_hz):
    async with phoning(FakeAsterisk(port_of(server), rate_hz=rate_hz)) as call:
        session_id = await connected(server, call, call.dial())
        await until_turns(server, session_id, lambda turns: len(turns) >= 1)
        await call.say(flite_wav("my name is anna"))
        kept = await until_turns(server, session_id, lambda turns: len(turns) >= 3)
        assert [t["role"] for t in kept["turns"]][:3] == ["tutor", "learner", "tutor"]
        assert "name" in kept["turns"][1]["text"].lower()
        await call.hang_up(word=False)
        await asyncio.to_thread(server.wait_for, lambda: not server.get(f"/api/sessions/{session_id}")["live"], "the end")
        assert (await ask(server, f"/api/sessions/{session_id}/report")).keys() >= {"grammar_score", "mistakes"}


async def test_speaking_over_the_tutor_stops_it_and_keeps_what_was_heard(server, flite_wav):
    async with phoning(FakeAsterisk(port_of(server))) as call:
        session_id = await connected(server, call, call.dial())
        await call.until(lambda: call.voiced_s > 0.7, "some of the greeting is heard")
        await call.say(flite_wav("my name is anna"), wait=False)
        kept = await until_turns(server, session_id, lambda turns: len(turns) >= 2)
        first = kept["turns"][0]
        assert first["interrupted"]
        assert first["words"][-1]["start_s"] < call.heard_s
        call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")
        assert call.hung_up
