"""Learners' own voices, reading aloud, through both doors."""

from __future__ import annotations

import asyncio
import json

from agent.analysis.words import tokens

CLIPS = ["010270117", "010330026", "013360001", "022420015"]


async def test_learners_read_sentences_aloud_and_are_followed(own_server, join, speech_dir, tmp_path):
    manifest = {}
    for line in (speech_dir / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        manifest[entry["file"]] = entry["text"]
    clips = {manifest[f"learners/{name}.wav"]: speech_dir / "learners" / f"{name}.wav" for name in CLIPS}
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(clips) + "\n")
    # Nobody interrupts it: it may talk faster than anybody would follow.
    server = own_server(
        PARLEY_TUTOR__READ_ALOUD_FILE=str(sentences), PARLEY_TUTOR__LESSON="read_aloud", PARLEY_TTS__ESPEAK__RATE_WPM="450"
    )
    async with asyncio.TaskGroup() as calls:
        for door in ("websocket", "webrtc"):
            calls.create_task(read_aloud(server, join, clips, door), name=door)


async def read_aloud(server, join, clips, door):
    """``clips``: the recording of each sentence."""
    learner = await join(server.url, door)
    session_id = (await learner.until("connected"))["session_id"]

    followed: dict[str, bool] = {}
    for _ in range(2 * len(clips)):
        prompt = (await learner.until("ai_text", 60, is_complete=True))["text"]
        await learner.until("turn_complete", 90)
        asked = next((s for s in clips if " ".join(tokens(s)) in " ".join(tokens(prompt))), None)
        if asked is None:
            break
        if asked in followed:
            # Asked again: the first reading was not understood. It is typed, so that the lesson goes on.
            await learner.client.send({"type": "text", "text": asked})
            continue
        await learner.play(clips[asked])
        heard = (await learner.until("transcript", 60, is_final=True))["text"]
        followed[asked] = tokens(heard) == tokens(asked)
    await learner.client.send({"type": "end_conversation"})
    await learner.until("analysis")
    assert followed.keys() == clips.keys(), f"{door}: every sentence was asked for and read"
    assert sum(followed.values()) >= len(clips) / 2, f"{door}: at least half are recognised word for word: {followed}"
    kept = server.get(f"/api/sessions/{session_id}")["turns"]
    assert sum(t["role"] == "learner" for t in kept) >= len(clips)
