"""The Python client against the real application."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.web.conftest import Running
from web.parley_client import Audio, CallError, ConnectionLost, Event, ParleyClient, Refused

WITHIN_S = 20.0


async def until(call: ParleyClient, kind: str, **fields: Any) -> tuple[dict[str, Any], list[Event]]:
    """The next message of ``kind``, and what came before it."""
    before: list[Event] = []
    async with asyncio.timeout(WITHIN_S):
        async for event in call:
            if not isinstance(event, Audio) and event["type"] == kind and all(event.get(k) == v for k, v in fields.items()):
                return event, before
            before.append(event)
    raise AssertionError(f"no {kind}: {before}")


async def read_on(call: ParleyClient) -> None:
    async with asyncio.timeout(WITHIN_S):
        async for _ in call:
            pass


class Link:
    """A way to the server that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0
        self.open = True

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@contextlib.asynccontextmanager
async def link(server: Running) -> AsyncIterator[tuple[Link, str]]:
    between = Link(server.port)
    listening = await asyncio.start_server(between.carry, "127.0.0.1", 0)
    try:
        yield between, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        between.cut()


async def test_a_call_from_hello_to_report(serve):
    server = await serve()
    async with ParleyClient(server.url, level="advanced", options={"speech_rate": 0.9}) as call:
        assert call.session_id is not None
        hello, _ = await until(call, "connected")
        assert (hello["level"], hello["options"]["speech_rate"]) == ("advanced", 0.9)
        await until(call, "turn_complete")
        await call.send_text("Good morning.")
        await until(call, "transcript", text="Good morning.", is_final=True)
        _, before = await until(call, "turn_complete")
        voice = [event for event in before if isinstance(event, Audio)]
        assert sum(len(piece.pcm16) for piece in voice) == pytest.approx(0.3 * 48_000, rel=0.5)
        assert all(b.sample - a.sample == len(a.pcm16) // 2 for a, b in itertools.pairwise(voice))
        report = await call.end()
        assert "final_score" in report
        kinds = [event["type"] async for event in call if not isinstance(event, Audio)]
        assert kinds[-1] == "analysis"
        assert await call.end() == report
    await server.until(lambda: server.state.sessions.active == 0, "the session ends")


async def test_leaving_the_block_hangs_up(serve):
    server = await serve(session={"resume_for_s": 600})
    async with ParleyClient(server.url) as call:
        session = server.state.sessions.get(call.session_id)
    await server.until(lambda: session.state == "ended", "the session ends, and does not wait for its client")


async def test_speech_arrives_in_real_time_and_whole(serve):
    server = await serve()
    async with ParleyClient(server.url) as call:
        await call.say(b"\x01\x02" * 16_000, then_silent_s=0.5)
        # What a call has heard passes through jitter and voice detection first, so the last of it is waited for.
        await server.until(lambda: server.engines["stt"].made[0].audio_bytes >= 48_000, "1.5 s are heard")


async def test_interrupt_drops_the_rest_of_the_old_utterance(serve):
    server = await serve(speech_s=20.0)
    async with ParleyClient(server.url) as call:
        await until(call, "ai_audio_start")
        while not isinstance(await anext(call), Audio):
            pass
        await call.interrupt()
        _, before = await until(call, "interrupted")
        after_first_message = next((i for i, event in enumerate(before) if not isinstance(event, Audio)), len(before))
        assert not any(isinstance(event, Audio) for event in before[after_first_message:])
        await call.send_text("And now?")
        _, before = await until(call, "ai_audio_start")
        assert not any(isinstance(event, Audio) for event in before)
        assert isinstance(await anext(call), Audio)


async def test_a_lost_connection_is_made_anew_and_the_session_goes_on(serve):
    server = await serve()
    async with link(server) as (between, url), ParleyClient(url) as call:
        await until(call, "turn_complete")
        await call.send_text("One.")
        await until(call, "turn_complete")
        session = call.session_id
        between.open = False
        between.cut()
        await asyncio.sleep(0.5)
        saying = asyncio.create_task(call.send_text("Two."))  # waits for the connection
        between.open = True
        hello, _ = await until(call, "connected")
        assert (hello["resumed"], hello["session_id"], call.session_id) == (True, session, session)
        await saying
        await until(call, "transcript", text="Two.", is_final=True)
        await until(call, "turn_complete")
        await call.end()
        assert between.connections == 2
    async with server.http() as http:
        record = (await http.get(f"/api/sessions/{session}")).json()
    assert [turn["text"] for turn in record["turns"] if turn["role"] == "learner"] == ["One.", "Two."]


async def test_a_session_that_ended_meanwhile_is_lost_and_leaves_no_other_behind(serve):
    server = await serve(session={"resume_for_s": 0.3})
    async with link(server) as (between, url):
        async with ParleyClient(url) as call:
            await until(call, "turn_complete")
            between.open = False
            between.cut()
            await server.until(lambda: server.state.sessions.get(call.session_id) is None, "the session ends")
            between.open = True
            with pytest.raises(ConnectionLost, match="ended before it could be taken up"):
                await read_on(call)
        await server.until(lambda: server.state.sessions.active == 0, "nothing is left")


async def test_without_reconnecting_a_loss_is_told(serve):
    server = await serve()
    async with link(server) as (between, url), ParleyClient(url, reconnect_for_s=0) as call:
        between.cut()
        with pytest.raises(ConnectionLost, match="without a goodbye"):
            await read_on(call)
        with pytest.raises(ConnectionLost, match="without a goodbye"):
            await call.end()


async def test_a_full_server_refuses(serve, make_engines):
    engines = make_engines()
    engines["llm"].full = True
    server = await serve(engines=engines)
    with pytest.raises(Refused, match="the llm engine is busy") as refused:
        async with ParleyClient(server.url):
            pass
    assert refused.value.status == 1013


async def test_too_many_sessions_say_when_to_come_back(serve):
    server = await serve(server={"session_rate_per_minute": 1})
    async with ParleyClient(server.url):
        pass
    with pytest.raises(Refused) as refused:
        async with ParleyClient(server.url):
            pass
    assert refused.value.status == 429
    assert refused.value.retry_after_s > 0


async def test_a_token_goes_into_a_header(serve):
    server = await serve(auth={"token": "correct horse"})
    with pytest.raises(Refused) as refused:
        async with ParleyClient(server.url):
            pass
    assert refused.value.status == 401
    async with ParleyClient(f"{server.url}/?token=correct+horse") as call:
        assert call.session_id


async def test_nobody_there():
    with pytest.raises(CallError, match="cannot be reached"):
        async with ParleyClient("http://127.0.0.1:1"):
            pass


async def test_events_that_nobody_reads_do_not_pile_up(serve, monkeypatch):
    from web import parley_client

    monkeypatch.setattr(parley_client, "MAX_EVENTS", 5)
    server = await serve(speech_s=1.0)
    async with ParleyClient(server.url) as call:
        await server.until(lambda: server.engines["llm"].made, "the tutor greets")
        await asyncio.sleep(0.5)
        report = await call.end()
        events = [event async for event in call]
    assert len(events) == 5
    assert events[-1] == {"type": "analysis", "data": report}
