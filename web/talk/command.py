"""``run_agent.py talk``: a call without a browser."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pipeline.log import import_quietly
from web.talk.call import Call, Result
from web.talk.client import AudioHandler, Server, TalkClient
from web.talk.conversation import Exchange
from web.talk.errors import TalkError
from web.talk.wavs import Recording, read_wav

RATES_HZ = {"webrtc": (48_000, 48_000), "websocket": (16_000, 24_000)}
"""Of the microphone and of the tutor's audio, by transport."""


def talk_command(url: str, wavs: list[Path], transport: str, json_output: bool, out: Path | None, lesson: str | None) -> int:
    """Call the server at ``url``, play ``wavs`` in order, and print what was said; the process's exit code.

    With ``json_output`` standard output is one JSON object: ``session_id``, ``transport``, ``turns`` (``user``, ``tutor``,
    ``v2v_ms``, ``interrupted``; the tutor's opening is not among them) and ``report``. What goes wrong is one line on standard
    error and exit code 1.
    """
    try:
        result = asyncio.run(_talk(url, wavs, transport, not json_output, out, lesson))
    except TalkError as e:
        print(f"talk: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if json_output:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        print(f"\nReport\n{json.dumps(result.report, indent=2, ensure_ascii=False)}")
    for text in result.errors:
        print(f"talk: the server said: {text}", file=sys.stderr)
    if result.unplayed:
        left = ", ".join(str(path) for path in wavs[-result.unplayed :])
        print(f"talk: the server ended the call before it was played: {left}", file=sys.stderr)
        return 1
    return 0


async def _talk(url: str, wavs: list[Path], transport: str, live: bool, out: Path | None, lesson: str | None) -> Result:
    if transport not in RATES_HZ:
        raise TalkError(f"unknown transport {transport!r}; one of {', '.join(RATES_HZ)}")
    if not wavs:
        raise TalkError("no WAV file to play; name one with --wav")
    microphone_hz, tutor_hz = RATES_HZ[transport]
    clips = [read_wav(path, microphone_hz) for path in wavs]
    server = Server(url)
    recording = Recording(out, tutor_hz) if out is not None else None
    try:
        client = _client(server, transport, lesson, None if recording is None else lambda pcm, _, at: recording.add(pcm, at))
        call = Call(client, lesson=lesson, on_exchange=_print_exchange if live else None, on_recorded=_print_recorded)
        return await call.run(clips)
    finally:
        if recording is not None:
            recording.close()


def _client(server: Server, transport: str, lesson: str | None, on_audio: AudioHandler | None) -> TalkClient:
    if transport == "websocket":
        from web.talk.ws_client import WSClient

        return WSClient(server, lesson=lesson, on_audio=on_audio, reports=True)
    # Imported when chosen: a WebSocket call does without aiortc and pipecat, which take half a second.
    import_quietly()
    from web.talk.rtc_client import RTCClient

    wanted = {"lesson": lesson} if lesson is not None else {}
    return RTCClient(server, request_data=wanted, on_audio=on_audio, reports=True)


def _print_recorded() -> None:
    # On standard error, so that it is seen beside --json, too.
    print("talk: this call is recorded by the server", file=sys.stderr, flush=True)


def _print_exchange(exchange: Exchange) -> None:
    if exchange.user:
        print(f"  you: {exchange.user}", flush=True)
    notes = [f"{exchange.v2v_ms:.0f} ms"] if exchange.v2v_ms is not None else []
    notes += ["interrupted"] if exchange.interrupted else []
    print(f"tutor: {exchange.tutor}" + (f"   [{', '.join(notes)}]" if notes else ""), flush=True)
