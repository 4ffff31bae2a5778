"""Whole calls through Telnyx, Plivo, Vonage and Exotel with the embedded engines: a voice is understood, and may interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.running_server import RunningServer
from tests.web.phone.caller import phoning
from tests.web.phone.fake_carriers import CARRIERS, FakeCarrier
from tests.web.phone.stored import ask, connected, until_turns

PUBLIC = "https://tutor.example.org"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server that all four carriers call."""
    keys = {
        f"PARLEY_PHONE__{name.upper()}__{key.upper()}": str(value)
        for name, carrier in CARRIERS.items()
        for key, value in carrier.SETTINGS.items()  # type: ignore[attr-defined]
    }
    env = {"PARLEY_TTS__ESPEAK__RATE_WPM": "250", "PARLEY_PHONE__PUBLIC_URL": PUBLIC, **keys}
    running = RunningServer(tmp_path_factory.mktemp("carriers") / "data", env).start()
    yield running
    assert running.stop() == 0


@pytest.fixture(params=list(CARRIERS))
def carrier(request: pytest.FixtureRequest) -> type[FakeCarrier]:
    return CARRIERS[request.param]


async def dialled(call: FakeCarrier) -> None:
    await call.connect(await call.answer())


async def test_a_spoken_call_from_greeting_to_report(server, flite_wav, carrier):
    async with phoning(carrier(server.url, PUBLIC)) as call:
        session_id = await connected(server, call, dialled(call))
        await until_turns(server, session_id, lambda turns: len(turns) == 1)
        await call.say(flite_wav("my name is anna"))
        kept = await until_turns(server, session_id, lambda turns: len(turns) >= 3)
        assert [t["role"] for t in kept["turns"]] == ["tutor", "learner", "tutor"]
        assert "name" in kept["turns"][1]["text"].lower()
        assert kept["metrics"][0]["heard"] is not None, "marks say when the caller heard it"
        # In the middle of a word.
        await call.say(flite_wav("i am from germany"), wait=False)
        await asyncio.sleep(0.3)
        await call.hang_up()
        await asyncio.to_thread(server.wait_for, lambda: not server.get(f"/api/sessions/{session_id}")["live"], "the end")
        assert (await ask(server, f"/api/sessions/{session_id}/report")).keys() >= {"grammar_score", "mistakes"}


async def test_speaking_over_the_tutor_empties_the_carriers_buffer(server, flite_wav, carrier):
    async with phoning(carrier(server.url, PUBLIC)) as call:
        session_id = await connected(server, call, dialled(call))
        await asyncio.sleep(0.7)
        await call.say(flite_wav("my name is anna"), wait=False)
        await call.until(lambda: call.clears, "the buffer is emptied")
        heard_s = call.heard_s
        kept = await until_turns(server, session_id, lambda turns: len(turns) >= 2)
        first = kept["turns"][0]
        assert (first["role"], first["interrupted"]) == ("tutor", True)
        assert first["words"][-1]["start_s"] < heard_s, "what the record takes for heard was played"
        await until_turns(server, session_id, lambda turns: any(t["role"] == "learner" for t in turns))


@pytest.mark.parametrize("name", ["telnyx", "plivo", "exotel"])  # Vonage numbers nothing
async def test_a_learner_is_understood_through_losses_and_mix_ups(server, flite_wav, name):
    async with phoning(CARRIERS[name](server.url, PUBLIC)) as call:
        session_id = await connected(server, call, dialled(call))
        await until_turns(server, session_id, lambda turns: len(turns) == 1)
        # Of every five pieces two change places, and one in fifty is lost.
        call.mangle = lambda n: [] if n % 50 == 0 else [n, n - 1] if n % 5 == 1 else [] if n % 5 == 0 else [n]
        await call.say(flite_wav("my name is anna"))
        kept = await until_turns(server, session_id, lambda turns: any(t["role"] == "learner" for t in turns))
        assert "name" in next(t["text"] for t in kept["turns"] if t["role"] == "learner").lower()
