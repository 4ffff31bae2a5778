"""What an RTVI client asks for in its messages, turned into commands and deeds of its call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.brief import FunctionCall, calls_message
from pipeline.call import Call
from pipeline.messages import MAX_TEXT_CHARS, BadMessage, ClientMessage, EndConversation, TextInput, parse_client_message
from pipeline.session import Session
from pipeline.transports.rtvi import RtviTransport
from pipeline.transports.rtvi_wire import Message, Writer, rtvi

_Model = TypeVar("_Model", bound=BaseModel)
MAX_RESULT_CHARS = 16_384
"""Of a function's result in JSON: what a language model is to read."""


class BadRequest(ValueError):
    """The client asked for what does not exist or cannot be done; the text is fit for it."""


class _SendTextOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    run_immediately: bool = True
    audio_response: bool = True


class _SendText(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)
    options: _SendTextOptions | None = None


class _FunctionResult(BaseModel):
    model_config = ConfigDict(extra="ignore")

    tool_call_id: str = Field(max_length=200)
    result: Any = None


class Requests:
    """The messages of one client, from the first to ``close``."""

    def __init__(self, session: Session, transport: RtviTransport, writer: Writer) -> None:
        self._session = session
        self._transport = transport
        self._writer = writer
        self._aloud = True
        """Whether answers are spoken where a message does not say otherwise."""
        self._hushed = False
        """Whether this one answer is only written."""
        self._calls: dict[str, FunctionCall] = {}
        self._results: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        transport.on_turn_over = self._turn_over
        session.call_state.on_function_calls = self._ask

    async def close(self) -> None:
        """The client is gone. Awaits what was begun for it."""
        self._transport.on_turn_over = None
        if self._session.call_state.on_function_calls == self._ask:
            self._session.call_state.on_function_calls = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self, message: Message) -> ClientMessage | None:
        """Do what a message asks for, or return the command that it is.

        Raises:
            BadRequest: it has no meaning here, or a field of it is wrong.
        """
        match message.type:
            case "client-ready":
                await self._transport.take_rtvi(message.raw)
                return None
            case "client-message":
                return await self._client_message(message)
            case "send-text":
                return await self._send_text(message)
            case "llm-function-call-result":
                await self._function_result(_read(_FunctionResult, message))
                return None
            case "disconnect-bot":
                return EndConversation()
            case other:
                raise BadRequest(f"messages of the type {other[:40]!r} are not understood here")

    async def _client_message(self, message: Message) -> ClientMessage | None:
        kind, fields = message.data.get("t"), message.data.get("d")
        if not isinstance(kind, str):
            raise BadRequest("client-message needs 'data' with a type 't'")
        if fields is not None and not isinstance(fields, dict):
            raise BadRequest("client-message: 'd' must be an object")
        if kind.startswith("eval-"):
            return await self._eval(kind, fields or {})
        try:
            return parse_client_message({**(fields or {}), "type": kind})
        except BadMessage as e:
            raise BadRequest(str(e)) from None

    async def _eval(self, kind: str, fields: dict[str, Any]) -> ClientMessage | None:
        """What pipecat's eval harness asks of a bot besides RTVI, as far as it is about nothing but its own call."""
        match kind:
            case "eval-connect":
                self._writer.sounds = fields.get("capture_bot_audio") is True
                self._aloud = fields.get("skip_tts") is not True
                await self._speak(self._aloud)
            case "eval-cancel":
                return EndConversation()
            case "eval-configure":
                pass  # what there is to observe is sent anyway
            case _:
                raise BadRequest(f"{kind[:40]} is not possible: a call is its lesson, and not given a history")
        return None

    # Text

    async def _send_text(self, message: Message) -> ClientMessage | None:
        wanted = _read(_SendText, message)
        options = wanted.options or _SendTextOptions()
        said = {"text": wanted.content, "input_type": "chat", "final": True, "timestamp": datetime.now(UTC).isoformat()}
        self._transport.post(rtvi("user-input", {**said, "msg_id": message.id}))
        call = self._session.call
        hushed = self._aloud and not options.audio_response
        if call is None or (options.run_immediately and not hushed):
            return TextInput(text=wanted.content)
        if options.run_immediately:
            await call.interrupt()
            await self._speak(False)
            self._hushed = True
        # Not as a typed turn, whose interruption would overtake and drop what was just asked of the pipeline.
        await call.take_in(wanted.content)
        if options.run_immediately:
            await call.respond()
        return None

    def _turn_over(self) -> None:
        if self._hushed:
            self._hushed = False
            self._spawn(self._speak(self._aloud))

    async def _speak(self, aloud: bool) -> None:
        if self._session.call is not None:
            await self._session.call.speak(aloud)

    # Functions

    def _ask(self, calls: Sequence[FunctionCall]) -> None:
        """The LLM wants functions to be run by the client. What it wanted before, and the client has not answered, is void: the
        conversation went on without it."""
        if self._session.call is not None:
            self._session.call.acted()
        for void in self._calls.values():
            if void.call_id not in self._results:
                self._stopped(void, cancelled=True)
        self._calls, self._results = {}, {}
        for call in calls:
            self._calls[call.call_id] = call
            named = {"function_name": call.name}
            self._transport.post(rtvi("llm-function-call-started", named))
            asked = {**named, "tool_call_id": call.call_id, "arguments": _arguments(call)}
            self._transport.post(rtvi("llm-function-call-in-progress", asked))

    async def _function_result(self, result: _FunctionResult) -> None:
        asked = self._calls.get(result.tool_call_id)
        if asked is None or result.tool_call_id in self._results:
            raise BadRequest(f"no function call {result.tool_call_id[:40]!r} waits for a result")
        text = result.result if isinstance(result.result, str) else json.dumps(result.result)
        if len(text) > MAX_RESULT_CHARS:
            raise BadRequest(f"a result may have at most {MAX_RESULT_CHARS} characters")
        self._results[asked.call_id] = text
        self._stopped(asked, cancelled=False, result=result.result)
        if self._results.keys() >= self._calls.keys() and self._session.call is not None:
            await self._answer(self._session.call)

    def _stopped(self, asked: FunctionCall, *, cancelled: bool, **result: Any) -> None:
        how = {"function_name": asked.name, "tool_call_id": asked.call_id, "cancelled": cancelled}
        self._transport.post(rtvi("llm-function-call-stopped", how | result))

    async def _answer(self, call: Call) -> None:
        """All results are there: the LLM goes on with them."""
        calls, results = list(self._calls.values()), self._results
        self._calls, self._results = {}, {}
        call.insert_message(len(self._session.context.messages), calls_message(calls))
        for asked in calls:
            output = {"role": "tool", "tool_call_id": asked.call_id, "content": results[asked.call_id]}
            call.insert_message(len(self._session.context.messages), output)
        await call.respond()

    def _spawn(self, work: Any) -> None:
        async def run() -> None:
            try:
                await work
            except Exception as e:
                logger.opt(exception=e).error("a task of the RTVI door failed")

        task = asyncio.create_task(run(), name="rtvi request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _arguments(call: FunctionCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _read(model: type[_Model], message: Message) -> _Model:
    try:
        return model.model_validate(message.data)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "data"
        raise BadRequest(f"{message.type}: {where}: {first['msg']}") from None
