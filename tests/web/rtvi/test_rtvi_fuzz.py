"""Whatever bytes come: no exception but ``BadFrame``, no call is stuck, and a good client beside it is served."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pipecat.frames.protobufs.frames_pb2 as protobufs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pipeline.transports.rtvi_wire import BadFrame, Interruption, Message, Sound, Writer, read_json, read_protobuf, rtvi
from tests.web.rtvi.conftest import READY, packed

MAX_CHARS = 32_768
KINDS = ["client-ready", "client-message", "send-text", "send-file", "disconnect-bot", "llm-function-call-result", "raw-audio"]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "t",
    "d",
    "content",
    "options",
    "tool_call_id",
    "version",
    "base64Audio",
    "base64AudioBatch",
    "sampleRate",
    "numChannels",
]
messages = st.fixed_dictionaries(
    {},
    optional={
        "label": st.just("rtvi-ai") | json_values,
        "type": st.sampled_from(KINDS) | json_values,
        "id": st.text(max_size=8) | json_values,
        "data": st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5) | json_values,
    },
)
texts = messages.map(json.dumps) | st.text(max_size=200)
frames = st.one_of(
    texts.map(lambda text: packed(message=protobufs.MessageFrame(data=text))),
    st.builds(
        lambda pcm, rate, channels: packed(audio=protobufs.AudioRawFrame(audio=pcm, sample_rate=rate, num_channels=channels)),
        st.binary(max_size=2_000),
        st.integers(0, 2**32 - 1) | st.sampled_from([8_000, 16_000, 48_000]),
        st.integers(0, 2**32 - 1) | st.just(1),
    ),
    st.just(packed(interruption=protobufs.InterruptionFrame())),
    st.just(packed(text=protobufs.TextFrame(text="x"))),
)


@st.composite
def damaged(draw: Any) -> bytes:
    """A frame that was cut, or of which some bytes were changed; or no frame at all."""
    raw = bytearray(draw(frames | st.binary(max_size=300)))
    for place in draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=4)):
        if raw:
            raw[place] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))])


def reads(read: Callable[[Any, int], list[Any]], raw: Any) -> list[Any]:
    """What was read; nothing, where it was refused with a reason fit for the client."""
    refusal = ""
    try:
        return read(raw, MAX_CHARS)
    except BadFrame as e:
        refusal = str(e)
    assert 0 < len(refusal) < 300
    return []


@given(frames | damaged())
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for item in reads(read_protobuf, raw):
        assert isinstance(item, Sound | Message | Interruption)
        if isinstance(item, Sound):
            assert len(item.pcm16) % 2 == 0
            assert 8_000 <= item.rate_hz <= 48_000


@given(texts)
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused(raw: str) -> None:
    assert all(isinstance(item, Sound | Message) for item in reads(read_json, raw))


@pytest.mark.parametrize("raw", ["[" * 30_000, '{"label":"rtvi-ai","type":"x","data":' + '{"a":' * 5_000, "1e999999", "\ud800"])
def test_deep_and_strange_text_is_refused(raw: str) -> None:
    with pytest.raises(BadFrame):
        read_json(raw, MAX_CHARS)


@given(messages, st.binary(max_size=500).filter(lambda pcm: len(pcm) % 2 == 0))
@settings(max_examples=100, deadline=None)
def test_what_is_written_can_be_read(data: Any, pcm16: bytes) -> None:
    writer = Writer()
    writer.framing = "protobuf"
    message = rtvi("server-message", data)
    written = writer.message(message)
    assert isinstance(written, bytes)
    [read] = read_protobuf(written, 10**6)
    assert isinstance(read, Message)
    assert read.raw == json.loads(json.dumps(message))
    sound = writer.audio(pcm16, 24_000)
    assert isinstance(sound, bytes)
    assert read_protobuf(sound, MAX_CHARS) == [Sound(pcm16, 24_000)]


async def test_a_server_that_is_fed_rubbish_serves_on(serve, rtvi_chat):
    """Sixty clients with damaged frames in any order and framing, beside a call that goes on, however long they take."""
    server = await serve(silence={"ask_after_s": 0})
    drawn: list[list[bytes | str]] = []

    @given(st.lists(frames | damaged() | texts, max_size=12))
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def draw(client: list[bytes | str]) -> None:
        drawn.append(client)

    draw()

    async def misbehave(client: list[bytes | str], ready: bool) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            async with connect(f"ws://127.0.0.1:{server.port}/ws/rtvi", max_size=None) as socket:
                if ready:
                    hello = {"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": READY}
                    await socket.send(packed(message=protobufs.MessageFrame(data=json.dumps(hello))))
                for raw in client:
                    await socket.send(raw)
                await asyncio.sleep(0.05)

    async with rtvi_chat(server) as chat:
        await chat.until("server-message", type="turn_complete")
        for start in range(0, len(drawn), 6):
            await asyncio.gather(*(misbehave(c, n % 2 == 0) for n, c in enumerate(drawn[start : start + 6])))
        await chat.send("send-text", {"content": "still there?"})
        await chat.until("server-message", type="ai_text", text="Answer 1.")
    await server.until(lambda: server.state.sessions.active == 0, "no call is left")
    names = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("rtvi")]
    assert names == []


async def test_connections_that_say_nothing_cost_no_call(serve):
    server = await serve()
    sockets = [await connect(f"ws://127.0.0.1:{server.port}/ws/rtvi") for _ in range(100)]
    assert server.state.sessions.active == 0
    for socket in sockets:
        await socket.close()
    await server.until(lambda: not [t for t in asyncio.all_tasks() if t.get_name().startswith("rtvi")], "all is tidied up")


async def test_start_refuses_what_is_no_request(serve):
    server = await serve()
    bodies: list[Any] = []

    @given(st.fixed_dictionaries({}, optional={"transport": json_values, "body": json_values | messages}) | json_values)
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def draw(body: Any) -> None:
        bodies.append(body)

    draw()
    async with server.http() as http:
        for body in bodies:
            assert (await http.post("/start", json=body)).status_code in (200, 422, 429)
        for raw in (b"{", b"\xff\xfe", b"[" * 5_000):
            answer = await http.post("/start", content=raw, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422), raw[:10]
            assert answer.json()["detail"]
        giant = await http.post("/start", json={"body": {"instructions": "x" * 300_000}})
        assert giant.status_code in (413, 422)
