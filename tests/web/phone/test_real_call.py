"""Whole calls by phone with the embedded engines: a voice at 8 kHz is understood, answered, and may interrupt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from agent.analysis.words import tokens
from tests.running_server import RunningServer
from tests.web.phone.caller import phoning
from tests.web.phone.fake_twilio import AUTH_TOKEN, FakeTwilio
from tests.web.phone.stored import ask, connected, until_turns

PUBLIC = "https://tutor.example.org"


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    return {
        "PARLEY_TTS__ESPEAK__RATE_WPM": "250",
        "PARLEY_PHONE__PUBLIC_URL": PUBLIC,
        "PARLEY_PHONE__TWILIO__AUTH_TOKEN": AUTH_TOKEN,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, server_env: dict[str, str]) -> Iterator[RunningServer]:
    """One server that Twilio calls."""
    running = RunningServer(tmp_path_factory.mktemp("twilio") / "data", server_env).start()
    yield running
    assert running.stop() == 0


async def dialled(call: FakeTwilio) -> None:
    await call.connect(await call.dial())


async def test_a_spoken_call_from_greeting_to_report(server, flite_wav):
    async with phoning(FakeTwilio(server.url, PUBLIC)) as call:
        session_id = await connected(server, call, dialled(call))
        await until_turns(server, session_id, lambda turns: len(turns) == 1)
        await call.say(flite_wav("my name is anna"))
        kept = await until_turns(server, session_id, lambda turns: len(turns) >= 3)
        assert [t["role"] for t in kept["turns"]] == ["tutor", "learner", "tutor"]
        assert "name" in kept["turns"][1]["text"].lower()
        greeting, answer = kept["metrics"][0], kept["metrics"][1]
        assert greeting["heard"] is not None, "marks say when the caller heard it"
        assert answer["user_stop"] < answer["sent"]
        await call.hang_up()
        # A stored session has ended before its call is put away, so it may be live for a moment.
        await asyncio.to_thread(server.wait_for, lambda: not server.get(f"/api/sessions/{session_id}")["live"], "the end")
        assert (await ask(server, f"/api/sessions/{session_id}/report")).keys() >= {"grammar_score", "mistakes"}


async def test_speaking_over_the_tutor_empties_the_carriers_buffer_and_keeps_what_was_heard(server, flite_wav):
    async with phoning(FakeTwilio(server.url, PUBLIC, mark_delay_s=0.12)) as call:
        session_id = await connected(server, call, dialled(call))
        await asyncio.sleep(0.7)
        await call.say(flite_wav("my name is anna"), wait=False)
        await call.until(lambda: call.clears, "the buffer is emptied")
        heard_s = call.heard_s
        kept = await until_turns(server, session_id, lambda turns: len(turns) >= 2)
        first = kept["turns"][0]
        assert first["role"] == "tutor"
        assert first["interrupted"]
        assert first["words"], "the words that were heard"
        # What was heard by the record was played by the caller's telephone.
        assert first["words"][-1]["start_s"] < heard_s
        await until_turns(server, session_id, lambda turns: any(t["role"] == "learner" for t in turns))
        await call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")


async def test_0_says_the_greeting_once_more(server):
    async with phoning(FakeTwilio(server.url, PUBLIC)) as call:
        session_id = await connected(server, call, dialled(call))
        kept = await until_turns(server, session_id, lambda turns: len(turns) == 1)
        await call.press("0")
        kept = await until_turns(server, session_id, lambda turns: len(turns) == 2)
        assert kept["turns"][0]["text"] == kept["turns"][1]["text"]
        # The lesson stands where it stood: an answer to the line is still one.
        await call.hang_up()


async def test_a_learner_reads_aloud_over_the_telephone_and_is_followed(own_server, speech_dir, tmp_path):
    names = [f"learners/{name}.wav" for name in ("010270117", "010330026", "013360001", "022420015")]
    texts = {}
    for line in (speech_dir / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        texts[entry["file"]] = entry["text"]
    clips = {texts[name]: speech_dir / name for name in names}
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(clips) + "\n")
    server = await asyncio.to_thread(
        own_server,
        PARLEY_TUTOR__READ_ALOUD_FILE=str(sentences),
        PARLEY_PHONE__LESSON="read_aloud",
        PARLEY_TTS__ESPEAK__RATE_WPM="450",  # nobody interrupts it
    )
    async with phoning(FakeTwilio(server.url, PUBLIC)) as call:
        session_id = await connected(server, call, dialled(call))
        seen, followed = 0, {}
        while len(followed) < len(clips):
            asked_for = seen
            turns = (
                await until_turns(
                    server, session_id, lambda turns, n=asked_for: len(turns) > n and turns[-1]["role"] == "tutor"
                )
            )["turns"]
            prompt, seen = " ".join(tokens(turns[-1]["text"])), len(turns)
            asked = next((text for text in clips if " ".join(tokens(text)) in prompt and text not in followed), None)
            if asked is None:
                break  # asked again for one that was not understood, or the lesson is over
            await call.say(clips[asked])
            turns = (await until_turns(server, session_id, lambda turns, n=seen: len(turns) > n))["turns"]
            heard, seen = turns[seen], seen + 1
            followed[asked] = heard["role"] == "learner" and tokens(heard["text"]) == tokens(asked)
        assert sum(followed.values()) >= 2, f"half of the sentences are recognised word for word: {followed}"
        await call.press("#")
        await call.until(call.ended.is_set, "the server hangs up")
