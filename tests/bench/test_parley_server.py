"""Parley with the fakes, as the benchmarks run it: whole calls over both doors, at the same time."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from bench.fakes import ANSWER_S, LLM_WORDS, STT_TEXT
from bench.servers import ServerProcess
from web.talk.call import Call, Patience, Result
from web.talk.client import Server, TalkClient
from web.talk.rtc_client import RTCClient
from web.talk.wavs import read_wav
from web.talk.ws_client import WSClient


async def call(client: TalkClient, wav: Path, rate_hz: int) -> tuple[Result, TalkClient]:
    return await Call(client, patience=Patience(opening=1.0)).run([read_wav(wav, rate_hz)]), client


async def test_a_call_over_each_door(tmp_path: Path) -> None:
    wav = tmp_path / "a.wav"
    subprocess.run(["flite", "-voice", "slt", "-t", "My sister works in a large hospital.", "-o", str(wav)], check=True)  # noqa: ASYNC221
    async with ServerProcess("parley", sorted(os.sched_getaffinity(0))) as server:
        at = Server(server.url)
        results = await asyncio.gather(
            call(RTCClient(at, request_data={}), wav, 48_000),
            call(RTCClient(at, request_data={}, messages="rtvi"), wav, 48_000),
            call(WSClient(at), wav, 16_000),
        )
    assert len({result.session_id for result, _ in results}) == 3
    for result, client in results:
        (turn,) = result.turns
        assert (turn.user, turn.interrupted) == (STT_TEXT, False)
        assert len(turn.tutor.split()) == LLM_WORDS
        assert turn.v2v_ms is not None
        assert turn.v2v_ms > 200  # no detector is sure sooner
        assert "final_score" in result.report
        # All of the tone was heard: 6 s in packets of 20 ms (or in the WebSocket's chunks of no more).
        assert client.heard.voiced_packets >= 0.9 * ANSWER_S / 0.02
