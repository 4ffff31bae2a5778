"""Items as clients create them: what stands for each in the call's conversation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.brief import FunctionCall, calls_message
from pipeline.messages import INPUT_RATE_HZ
from web.doors.realtime import checks as ck
from web.doors.realtime import events as ev
from web.doors.realtime.items import Item

Made = tuple[Item, dict[str, Any] | None, bytes | None]


def item_of(
    wanted: ev.NewItem, items: Iterable[Item], can: ck.Abilities, *, briefed: bool, decode: Callable[[str], bytes]
) -> Made:
    """The item, and what stands for it in the conversation, or else the speech (pcm16, 16 kHz) that is yet to be recognised.

    Args:
        wanted: What the client sent.
        items: Those that there are.
        can: What the server's engines can be asked for.
        briefed: Whether the assistant follows the client, and is no tutor.
        decode: Speech as the client writes it to pcm16 at 16 kHz.

    Raises:
        ApiError: it cannot be an item of this conversation.
    """
    if isinstance(wanted, ev.McpItem):
        raise ck.unsupported("item.type", "this server calls no MCP servers")
    item = Item(kind=wanted.type, id=wanted.id or ev.new_id("item"))
    match wanted:
        case ev.UserMessage():
            return _user(item, wanted, decode)
        case ev.AssistantMessage():
            item.role = "assistant"
            if any(p.audio for p in wanted.content):
                raise ck.unsupported("item.content.audio", "of the assistant's messages the words are kept")
            item.content = [
                {"type": p.type, ("text" if p.type == "output_text" else "transcript"): p.text or p.transcript or ""}
                for p in wanted.content
            ]
            text = " ".join(filter(None, ((p.text or p.transcript or "").strip() for p in wanted.content)))
            if not text:
                raise _empty()
            return item, {"role": "assistant", "content": text}, None
        case ev.SystemMessage():
            if not briefed:
                raise ck.unsupported("item.role", "the tutor is told nothing; give the session instructions first")
            item.role = "system"
            item.content = [{"type": "input_text", "text": p.text} for p in wanted.content]
            return item, {"role": "system", "content": " ".join(p.text for p in wanted.content)}, None
        case ev.FunctionCallItem():
            if not can.tools:
                raise ck.unsupported("item.type", f"the language model of this server ({can.engine}) calls no functions")
            call = FunctionCall(wanted.call_id or ev.new_id("call"), wanted.name, wanted.arguments)
            item.fields = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            return item, calls_message([call]), None
        case _:
            if not any(i.kind == "function_call" and i.fields["call_id"] == wanted.call_id for i in items):
                raise ev.ApiError(
                    f"Tool call ID {wanted.call_id!r} not found in conversation.",
                    code="invalid_tool_call_id",
                    param="item.call_id",
                )
            item.fields = {"call_id": wanted.call_id, "output": wanted.output}
            return item, {"role": "tool", "tool_call_id": wanted.call_id, "content": wanted.output}, None


def calls_made(calls: Sequence[FunctionCall]) -> list[Item]:
    """The items of functions that the assistant asked for; each with what stands for it in a conversation."""
    made = []
    for wanted in calls:
        known = FunctionCall(wanted.call_id or ev.new_id("call"), wanted.name, wanted.arguments)
        fields = {"call_id": known.call_id, "name": known.name, "arguments": known.arguments}
        made.append(Item(kind="function_call", fields=fields, message=calls_message([known])))
    return made


def _user(item: Item, wanted: ev.UserMessage, decode: Callable[[str], bytes]) -> Made:
    audio, texts = b"", []
    for part in wanted.content:
        if part.type == "input_image" or part.image_url or part.detail:
            raise ck.unsupported("item.content", "this server sees no images")
        if part.text is not None if part.type == "input_audio" else part.audio or part.transcript:
            raise ev.ApiError(f"A part of type {part.type!r} has no such field.", code="invalid_value", param="item.content")
        if part.type == "input_audio" and part.audio:
            audio += decode(part.audio)
            item.content.append({"type": "input_audio", "audio": None, "transcript": part.transcript})
            continue
        text = ((part.text if part.type == "input_text" else part.transcript) or "").strip()
        texts.append(text)
        kept = {"audio": None, "transcript": text} if part.type == "input_audio" else {"text": text}
        item.content.append({"type": part.type, **kept})
    text = " ".join(filter(None, texts))
    if audio and text:
        raise ck.unsupported("item.content", "a message is either speech or text")
    if not audio and not text:
        raise _empty()
    item.audio_ms = len(audio) / 2 / INPUT_RATE_HZ * 1000
    return item, None if audio else {"role": "user", "content": text}, audio or None


def _empty() -> ev.ApiError:
    return ev.ApiError("The message is empty.", code="missing_required_parameter", param="item.content")
