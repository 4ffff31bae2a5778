"""``talk`` against a small WebSocket server that speaks the protocol, well and badly."""

from __future__ import annotations

import asyncio
import json
import threading
import wave
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from web.talk.call import Call, Patience
from web.talk.client import Server
from web.talk.command import talk_command
from web.talk.errors import TalkError
from web.talk.listening import peak
from web.talk.wavs import read_wav
from web.talk.ws_client import WSClient

BRIEF = Patience(hello=2, opening=0.3, answer=1.5, speech=5, report=1.5, quiet=0.1)
SPEECH = (8000 * np.sin(np.arange(24_000) / 12)).astype("<i2")

Behaviour = Callable[["Tutor"], Coroutine[Any, Any, None]]


class Tutor:
    """The server's side of one connection: it answers when it has heard voice and then 200 ms of quiet."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.said: list[dict[str, Any]] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def speak(self, text: str, *, done: bool = True) -> None:
        await self.send(type="ai_text", text=text, is_complete=True)
        await self.send(type="ai_audio_start", sample_rate=24000)
        for start in range(0, len(SPEECH), 4800):
            await self.socket.send(SPEECH[start : start + 4800].tobytes())
        if done:
            await self.send(type="turn_complete")

    async def hear(self) -> bool:
        """Until the learner has spoken; false when the learner hangs up instead."""
        voiced = quiet = 0
        async for raw in self.socket:
            if isinstance(raw, str):
                message = json.loads(raw)
                self.said.append(message)
                if message["type"] == "end_conversation":
                    return False
                continue
            assert len(raw) == 640
            loud = peak(np.frombuffer(raw, "<i2").astype(np.int16)) > 500
            voiced, quiet = voiced + loud, 0 if loud else quiet + 1
            if voiced and quiet >= 10:
                return True
        return False

    async def good(self) -> None:
        await self.send(type="connected", session_id="session-1")
        await self.speak("Welcome.")
        turns = 0
        while await self.hear():
            turns += 1
            await self.send(type="transcript", text=f"clip {turns}", is_final=True)
            await self.speak(f"Answer {turns}.")
        await self.send(type="analysis", data={"final_score": turns})


@contextmanager
def tutor(behaviour: Behaviour, check: Callable[[ServerConnection, Request], Response | None] | None = None) -> Iterator[str]:
    """A server in a thread of its own (``talk_command`` runs a loop of its own); gives its URL."""
    address: list[str] = []
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def handle(socket: ServerConnection) -> None:
        try:
            await behaviour(Tutor(socket))
        except ConnectionClosed:
            pass

    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0, process_request=check, close_timeout=1) as server:
            address.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert started.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Two files of different shape: 0.6 s of voice and then 0.5 s of silence; 0.4 s of voice."""
    paths = []
    for name, rate, voice, silence in (("a.wav", 48_000, 0.6, 0.5), ("b.wav", 8_000, 0.4, 0.0)):
        tone = (9000 * np.sin(2 * np.pi * 300 * np.arange(round(voice * rate)) / rate)).astype("<i2")
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(tone.tobytes() + bytes(2 * round(silence * rate)))
        paths.append(tmp_path / name)
    return paths


async def call(url: str, clips: list[Path], patience: Patience = BRIEF) -> dict[str, Any]:
    client = WSClient(Server(url), connect_timeout_s=3)
    tasks_before = asyncio.all_tasks()
    try:
        result = await Call(client, patience=patience).run([read_wav(path, 16_000) for path in clips])
    finally:
        assert asyncio.all_tasks() == tasks_before
    return result.to_dict()


def test_a_whole_call_as_json(clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reply.wav"
    with tutor(Tutor.good) as url:
        assert talk_command(url, clips, "websocket", True, out, None) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["session_id", "transport", "turns", "report"]
    assert (said["session_id"], said["transport"], said["report"]) == ("session-1", "websocket", {"final_score": 2})
    assert [(t["user"], t["tutor"], t["interrupted"]) for t in said["turns"]] == [
        ("clip 1", "Answer 1.", False),
        ("clip 2", "Answer 2.", False),
    ]
    for turn in said["turns"]:  # the server waits for 200 ms of quiet, and no network makes that shorter
        assert turn["v2v_ms"] >= 180
    reply = read_wav(out, 24_000)
    assert len(reply) >= 3 * len(SPEECH)  # the opening and two answers
    assert peak(reply) > 7000


def test_a_whole_call_for_people(clips: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with tutor(Tutor.good) as url:
        assert talk_command(url.replace("http", "ws"), clips[:1], "websocket", False, None, None) == 0
    printed = capsys.readouterr().out
    for expected in ("tutor: Welcome.", "  you: clip 1", "tutor: Answer 1.", '"final_score": 1'):
        assert expected in printed


async def test_the_lesson_is_asked_for(clips: list[Path]) -> None:
    asked: list[Any] = []

    async def behave(tutor: Tutor) -> None:
        assert tutor.socket.request is not None
        asked.append(parse_qs(urlsplit(tutor.socket.request.path).query))
        try:
            await tutor.good()
        finally:
            asked.append(tutor.said[-1])

    with tutor(behave) as url:
        client = WSClient(Server(url), lesson="at the café")
        await Call(client, lesson="at the café", patience=BRIEF).run([read_wav(clips[0], 16_000)])
    assert asked == [{"extras": ["1"], "lesson": ["at the café"]}, {"type": "end_conversation"}]


async def test_a_lesson_that_cannot_be_had(clips: list[Path]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s", lesson="introductions")
        await tutor.send(type="error", message="unknown lesson 'chess'")
        await tutor.socket.wait_closed()

    with tutor(behave) as url, pytest.raises(TalkError, match=r"lesson 'chess' cannot be had .*unknown lesson"):
        await Call(WSClient(Server(url), lesson="chess"), lesson="chess", patience=BRIEF).run([])


async def test_a_tutor_that_does_not_greet(clips: list[Path]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        while await tutor.hear():
            await tutor.send(type="transcript", text="one", is_final=True)
            await tutor.speak("Two.")
        await tutor.send(type="analysis", data={})

    with tutor(behave) as url:
        assert [t["tutor"] for t in (await call(url, clips))["turns"]] == ["Two.", "Two."]


async def test_a_tutor_that_never_says_that_its_turn_is_over(clips: list[Path]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        while await tutor.hear():
            await tutor.speak("Two.", done=False)
        await tutor.send(type="analysis", data={})

    patience = Patience(hello=2, opening=0.3, answer=2, speech=20, report=2, quiet=0.1)
    with tutor(behave) as url:
        assert [t["tutor"] for t in (await call(url, clips[:1], patience))["turns"]] == ["Two."]


async def test_a_server_that_dies_in_mid_call(clips: list[Path]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        await tutor.hear()
        tutor.socket.transport.abort()

    with tutor(behave) as url, pytest.raises(TalkError, match="closed the connection: it went without a goodbye"):
        await call(url, clips)


async def test_a_server_that_hangs_up_says_why(clips: list[Path]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        await tutor.send(type="error", message="the recogniser failed")
        await tutor.socket.close(1011, "engine")

    with tutor(behave) as url, pytest.raises(TalkError, match=r"code 1011, engine \(the server said: the recogniser failed\)"):
        await call(url, clips)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "did not say hello within 2 s"),
        ([{"type": "connected", "session_id": "s"}], "no answer to clip 1 within"),
        (
            [{"type": "connected", "session_id": "s"}, {"type": "ai_text", "text": "W", "is_complete": False}],
            "opening did not end",
        ),
    ],
)
async def test_a_server_that_goes_silent(clips: list[Path], messages: list[dict[str, Any]], expected: str) -> None:
    async def behave(tutor: Tutor) -> None:
        for message in messages:
            await tutor.send(**message)
        async for _ in tutor.socket:
            pass

    with tutor(behave) as url, pytest.raises(TalkError, match=expected):
        await call(url, clips, Patience(hello=2, opening=0.3, answer=1, speech=1, report=1))


async def test_a_server_without_a_report(clips: list[Path]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        while await tutor.hear():
            await tutor.speak("Two.")
        await tutor.socket.wait_closed()

    with tutor(behave) as url, pytest.raises(TalkError, match="no report came within"):
        await call(url, clips[:1])


def test_a_server_that_ends_the_lesson_early(clips: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        await tutor.speak("Welcome.")
        await tutor.hear()
        await tutor.speak("That was all.")
        await tutor.send(type="analysis", data={"final_score": 1})
        await tutor.socket.wait_closed()

    with tutor(behave) as url:
        assert talk_command(url, clips, "websocket", True, None, None) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["report"] == {"final_score": 1}
    assert "before it was played" in captured.err
    assert "b.wav" in captured.err


def test_what_the_server_complains_about_is_told(clips: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s")
        await tutor.speak("Welcome.")
        await tutor.hear()
        await tutor.send(type="error", message="I could not make out what you said.")
        await tutor.speak("Please say it again.")
        await tutor.hear()
        await tutor.send(type="analysis", data={})

    with tutor(behave) as url:
        assert talk_command(url, clips[:1], "websocket", True, None, None) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["turns"][0]["tutor"] == "Please say it again."
    assert captured.err == "talk: the server said: I could not make out what you said.\n"


@pytest.mark.parametrize(("said", "told"), [({"recording": True}, "talk: this call is recorded by the server\n"), ({}, "")])
def test_a_recording_is_told(clips: list[Path], capsys: pytest.CaptureFixture[str], said: dict[str, Any], told: str) -> None:
    async def behave(tutor: Tutor) -> None:
        await tutor.send(type="connected", session_id="s", **said)
        await tutor.speak("Welcome.")
        await tutor.hear()
        await tutor.speak("Fine.")
        await tutor.hear()
        await tutor.send(type="analysis", data={})

    with tutor(behave) as url:
        assert talk_command(url, clips[:1], "websocket", True, None, None) == 0
    assert capsys.readouterr().err == told


def test_a_full_server(clips: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        response = socket.respond(429, json.dumps({"title": "Too many calls", "detail": "all 8 places are taken"}))
        response.headers["Retry-After"] = "30"
        return response

    with tutor(Tutor.good, refuse) as url:
        assert talk_command(url, clips, "websocket", False, None, None) == 1
    line = capsys.readouterr().err
    assert "refused with 429: all 8 places are taken (try again in 30 s)" in line
    assert line.count("\n") == 1


def test_what_cannot_work_is_one_line(clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = "http://127.0.0.1:1"
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    for args, expected in [
        ((nowhere, clips, "websocket", True, None, None), "cannot be reached"),
        ((nowhere, clips, "webrtc", True, None, None), "cannot be reached"),
        ((nowhere, [tmp_path / "absent.wav"], "webrtc", True, None, None), "absent.wav: no such file"),
        ((nowhere, [text], "webrtc", True, None, None), "text.wav: not a WAV file"),
        ((nowhere, [], "webrtc", True, None, None), "no WAV file"),
        ((nowhere, clips, "pigeon", True, None, None), "unknown transport 'pigeon'"),
        (("ftp://example", clips, "webrtc", True, None, None), "not a server's address"),
        (("http://host:notaport", clips, "webrtc", True, None, None), "not a server's address"),
        ((nowhere, clips, "websocket", True, tmp_path / "no" / "out.wav", None), "cannot be written"),
    ]:
        assert talk_command(*args) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert expected in captured.err
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("talk: ")


def test_addresses() -> None:
    assert Server("localhost:7860").ws("/ws") == "ws://localhost:7860/ws"
    assert Server("ws://localhost:7860/ws/conversation").http("/api/offer") == "http://localhost:7860/api/offer"
    assert Server("https://tutor.example/base/").ws("/ws") == "wss://tutor.example/base/ws"
    assert Server("http://[::1]:7860").http("/") == "http://[::1]:7860/"
    assert Server("http://h:1/?token=secret").headers == {"Authorization": "Bearer secret"}
    assert "secret" not in Server("http://h:1/?token=secret").ws("/ws/conversation")
    assert (Server("https://127.0.0.1").loopback, Server("https://10.0.0.1").loopback) == (True, False)
