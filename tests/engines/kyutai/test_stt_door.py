"""The door of speech to text through real sockets and front-end processes; only the model is a stand-in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import struct
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack
import numpy as np
import psutil
import pytest

from engines.kyutai.link.host import Host, listeners
from engines.kyutai.stt_metrics import SttMetrics
from engines.kyutai.stt_service import SttService
from engines.wire.kyutai import (
    Audio,
    Commit,
    Committed,
    Error,
    Flush,
    Flushed,
    Init,
    Marker,
    Pcm16,
    Ready,
    Step,
    SttOut,
    TimedWord,
    Withdraw,
    Word,
    pack,
    unpack,
)
from tests.engines.fake_stt import DELAY, FakeStt, spoken, written
from tests.engines.stt_client import COMES_WITHIN_S, Client, ready, talking, until


class Server:
    """The engine in a thread of this process, its front-ends in processes of their own."""

    def __init__(self, *, sizes: tuple[int, ...] = (1, 2, 4), fronts: int = 1, **spec: Any) -> None:
        self.sockets = listeners("127.0.0.1", 0, fronts)
        self.port = self.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.host = Host(self.sockets, {"door": "stt", "keys": [], **spec})
        self.model = FakeStt(sizes)
        self.service = SttService(self.model, written, self.host.send, clock=time.monotonic, metrics=SttMetrics(), gather_s=0.0)
        self.service.warm()
        self.host.start()
        self.thread = threading.Thread(target=self.host.run, args=(self.service,))

    def begin(self) -> None:
        self.host.ready({"type": "batched_asr", "path": "/api/asr-streaming", "delay": DELAY})
        self.thread.start()

    def end(self) -> None:
        self.host.stop()
        if self.thread.ident is not None:
            self.thread.join()
        self.host.close()

    async def used(self, count: int) -> None:
        """Until so many slots are taken."""
        await until(lambda: self.service.status()["slots_used"] == count)


@asynccontextmanager
async def serving(*, begun: bool = True, **options: Any) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    server = Server(**options)
    try:
        if begun:
            server.begin()
        async with aiohttp.ClientSession(server.url) as client:
            if begun:
                await ready(client)
            yield server, client
    finally:
        await asyncio.to_thread(server.end)


def audio(text: str) -> Audio:
    return Audio(spoken(text).tolist())


def pcm16(text: str) -> Pcm16:
    # A token is a thousandth; what is rounded to 16 bits is the same one.
    return Pcm16((spoken(text) * 32768).round().astype("<i2").tobytes())


async def test_a_client_of_moshi_server_is_understood() -> None:
    async with serving() as (server, client), talking(client) as one:
        assert await one.next() == Ready()
        await one.send(audio(" good day "), Marker(7), audio("." * (DELAY + 1)))
        seen = []
        while not isinstance(message := await one.next(), Marker):
            seen.append(message)
        assert [m.text for m in seen if isinstance(m, Word)] == ["good", "day"]
        assert [m.step_idx for m in seen if isinstance(m, Step)] == list(range(1, 10 + DELAY + 1))
        assert len(next(m for m in seen if isinstance(m, Step)).prs) == 4
        await one.send(Init())
        assert await one.next(Ready) == Ready()
        await server.used(1)
        await one.ws.close()
        await server.used(0)


async def test_the_extensions_are_granted_to_who_asks_for_them() -> None:
    async with serving() as (_, client), talking(client, "?extensions=flush,opera,pcm16") as one:
        assert await one.next() == Ready(["flush", "pcm16"])
        await one.send(pcm16(" hello you"), Flush(1))
        flushed = await one.next(Flushed)
        assert [word.text for word in flushed.words] == ["hello", "you"]
        await one.send(Withdraw(1), pcm16("th "), Flush(2), Commit(2))
        # By now a live step has told the first.
        assert (await one.next(Word)).text == "hello"
        assert [word.text for word in (await one.next(Flushed)).words] == ["youth"]
        assert [word.text for word in (await one.next(Committed)).words] == ["youth"]


async def test_a_recording_is_answered_with_its_words() -> None:
    pytest.importorskip("sphn")
    pcm = (spoken(" some words ..") * 32768).round().astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24000, 48000, 2, 16)
    wav = head + b"data" + struct.pack("<I", len(pcm)) + pcm
    async with serving(sizes=(1,)) as (server, client):
        answer = await client.post("/api/asr-streaming", data=wav)
        words = await answer.json()
        assert [(one["type"], one.get("text")) for one in words][:3] == [("Word", "some"), ("EndWord", None), ("Word", "words")]
        await server.used(0)
        answer = await client.post("/api/asr-streaming", data=b"no audio at all")
        assert answer.status == 400
        assert "/" not in await answer.text()
        # With all slots taken it waits for one.
        async with talking(client) as one:
            await one.next(Ready)
            posted = asyncio.create_task(client.post("/api/asr-streaming", data=wav))
            await asyncio.sleep(0.3)
            assert not posted.done()
        assert await (await posted).json() == words
        await server.used(0)


async def test_nobody_is_let_in_without_a_key() -> None:
    async with serving(keys=["open sesame"]) as (server, client):
        for options in ({}, {"headers": {"kyutai-api-key": "wrong"}}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await client.ws_connect("/api/asr-streaming", **options)
            assert error.value.status == 401
        assert (await client.post("/api/asr-streaming?auth_id=open%20sesame", data=b"")).status == 401
        async with talking(client, "?auth_id=open%20sesame") as one:
            assert await one.next() == Ready()
        async with talking(client, headers={"kyutai-api-key": "open sesame"}) as one:
            assert await one.next() == Ready()
        assert (await client.get("/health")).status == 200
        await server.used(0)


async def test_no_free_channels_is_said_and_the_connection_closed() -> None:
    async with serving(sizes=(1,)) as (server, client), talking(client) as first:
        await first.next(Ready)
        async with talking(client) as second:
            assert await second.all() == [Error("no free channels")]
        await first.ws.close()
        await server.used(0)
        async with talking(client) as third:
            assert await third.next() == Ready()


async def test_the_engine_says_what_it_is() -> None:
    async with serving(begun=False) as (server, client):
        async with asyncio.timeout(COMES_WITHIN_S):
            assert (await (await client.get("/health")).json()) == {"status": "loading"}
        assert (await client.get("/ready")).status == 503
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await client.ws_connect("/api/asr-streaming")
        assert error.value.status == 503
        server.begin()
        await ready(client)
        async with talking(client) as one:
            await one.next(Ready)
            await one.send(audio("x"))
            await one.next(Step)
            assert (await (await client.get("/health")).json())["slots_used"] == 1
            (module,) = await (await client.get("/api/modules_info")).json()
            assert (module["type"], module["used_slots"], module["total_slots"]) == ("batched_asr", "1", "4")
            metrics = await (await client.get("/metrics")).text()
            assert "kyutai_stt_slots_used 1.0" in metrics
            assert 'kyutai_stt_step_seconds_count{bucket="1",kind="live"} 1.0' in metrics
        assert "git_hash" in await (await client.get("/api/build_info")).json()


BAD = {
    "no MessagePack": (b"\xc1\xc1", "not MessagePack"),
    "no map": (msgpack.packb([1, 2]), "not a map"),
    "unknown type": (msgpack.packb({"type": "Dance"}), "unknown type 'Dance'"),
    "no samples": (msgpack.packb({"type": "Audio", "pcm": ["a"]}), "Audio.pcm"),
    "no numbers": (msgpack.packb({"type": "Audio", "pcm": [float("nan")]}), "finite"),
    "an id of 65 bits": (msgpack.packb({"type": "Marker", "id": 2**64 - 1}), "64 bits"),
    "an extension that was not asked for": (pack(Flush(1)), "flush"),
    "16 bits that were not asked for": (pack(Pcm16(b"ab")), "pcm16"),
    "too much": (b"x" * ((1 << 22) + 1), "4194304"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_message_ends_its_session_with_a_reason(what: str) -> None:
    data, reason = BAD[what]
    async with serving() as (server, client), talking(client, max_msg_size=0) as good:
        await good.next(Ready)
        async with talking(client) as bad:
            await bad.next(Ready)
            await bad.ws.send_bytes(data)
            (error,) = await bad.all()
            assert isinstance(error, Error)
            assert reason in error.message
        await server.used(1)
        await good.send(audio(" fine " + "." * DELAY))
        assert (await good.next(Word)).text == "fine"


async def test_half_a_sample_is_refused() -> None:
    async with serving() as (_, client), talking(client, "?extensions=pcm16") as one:
        await one.next(Ready)
        await one.send(Pcm16(b"abc"))
        assert await one.all() == [Error("Pcm16.data: half a sample")]


async def test_what_is_too_large_to_be_read_is_refused_by_its_length() -> None:
    async with serving() as (server, client), talking(client) as one:
        await one.next(Ready)
        try:
            # Closed in the midst of it, perhaps.
            await one.ws.send_bytes(bytes(1 << 25))
        except ConnectionError:
            pass
        await one.all()
        await server.used(0)


async def test_text_frames_and_bits_of_frames_do_no_harm() -> None:
    async with serving() as (_, client), talking(client) as one:
        await one.next(Ready)
        await one.ws.send_str("hello?")
        voice = spoken(" bits " + "." * DELAY)
        for at in range(0, len(voice), 777):
            await one.send(Audio(voice[at : at + 777].tolist()))
        await one.send(Audio([]))
        assert (await one.next(Word)).text == "bits"


async def test_a_client_that_says_nothing_is_pinged_and_one_that_does_not_answer_is_let_go() -> None:
    async with serving(patience={"ping_s": 0.05, "silent_s": 0.5, "idle_s": 1.0}) as (server, client):
        async with talking(client, autoping=False) as dumb:
            await dumb.next(Ready)
            assert (await dumb.ws.receive()).type == aiohttp.WSMsgType.PING
            await server.used(0)
        async with talking(client) as idle:
            # aiohttp answers its pings, but there is no message.
            assert await idle.all() == [Ready(), Error("no message came for 1 s")]
        await server.used(0)


async def test_a_client_may_be_faster_than_time_and_loses_nothing() -> None:
    words = [f"w{chr(97 + k % 26)}" for k in range(150)]
    voice = spoken("".join(f" {word}" for word in words) + " " + "." * DELAY)
    assert len(voice) > 30 * 24000
    async with serving() as (server, client), talking(client) as one:
        await one.next(Ready)
        sending = asyncio.create_task(_send_in_seconds(one, voice))
        assert [(await one.next(Word)).text for _ in words] == words
        await sending
        metrics = await (await client.get("/metrics")).text()
        assert "kyutai_stt_dropped_frames_total 0.0" in metrics
        await one.ws.close()
        await server.used(0)


async def _send_in_seconds(one: Client, voice: np.ndarray[Any, Any]) -> None:
    for at in range(0, len(voice), 24000):
        await one.send(Audio(voice[at : at + 24000].tolist()))


async def test_clients_that_go_in_the_midst_of_things_leave_no_slot_behind() -> None:
    async with serving(sizes=(1, 2, 4)) as (server, client):
        for kind in range(12):
            one = Client(await client.ws_connect("/api/asr-streaming?extensions=pcm16,flush"))
            if kind % 3:
                await one.next(Ready)
                await one.send(pcm16(" some words"), Flush(1), Marker(1))
            if kind % 3 and kind % 4 == 3:
                await one.next(Flushed)
            # Without a closing handshake.
            assert one.ws._response.connection is not None
            assert one.ws._response.connection.transport is not None
            one.ws._response.connection.transport.abort()
            await one.ws.close()
        await server.used(0)
        async with talking(client) as last:
            assert await last.next() == Ready()


async def test_a_client_that_does_not_read_is_dropped() -> None:
    async with serving(patience={"silent_s": 1.0}) as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(
            b"GET /api/asr-streaming HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        await server.used(1)
        # A masked ping, which wants a pong of the same size.
        feeding = asyncio.create_task(_feed(writer, (b"\x89\xfd" + bytes(4) + bytes(125)) * 500))
        await server.used(0)
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        writer.transport.abort()


async def _feed(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()


async def test_a_front_end_that_dies_is_started_anew_and_its_slots_are_free() -> None:
    async with serving(fronts=2) as (server, client):
        talks = [Client(await client.ws_connect("/api/asr-streaming")) for _ in range(4)]
        for one in talks:
            await one.next(Ready)
        dead = server.host.pids[0]
        os.kill(dead, signal.SIGKILL)
        for one in talks:
            await one.send(audio("x"))
        await until(lambda: dead not in server.host.pids and len(server.host.pids) == 2)
        left = [one for one in talks if await one.next(Step) is not None]
        await server.used(len(left))
        for one in talks:
            await one.ws.close()
        await server.used(0)
        for _ in range(8):
            async with client.ws_connect("/api/asr-streaming") as ws:
                assert await Client(ws).next() == Ready()


async def test_the_front_ends_end_with_the_step_process() -> None:
    async with serving(fronts=2) as (server, client), talking(client) as one:
        await one.next(Ready)
        processes = [psutil.Process(pid) for pid in server.host.pids]
        await asyncio.to_thread(server.end)
        assert await one.all() == [Error("the server stops")]
        assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        server.end = lambda: None  # type: ignore[method-assign]


async def test_a_step_that_fails_ends_the_step_process_and_with_it_all_sessions() -> None:
    async with serving(begun=False) as (server, client):
        failed: list[BaseException] = []

        def run() -> None:
            try:
                server.host.run(server.service)
            except RuntimeError as e:
                failed.append(e)
            finally:
                server.host.close()

        def fails(*_: Any) -> Any:
            raise RuntimeError("out of memory")

        server.host.ready({})
        thread = threading.Thread(target=run)
        thread.start()
        await ready(client)
        async with talking(client) as one:
            await one.next(Ready)
            server.model.step = fails  # type: ignore[method-assign]
            await one.send(audio("x"))
            assert await one.all() == [Error("the server stops")]
        await asyncio.to_thread(thread.join)
        assert [str(e) for e in failed] == ["out of memory"]
        assert server.host.pids == []
        server.end = lambda: None  # type: ignore[method-assign]


async def test_a_step_loop_that_is_stuck_is_not_healthy(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with serving() as (server, client):
        stuck = threading.Event()
        server.service.tick = lambda: stuck.wait(30) and None  # type: ignore[method-assign]
        try:
            async with talking(client):
                assert (await client.get("/health")).status == 503
                assert (await client.get("/metrics")).status == 503
        finally:
            stuck.set()


async def test_five_hundred_short_sessions_leave_nothing_behind() -> None:
    async with serving(sizes=(1, 2, 4, 8), fronts=2) as (server, client):
        gate = asyncio.Semaphore(8)

        async def short(number: int) -> None:
            async with gate, talking(client, "?extensions=pcm16,flush") as one:
                if await one.next() != Ready(["pcm16", "flush"]):
                    # The last one's slot is not free yet; told like any other.
                    return
                await one.send(pcm16(" a b"), Flush(number))
                assert isinstance(await one.next(Flushed, Error), Flushed)

        await asyncio.gather(*(short(number) for number in range(16)))
        await server.used(0)
        before = {pid: psutil.Process(pid).num_fds() for pid in [os.getpid(), *server.host.pids]}
        await asyncio.gather(*(short(number) for number in range(500)))
        await server.used(0)
        async with asyncio.timeout(COMES_WITHIN_S):
            while any(psutil.Process(pid).num_fds() > count + 2 for pid, count in before.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert json.loads(server.service.answer("status")) == {"slots": 8, "slots_used": 0, "queue": 0}
        assert server.service._sessions == {}
        assert all(front is not None and not front.sessions for front in server.host._fronts)


def test_a_port_that_is_taken_is_an_error() -> None:
    (taken,) = listeners("127.0.0.1", 0, 1)
    with pytest.raises(OSError, match="in use"):
        listeners("127.0.0.1", taken.getsockname()[1], 2)
    taken.close()


def test_flushed_words_survive_the_wire() -> None:
    content = Flushed(1, [TimedWord("a", 0.5, None), TimedWord("b", 1.0, 1.5)])
    assert unpack(pack(content), SttOut) == content
