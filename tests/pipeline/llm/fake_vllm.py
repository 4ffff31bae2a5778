"""A stand-in for vLLM's server on a real socket: its wire to the letter, and on demand everything that can go wrong with it.

Bodies of errors are those of vLLM 0.32's ``ErrorResponse``. It knows the fields that the tutor may send and refuses others, so
a test sees what is sent by mistake.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MODEL = "Qwen/Qwen2.5-7B-Instruct-AWQ"
MAX_MODEL_LEN = 2048
FIELDS = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "response_format",
    "chat_template_kwargs",
    "tools",
    "tool_choice",
}


@dataclass
class Script:
    """How the next requests go. ``answer`` makes the text of a request's body; the rest is trouble."""

    answer: Callable[[dict[str, Any]], str] = lambda _body: "Hello there. How are you?"
    status: int = 200
    error_body: Any = None
    delay_s: float = 0.0
    stall_after: int | None = None
    """Pieces after which nothing comes any more."""
    cut_after: int | None = None
    """Pieces after which the connection is closed without a word."""
    error_after: int | None = None
    """Pieces after which an error comes in the stream, as vLLM tells of an engine that died."""
    garbage_after: int | None = None
    garbage: bytes = b"data: {not json\n\n"
    halves: bool = False
    """Every event arrives in bytes of three at a time, characters cut in two included."""
    done: bool = True
    finish_reason: str | None = "stop"
    cached_tokens: int | None = None
    """What a server that was started with ``--enable-prompt-tokens-details`` says it did not read again."""
    calls: Callable[[dict[str, Any]], list[tuple[str, str]]] = lambda _body: []
    """Functions that it asks for with its answer to a request's body: names and arguments."""


@dataclass
class FakeVLLM:
    """What it was asked, and what became of it."""

    url: str = ""
    script: Script = field(default_factory=Script)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    running: int = 0
    aborted: int = 0
    """Requests whose client went before the end."""
    finished: int = 0
    key: str | None = None
    models: list[str] = field(default_factory=lambda: [MODEL])
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the server has seen."""
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(condition)

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def list_models(self, request: web.Request) -> web.Response:
        """``GET /v1/models``."""
        if not self._may(request):
            return web.json_response({"error": "Unauthorized"}, status=401)
        cards = [{"id": m, "object": "model", "owned_by": "vllm", "max_model_len": MAX_MODEL_LEN} for m in self.models]
        return web.json_response({"object": "list", "data": cards})

    def _may(self, request: web.Request) -> bool:
        return self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}"

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/chat/completions``."""
        if not self._may(request):
            return web.json_response({"error": "Unauthorized"}, status=401)
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        script = self.script
        unknown = set(body) - FIELDS
        if unknown:
            return _error(400, f"unknown fields: {sorted(unknown)}", "BadRequestError")
        if body["model"] not in self.models:
            return _error(404, f"The model `{body['model']}` does not exist.", "NotFoundError")
        if script.status != 200:
            if script.error_body is not None:
                return web.Response(status=script.status, body=script.error_body)
            return _error(script.status, "made to fail", "InternalServerError" if script.status >= 500 else "BadRequestError")
        self.running += 1
        await self._note()
        try:
            response = await self._streamed(request, body, script)
            self.finished += 1
            return response
        except (asyncio.CancelledError, ConnectionResetError):
            self.aborted += 1
            raise
        finally:
            self.running -= 1
            # Whoever waits is told even where this handler is being cancelled.
            self._notice = asyncio.get_running_loop().create_task(self._note())

    async def _streamed(self, request: web.Request, body: dict[str, Any], script: Script) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def write(data: bytes) -> None:
            step = 3 if script.halves else len(data)
            for at in range(0, len(data), step):
                await response.write(data[at : at + step])
                await asyncio.sleep(0)

        await write(_event(_chunk(body, {"role": "assistant", "content": ""})))
        text = script.answer(body)
        words = text.split(" ")
        for i, word in enumerate(words):
            if i == script.stall_after:
                await asyncio.sleep(3600)
            if i == script.cut_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            if i == script.error_after:
                error = {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}
                await write(_event({"error": error}))
            if i == script.garbage_after:
                await write(script.garbage)
            if script.delay_s:
                await asyncio.sleep(script.delay_s)
            await write(_event(_chunk(body, {"content": word if i == 0 else f" {word}"})))
        for number, (name, arguments) in enumerate(script.calls(body)):
            id = f"call_{len(self.requests)}_{number}"
            first = {"index": number, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
            await write(_event(_chunk(body, {"tool_calls": [first]})))
            for at in range(0, len(arguments), 5):
                piece = {"index": number, "function": {"arguments": arguments[at : at + 5]}}
                await write(_event(_chunk(body, {"tool_calls": [piece]})))
        if script.finish_reason is not None:
            await write(_event(_chunk(body, {}, script.finish_reason)))
        if (body.get("stream_options") or {}).get("include_usage"):
            prompt = sum(len(m["content"]) for m in body["messages"]) // 4
            total = prompt + len(words)
            usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": total}
            if script.cached_tokens is not None:
                usage["prompt_tokens_details"] = {"cached_tokens": script.cached_tokens}
            await write(_event({**_chunk(body, {}), "choices": [], "usage": usage}))
        if script.done:
            await write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def _chunk(body: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice]}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _error(status: int, message: str, kind: str) -> web.Response:
    body = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return web.json_response(body, status=status)


@contextmanager
def kept_port() -> Iterator[socket.socket]:
    """A listening socket for servers that come and go at one address, so that a client of theirs may outlive them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@asynccontextmanager
async def serving(port: int = 0, at: socket.socket | None = None) -> AsyncIterator[FakeVLLM]:
    """A server that runs for as long as the context, on a port or where ``at`` listens."""
    fake = FakeVLLM()
    app = web.Application()
    app.router.add_get("/v1/models", fake.list_models)
    app.router.add_post("/v1/chat/completions", fake.complete)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await (web.SockSite(runner, at.dup()) if at else web.TCPSite(runner, "127.0.0.1", port)).start()
    bound = runner.addresses[0][1]
    fake.url = f"http://127.0.0.1:{bound}"
    try:
        yield fake
    finally:
        await runner.cleanup()
