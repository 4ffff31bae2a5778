"""Recordings over REST: told, declined, heard again in parts, taken away, and gone with their session."""

from __future__ import annotations

import asyncio
import io
import zipfile

import numpy as np
import pytest
import soundfile

TONE = (8_000 * np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)).astype(np.int16).tobytes()
ON = {"recording": {"enabled": True}}


async def speak(chat, seconds: float = 1.0) -> None:
    for n in range(int(seconds * 50)):
        await chat.send(TONE[n % 50 * 640 : n % 50 * 640 + 640])
        await asyncio.sleep(0.02)


async def held(running, query: str = "?extras=1", text: str = "My quokka smiles.") -> dict:
    async with running.chat(query) as chat:
        await chat.until("ai_text", is_complete=True)
        await speak(chat)
        if "extras" in query:
            await chat.send({"type": "text", "text": text})
            await chat.until("turn_complete")
        await chat.send({"type": "end_conversation"})
        await chat.until("analysis")
        await chat.closed()
        return chat.seen[0]


def recordings(running):
    return running.state.settings.data_dir / "recordings"


async def test_off_by_default_no_file_and_no_word_of_it(serve):
    running = await serve()
    hello = await held(running)
    assert "recording" not in hello
    assert not recordings(running).exists()
    async with running.http() as http:
        assert (await http.get("/api/client-config")).json()["recording"] is False
        response = await http.get(f"/api/sessions/{hello['session_id']}/audio")
        assert response.status_code == 404
        assert response.json()["type"] == "urn:parley:problem:not-recorded"
        assert (await http.get(f"/api/sessions/{hello['session_id']}")).json()["recorded"] is False


@pytest.mark.parametrize("query", ["", "?extras=1"])
async def test_every_client_is_told(serve, query):
    running = await serve(**ON)
    hello = await held(running, query)
    assert hello["recording"] is True


async def test_both_voices_are_kept_at_their_place(serve):
    running = await serve(**ON)
    hello = await held(running)
    session_id = hello["session_id"]
    async with running.http() as http:
        detail = (await http.get(f"/api/sessions/{session_id}")).json()
        assert detail["recorded"] is True
        assert detail["recording_started_at"] <= detail["turns"][-1]["started_at"]
        response = await http.get(f"/api/sessions/{session_id}/audio")
        assert response.status_code == 200
        assert response.headers["content-type"] == "audio/flac"
        assert response.headers["accept-ranges"] == "bytes"
        audio, rate_hz = soundfile.read(io.BytesIO(response.content))
        # The learner's 1 kHz on the left, the tutor's 440 Hz on the right, each at its level and nowhere else.
        for channel, hz, amplitude in ((0, 1_000, 8_000), (1, 440, 8_000)):
            voice = audio[:, channel]
            frequency = np.argmax(np.abs(np.fft.rfft(voice))) * rate_hz / len(voice)
            assert abs(frequency - hz) < 20
            assert abs(20 * np.log10(np.abs(voice).max() / (amplitude / 32768))) < 1

        part = await http.get(f"/api/sessions/{session_id}/audio", headers={"Range": "bytes=100-199"})
        assert part.status_code == 206
        assert part.content == response.content[100:200]
        assert part.headers["content-range"] == f"bytes 100-199/{len(response.content)}"
        beyond = await http.get(f"/api/sessions/{session_id}/audio", headers={"Range": f"bytes={len(response.content) + 5}-"})
        assert beyond.status_code == 416
        assert (await http.head(f"/api/sessions/{session_id}/audio")).headers["content-length"] == str(len(response.content))

        taken = await http.get(f"/api/sessions/{session_id}/export", params={"format": "audio"})
        assert taken.headers["content-disposition"] == f'attachment; filename="parley-{session_id}.flac"'
        assert taken.content == response.content
        packed = await http.get(f"/api/sessions/{session_id}/export", params={"format": "zip"})
        with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            assert names == {"session.json", "transcript.md", "recording.flac"}
            assert archive.read(f"parley-{session_id}/recording.flac") == response.content
            assert b"quokka" in archive.read(f"parley-{session_id}/transcript.md")


async def test_a_deleted_session_leaves_neither_sound_nor_words_nor_figures(serve):
    running = await serve(**ON)
    session_id = (await held(running))["session_id"]
    other = (await held(running, text="My wombat sleeps."))["session_id"]
    folder = recordings(running) / session_id
    async with running.http() as http:
        assert (await http.get(f"/api/sessions/{session_id}/audio")).status_code == 200
        data = [path for path in running.state.settings.data_dir.rglob("*") if path.is_file()]
        assert any(b"quokka" in path.read_bytes() for path in data)
        assert any(session_id.encode() in path.read_bytes() for path in data)
        assert (await http.delete(f"/api/sessions/{session_id}")).status_code == 204
        assert not folder.exists()
        assert (recordings(running) / other).exists()
        for path in [path for path in running.state.settings.data_dir.rglob("*") if path.is_file()]:
            kept = path.read_bytes()
            assert b"quokka" not in kept, path
            # The id stands in every row: of the session with its report, of its turns, and of its metrics.
            assert session_id.encode() not in kept, path
        for path in ("", "/audio", "/report", "/export"):
            assert (await http.get(f"/api/sessions/{session_id}{path}")).status_code == 404
        assert (await http.get("/api/sessions", params={"q": "wombat"})).json()["items"][0]["id"] == other


async def test_a_learner_may_decline_over_every_way_in(serve):
    running = await serve(**ON)
    assert "recording" not in await held(running, "?extras=1&record=0")
    async with running.http() as http:
        made = (await http.post("/session", json={"record": False})).json()
        assert made["recording"] is False
        again = (await http.post("/session", json={})).json()
        assert again["recording"] is True
    assert "recording" not in await held(running, f"?extras=1&resume={made['resume_token']}")
    assert (await held(running, f"?extras=1&resume={again['resume_token']}"))["recording"] is True
    assert [path.name for path in recordings(running).iterdir()] == [again["session_id"]]


async def test_a_running_session_is_not_played(serve):
    running = await serve(**ON)
    async with running.chat("?extras=1") as chat, running.http() as http:
        await chat.until("ai_text", is_complete=True)
        session_id = chat.seen[0]["session_id"]
        assert (await http.get(f"/api/sessions/{session_id}/audio")).status_code == 409
        assert (await http.get(f"/api/sessions/{session_id}/export", params={"format": "zip"})).status_code == 409


async def test_where_nothing_can_be_written_the_call_goes_on_and_the_learner_is_told(serve):
    running = await serve(**ON)
    recordings(running).write_bytes(b"in the way")
    async with running.chat("?extras=1") as chat:
        assert chat.seen[0]["recording"] is True
        stopped = await chat.until("recording_stopped")
        assert stopped["reason"]
        await chat.send({"type": "text", "text": "Are you there?"})
        await chat.until("transcript", is_final=True, text="Are you there?")
        await chat.until("turn_complete")
        await chat.send({"type": "end_conversation"})
        await chat.until("analysis")
