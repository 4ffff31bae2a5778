"""The events of OpenAI's published types, every one and every field: what the door reads, what it refuses, what it sends."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from tests.pipeline.llm.fake_vllm import FakeVLLM, Script
from tests.running_server import RunningServer
from tests.web.realtime import openai_types
from tests.web.realtime.test_instructions import WEATHER
from web.doors.realtime import checks as ck
from web.doors.realtime import config as cf
from web.doors.realtime import events as ev
from web.doors.realtime.items import Item, Items
from web.doors.realtime.new_items import item_of
from web.doors.realtime.responses import Narrator, Response
from web.talk.wavs import read_wav

ALL_ABLE = ck.Abilities(instructions=True, tools=True, max_tokens=(1, 4096), speed=(0.25, 1.5))
OURS = {openai_types.kind(m): m for m in openai_types.models(ev.ClientEvent)}
NEVER_SENT = {
    # Of the API before it was finished.
    "conversation.created",
    "conversation.item.created",
    # Of speakers told apart, of telephone keys at OpenAI's own SIP door, and of MCP servers.
    "conversation.item.input_audio_transcription.segment",
    "input_audio_buffer.dtmf_event_received",
    *(f"mcp_list_tools.{state}" for state in ("in_progress", "completed", "failed")),
    *(f"response.mcp_call.{state}" for state in ("in_progress", "completed", "failed")),
    *(f"response.mcp_call_arguments.{state}" for state in ("delta", "done")),
}

ITEM = "id type role content.type content.text content.audio content.transcript name arguments call_id output"
HONOURED = {
    "session.update": [
        "type event_id session.type session.model session.instructions session.output_modalities session.max_output_tokens",
        "session.tools.type session.tools.name session.tools.description session.tools.parameters",
        "session.tool_choice.type session.tool_choice.name",
        *(f"session.audio.{way}.format.type session.audio.{way}.format.rate" for way in ("input", "output")),
        "session.audio.output.voice.id session.audio.output.speed",
        # The name of a model stands for the server's recogniser, which hears English.
        *(f"session.audio.input.transcription.{name}" for name in ("model", "language", "languages")),
        *(
            f"session.audio.input.turn_detection.{name}"
            for name in (
                *("type", "create_response", "interrupt_response", "eagerness"),
                *("threshold", "silence_duration_ms", "prefix_padding_ms", "idle_timeout_ms"),
            )
        ),
    ],
    "input_audio_buffer.append": ["type event_id audio"],
    "input_audio_buffer.commit": ["type event_id"],
    "input_audio_buffer.clear": ["type event_id"],
    "output_audio_buffer.clear": ["type event_id"],
    "conversation.item.create": ["type event_id previous_item_id", *(f"item.{name}" for name in ITEM.split())],
    "conversation.item.retrieve": ["type event_id item_id"],
    "conversation.item.delete": ["type event_id item_id"],
    "conversation.item.truncate": ["type event_id item_id content_index audio_end_ms"],
    "response.cancel": ["type event_id response_id"],
    "response.create": [
        "type event_id response.instructions response.output_modalities response.max_output_tokens response.metadata",
        "response.conversation response.tool_choice.type response.tool_choice.name",
        "response.tools.type response.tools.name response.tools.description response.tools.parameters",
        "response.audio.output.voice.id response.audio.output.format.type response.audio.output.format.rate",
        *(f"response.input.{name}" for name in ITEM.split()),
    ],
}
WITHOUT_EFFECT = {
    # There is nowhere to send traces to, and the session says so: its ``tracing`` is null.
    "session.update": ["session.tracing.group_id session.tracing.metadata session.tracing.workflow_name"],
    # As the API says of them: they may be there, so that what was received can be sent back.
    "conversation.item.create": ["item.object", "item.status"],
    "response.create": ["response.input.object", "response.input.status"],
}
MCP_ITEM = {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True, "id": "i"}
MCP_TOOL = {"type": "mcp", "server_label": "files", "server_url": "https://files.example"}
MCP_CHOICE = {"type": "mcp", "server_label": "files"}
IMAGE = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}
REFUSED: dict[str, dict[str, Any]] = {
    "session.update": {
        "session.parallel_tool_calls": False,
        "session.include": ["item.input_audio_transcription.logprobs"],
        "session.prompt": {"id": "p"},
        "session.reasoning": {"effort": "low"},
        "session.truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
        "session.tools[mcp]": [MCP_TOOL],
        "session.tool_choice[mcp]": MCP_CHOICE,
        "session.audio.input.noise_reduction.type": "near_field",
        "session.audio.input.noise_reduction.strength": 0.5,
        "session.audio.input.transcription.prompt": "about tea",
        "session.audio.input.transcription.keywords": ["tea"],
        "session.audio.input.transcription.delay": "low",
    },
    "conversation.item.create": {
        "item[mcp]": MCP_ITEM,
        "item.content.image_url": IMAGE,
        "item.content.detail": IMAGE,
    },
    "response.create": {
        "response.parallel_tool_calls": False,
        "response.prompt": {"id": "p"},
        "response.reasoning": {"effort": "low"},
        "response.tools[mcp]": [MCP_TOOL],
        "response.tool_choice[mcp]": MCP_CHOICE,
        "response.input[mcp]": [MCP_ITEM],
        "response.input.content.image_url": [IMAGE],
        "response.input.content.detail": [IMAGE],
    },
}


# What clients send.


def test_the_door_knows_the_events_of_clients_and_no_others() -> None:
    assert set(OURS) == set(openai_types.CLIENT) == set(ev.CLIENT_TYPES)


@pytest.mark.parametrize("kind", sorted(openai_types.CLIENT))
def test_every_field_is_honoured_or_refused_and_none_passed_over(kind: str) -> None:
    theirs = set(openai_types.paths(openai_types.CLIENT[kind]))
    listed = [name for names in (*HONOURED[kind], *WITHOUT_EFFECT.get(kind, [])) for name in names.split()]
    refused = REFUSED.get(kind, {})

    def is_refused(path: str) -> bool:
        return any(path == name or path.startswith(f"{name}.") for name in refused)

    assert theirs - set(listed) == {path for path in theirs if is_refused(path)}
    assert set(listed) <= theirs
    # What is read is what there is: the fields that are refused as a whole may have anything in them.
    ours = set(openai_types.paths(OURS[kind]))
    assert {path for path in theirs ^ ours if not is_refused(path)} == set()


def at(path: str, value: Any) -> dict[str, Any]:
    """An object in which ``value`` stands at ``path``."""
    first, _, rest = path.partition(".")
    return {first: at(rest, value) if rest else value}


def apply(event: ev.ClientEvent) -> None:
    """What a session does with the fields of an event before anything else; raises ``ApiError``."""
    match event:
        case ev.SessionUpdateEvent():
            cf.changed(cf.Config(), event.session, ALL_ABLE)
        case ev.ItemCreateEvent():
            item_of(event.item, Items(), ALL_ABLE, briefed=True, decode=lambda _: b"")
        case ev.ResponseCreateEvent() if event.response is not None:
            cf.response_changes(cf.Config(), event.response, ALL_ABLE)
            for item in event.response.input or ():
                assert not isinstance(item, ev.ItemReference)
                item_of(item, Items(), ALL_ABLE, briefed=True, decode=lambda _: b"")


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, refused in REFUSED.items() for path in refused])
def test_what_is_refused_is_refused_by_name(kind: str, path: str) -> None:
    field = path.removesuffix("[mcp]").partition(".content")[0]
    event = {"type": kind, **at(field, REFUSED[kind][path])}
    if kind == "session.update":
        event["session"]["type"] = "realtime"
    with pytest.raises(ev.ApiError) as refusal:
        apply(ev.parse_client_event(event))
    assert refusal.value.code == "unsupported_parameter"
    assert refusal.value.param
    asked, named = field.replace("response.input", "item").split("."), refusal.value.param.split(".")
    assert named[: len(asked)] == asked[: len(named)]


SESSION = {
    "model": "anything",
    "instructions": "Be brief",
    "output_modalities": ["text"],
    "max_output_tokens": 77,
    "tools": [WEATHER],
    "audio.input.format": {"type": "audio/pcmu"},
    "audio.output.format": {"type": "audio/pcma"},
    "audio.output.speed": 1.25,
    "audio.input.transcription": {"model": "whisper-1", "language": "en"},
    **{
        f"audio.input.turn_detection.{name}": value
        for name, value in (
            ("create_response", False),
            ("interrupt_response", False),
            ("threshold", 0.7),
            ("silence_duration_ms", 900),
            ("idle_timeout_ms", 6_000),
            ("prefix_padding_ms", 300),
        )
    },
}
NOTHING = {
    "instructions": "",
    "tools": [],
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
    "max_output_tokens": "inf",
    "tool_choice": "auto",
    "audio.input.noise_reduction": None,
    "audio.input.transcription": None,
    "audio.input.turn_detection": None,
}


@pytest.mark.parametrize(("path", "value"), [*SESSION.items(), *NOTHING.items()])
def test_the_session_says_what_was_asked_for_and_is_in_force(path: str, value: Any) -> None:
    wanted = at(path, value)
    if path.startswith("audio.input.turn_detection."):
        wanted["audio"]["input"]["turn_detection"]["type"] = "server_vad"
    config = cf.changed(cf.Config(), ev.parse_session({"type": "realtime", **wanted}), ALL_ABLE)
    said: Any = config.to_wire("sess_1", 1)
    for name in path.split("."):
        said = said[name]
    assert said == value
    openai_types.check({"type": "session.updated", "event_id": "e", "session": config.to_wire("sess_1", 1)})


@pytest.mark.parametrize("tracing", ["auto", {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}}])
def test_traces_are_taken_and_said_not_to_be_made(tracing: Any) -> None:
    config = cf.changed(cf.Config(), ev.parse_session({"type": "realtime", "tracing": tracing, "instructions": "Be"}), ALL_ABLE)
    assert config.instructions == "Be"
    assert config.to_wire("sess_1", 1)["tracing"] is None


def test_a_field_that_nobody_knows_is_an_error_wherever_it_stands() -> None:
    known = {
        "session": {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
        "response": {"input": [{"type": "item_reference", "id": "i"}], "audio": {"output": {}}},
    }
    for name, kind in (("session", "session.update"), ("response", "response.create")):
        for place in _objects(known[name]):
            place["nobody"] = 1
            with pytest.raises(ev.ApiError) as refused:
                ev.parse_client_event({"type": kind, name: known[name]})
            assert refused.value.code == "unknown_parameter"
            assert str(refused.value.param).endswith("nobody")
            del place["nobody"]
        ev.parse_client_event({"type": kind, name: known[name]})


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


# What the door sends.


def sent_types() -> dict[str, type[ev.ServerEvent]]:
    found: dict[str, type[ev.ServerEvent]] = {}

    def look(model: type[ev.ServerEvent]) -> None:
        for inner in model.__subclasses__():
            look(inner)
            if "type" in inner.model_fields:
                found[openai_types.kind(inner)] = inner

    look(ev.ServerEvent)
    return found


def test_the_door_sends_events_of_the_api_and_leaves_out_what_it_has_no_part_in() -> None:
    assert set(openai_types.SERVER) - set(sent_types()) == NEVER_SENT
    assert set(sent_types()) <= set(openai_types.SERVER)


def told_over_webrtc() -> list[ev.ServerEvent]:
    """A narrator's events that no conversation over a WebSocket has."""
    items = Items()
    narrator = Narrator(items, cf.Config, webrtc=True, rate_limits=list, spoken_ms=lambda: 1_000.0)
    told = narrator.timed_out(Item(content=[{"type": "input_audio", "audio": None, "transcript": None}]))
    for end in ("interrupted", "turn_complete"):
        told += narrator.begin(Response())
        told += narrator.tell({"type": "ai_text", "text": "One two.", "is_complete": False})
        told += narrator.tell({"type": "speaking", "who": "tutor", "active": True})
        if end == "interrupted":
            told += narrator.tell({"type": "interrupted", "text": "One"})
        told += narrator.tell({"type": "speaking", "who": "tutor", "active": False})
        told += narrator.tell({"type": "turn_complete"})
    error = {"type": "server_error", "code": "transcription_failed", "message": "it failed", "param": None}
    return [*told, ev.TranscriptionFailed(item_id="i", error=error)]


def test_of_a_voice_over_webrtc_is_told_when_it_begins_ends_and_is_cleared() -> None:
    told = [e.type for e in told_over_webrtc() if e.type.startswith(("output_audio_buffer", "response.done"))]
    assert told == [
        "output_audio_buffer.started",
        "output_audio_buffer.cleared",
        "response.done",
        "output_audio_buffer.started",
        "response.done",
        "output_audio_buffer.stopped",
    ]


def test_of_a_voice_over_webrtc_the_seconds_are_counted() -> None:
    heard_ms = iter(range(0, 100_000, 1_000))
    narrator = Narrator(Items(), cf.Config, webrtc=True, rate_limits=list, spoken_ms=lambda: next(heard_ms))
    narrator.begin(Response())
    narrator.tell({"type": "ai_text", "text": "One two.", "is_complete": False})
    narrator.tell({"type": "speaking", "who": "tutor", "active": True})
    narrator.tell({"type": "speaking", "who": "tutor", "active": False})
    done = next(e for e in narrator.tell({"type": "turn_complete"}) if isinstance(e, ev.ResponseDone))
    assert done.response["usage"]["output_token_details"] == {"text_tokens": 2, "audio_tokens": 20}


class Raw:
    """A client that reads events as they are written."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(40):
            while True:
                event: dict[str, Any] = json.loads(await self.socket.recv())
                self.seen.append(event)
                if event["type"] == kind:
                    return event

    async def say(self, pcm16: bytes) -> None:
        """Speech in real time, and a second of silence."""
        pcm16 += bytes(48_000)
        for start in range(0, len(pcm16), 4_800):
            chunk = base64.b64encode(pcm16[start : start + 4_800]).decode()
            await self.send("input_audio_buffer.append", audio=chunk)
            await asyncio.sleep(0.1)


async def test_every_event_that_is_sent_is_one_of_the_api(
    mind: FakeVLLM, briefed: RunningServer, flite_wav: Callable[..., Path]
) -> None:
    voice = np.asarray(read_wav(flite_wav("my name is anna"), 24_000)).astype("<i2").tobytes()
    mind.script = Script(
        answer=lambda _: "Let me see.", calls=lambda body: [("get_weather", '{"city": "Lisbon"}')] if "tools" in body else []
    )
    async with connect(f"ws{briefed.url.removeprefix('http')}/v1/realtime", max_size=None) as socket:
        client = Raw(socket)
        session: dict[str, Any] = {"type": "realtime", "instructions": "Be brief", "tools": [WEATHER]}
        session["audio"] = {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "any"}}}
        await client.send("session.update", session=session)
        talking = asyncio.create_task(client.say(voice))
        spoken = (await client.until("response.done"))["response"]
        await talking
        call = spoken["output"][-1]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        await client.send("conversation.item.create", item=result)
        await client.send("session.update", session={"type": "realtime", "tools": []})
        beside = {"conversation": "none", "output_modalities": ["text"], "metadata": {"a": "b"}}
        await client.send("response.create", response=beside)
        await client.until("response.done")
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        heard = (await client.until("response.done"))["response"]["output"][0]
        await client.send("conversation.item.truncate", item_id=heard["id"], content_index=0, audio_end_ms=0)
        await client.until("conversation.item.truncated")
        for asked in ("retrieve", "delete"):
            await client.send(f"conversation.item.{asked}", item_id=heard["id"])
        await client.until("conversation.item.deleted")
        await client.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send("input_audio_buffer.append", audio=base64.b64encode(voice).decode())
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.input_audio_transcription.completed")
        await client.send("response.cancel")
        await client.until("error")
    seen = [*client.seen, *(e.model_dump(mode="json") for e in told_over_webrtc())]
    for event in seen:
        openai_types.check(event)
    assert {event["type"] for event in seen} == set(sent_types())
