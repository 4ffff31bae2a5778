"""What clients get who send what they must not: clear errors, and a session that goes on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.running_server import RunningServer
from tests.web.realtime.conftest import Client, session
from web.doors.realtime.events import CLIENT_TYPES, ApiError, ErrorDetail, parse_client_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
FIELDS = ["session", "item", "item_id", "audio", "response", "content_index", "audio_end_ms", "previous_item_id", "event_id"]
EVENTS = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(CLIENT_TYPES),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
)


@given(st.one_of(JSON, EVENTS))
@settings(max_examples=400, deadline=None)
def test_whatever_is_sent_is_an_event_or_an_error_that_can_be_sent(data: Any) -> None:
    try:
        event = parse_client_event(data)
    except ApiError as e:
        detail = e.detail("mine")
        assert detail.message
        assert ErrorDetail.model_validate_json(detail.model_dump_json()) == detail
        return
    assert event.type in CLIENT_TYPES
    assert parse_client_event(event.model_dump(exclude_unset=True)) == event


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ([], "invalid_event", None),
        ({}, "invalid_value", "type"),
        ({"type": "conversation.item.dance"}, "invalid_value", "type"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 3}, "invalid_type", "audio"),
        ({"type": "input_audio_buffer.commit", "why": 1}, "unknown_parameter", "why"),
        ({"type": "session.update", "session": {"type": "realtime", "voice": "ash"}}, "unknown_parameter", "session.voice"),
        ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
        (
            {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/mp3"}}}}},
            "invalid_value",
            "session.audio.input.format",
        ),
        (
            {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},
            "invalid_value",
            "session.output_modalities",
        ),
        ({"type": "conversation.item.create", "item": {"role": "user"}}, "missing_required_parameter", "item.type"),
    ],
)
def test_errors_name_the_field(event: Any, code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        parse_client_event(event)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert not isinstance(refused.value, ValidationError)


UNSUPPORTED = [
    ({"prompt": {"id": "p"}}, "session.prompt"),
    ({"reasoning": {"effort": "low"}}, "session.reasoning"),
    ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
    ({"truncation": "disabled"}, "session.truncation"),
    ({"parallel_tool_calls": False}, "session.parallel_tool_calls"),
    ({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}, "session.audio.input.noise_reduction"),
    ({"audio": {"input": {"transcription": {"language": "fr"}}}}, "session.audio.input.transcription.language"),
    ({"audio": {"input": {"transcription": {"prompt": "tech"}}}}, "session.audio.input.transcription.prompt"),
    ({"audio": {"input": {"noise_reduction": {"strength": 0.5}}}}, "session.audio.input.noise_reduction"),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": 0}}}},
        "session.audio.input.turn_detection.prefix_padding_ms",
    ),
    ({"type": "transcription"}, "session.type"),
    ({"tool_choice": {"type": "mcp", "server_label": "files"}}, "session.tool_choice"),
]


async def test_what_the_server_has_not_is_refused_by_name(client: Client) -> None:
    before = (await client.update())["audio"]
    for wanted, param in UNSUPPORTED:
        await client.send(type="session.update", session={"type": "realtime", **wanted}, event_id="wish")
        error = (await client.until("error"))["error"]
        assert (error["code"], error["param"], error["event_id"]) == ("unsupported_parameter", param, "wish")
    await client.send(type="session.update", session={"type": "realtime", "audio": {"output": {"voice": "gandalf"}}})
    assert "one voice" in (await client.until("error"))["error"]["message"]
    assert (await client.update(audio={"output": {"voice": "marin"}}))["audio"] == before
    await client.respond()
    await client.send(
        type="session.update", session={"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcmu"}}}}
    )
    assert (await client.until("error"))["error"]["code"] == "cannot_update_format"


async def test_events_in_a_wrong_order(client: Client) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ({"type": "output_audio_buffer.clear"}, "invalid_event"),
        ({"type": "conversation.item.delete", "item_id": "nobody"}, "item_not_found"),
        ({"type": "conversation.item.retrieve", "item_id": "nobody"}, "item_not_found"),
        (
            {"type": "conversation.item.truncate", "item_id": "nobody", "content_index": 0, "audio_end_ms": 0},
            "item_not_found",
        ),
        (
            {
                "type": "conversation.item.create",
                "previous_item_id": "nobody",
                "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            },
            "item_not_found",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "nobody", "output": "1"},
            },
            "invalid_tool_call_id",
        ),
        ({"type": "input_audio_buffer.append", "audio": "???"}, "invalid_audio"),
        ({"type": "input_audio_buffer.append", "audio": base64.b64encode(b"odd").decode()}, "invalid_audio"),
    ]
    for event, code in wrong:
        await client.send(**event)
        assert (await client.until("error"))["error"]["code"] == code
    assert (await client.respond())["status"] == "completed"


async def raw(server: RunningServer) -> ClientConnection:
    socket = await connect(f"ws{server.url.removeprefix('http')}/v1/realtime", max_size=None)
    assert json.loads(await socket.recv())["type"] == "session.created"
    return socket


async def answered(socket: ClientConnection) -> bool:
    """Whether the session still answers."""
    await socket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "nobody", "event_id": "alive"}))
    async with asyncio.timeout(20):
        while True:
            event = json.loads(await socket.recv())
            if event["type"] == "error" and event["error"].get("event_id") == "alive":
                return True


async def closed(socket: ClientConnection) -> int | None:
    """The code with which the server closes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(socket.recv(), 20)
    return socket.close_code


async def test_binary_truncated_and_giant_messages(server: RunningServer) -> None:
    socket = await raw(server)
    for bad in (
        b"\0\1\2",
        '{"type": "response.cre',
        "[" * 100_000,
        "null",
        '"x"',
        "",
        '{"type": "response.create"' + " " * 9_000,
    ):
        await socket.send(bad)
        event = json.loads(await socket.recv())
        assert event["type"] == "error", event
        assert event["error"]["type"] == "invalid_request_error"
    assert await answered(socket)
    await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 1_100_000}))
    assert await closed(socket) == 1009


async def test_who_sends_nothing_but_nonsense_is_expelled(server: RunningServer) -> None:
    socket = await raw(server)
    with contextlib.suppress(ConnectionClosed):
        for _ in range(200):
            await socket.send("{}")
    assert await closed(socket) == 1008


@given(st.lists(EVENTS, min_size=1, max_size=20))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_events_stops_a_session(server: RunningServer, events: list[dict[str, Any]]) -> None:
    async def run() -> None:
        socket = await raw(server)
        for event in events:
            await socket.send(json.dumps(event))
        assert await answered(socket)
        await socket.close()

    asyncio.run(run())


async def test_sessions_that_come_and_go_leave_nothing(server: RunningServer) -> None:
    async def come_and_go() -> None:
        async with session(server.url) as client:
            await client.send(type="response.create")
            await client.until("response.created")

    for _ in range(5):
        await asyncio.gather(*(come_and_go() for _ in range(4)))
    await asyncio.to_thread(server.wait_for, lambda: server.get("/status")["active_calls"] == 0, "all calls have ended")
