"""A client of OpenAI's chat completions, streamed, for vLLM and servers like it.

It is written on ``httpx`` because of what a call needs at the edges: giving up closes the connection at once, which is how
vLLM learns that an answer is no longer wanted; an answer that ends in its middle is an error and not an answer; and whatever a
broken server sends becomes one clear line.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal

import httpx

from pipeline.brief import AnswerEnd, FunctionCall
from pipeline.llm.chat import ChatFailed, ChatRequest

Dialect = Literal["vllm", "openai", "plain"]
MAX_EVENT_BYTES = 1_000_000
MAX_ERROR_BYTES = 64_000
KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which uvicorn closes an idle connection, so that none is used that is just being closed."""
ABSENT = (502, 503, 504)


class OpenAIChat:
    """One server, for all calls of the process; connections are kept and shared.

    Args:
        url: The server's address; ``/v1`` is added where it is missing.
        key: Bearer token.
        model: Which one to ask; empty: the first that the server lists, when it is asked first.
        dialect: Which fields a request may have besides the usual (``llm.vllm.dialect``).
        thinking: Let a model think before it answers.
        connect_timeout_s: Longest wait for a connection.
        read_timeout_s: Longest silence of the server.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        model: str = "",
        dialect: Dialect = "vllm",
        thinking: bool = False,
        connect_timeout_s: float = 2.0,
        read_timeout_s: float = 15.0,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self.model = model
        self._named = bool(model)
        self._dialect = dialect
        self._thinking = thinking
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=KEEPALIVE_S),
            # A proxy of the environment is for the world outside, not for the server beside.
            trust_env=False,
        )

    async def models(self) -> dict[str, int | None]:
        """The models that the server lists, each with the tokens it can look back on, where the server says so (vLLM does).

        Raises:
            ChatFailed: the server is absent, or answered something else.
        """
        try:
            response = await self._client.get(f"{self.url}/models")
        except httpx.HTTPError as e:
            raise self._failed(e) from e
        if response.status_code != 200:
            raise _refused(response.status_code, response.content)
        try:
            return {str(m["id"]): m.get("max_model_len") for m in response.json()["data"]}
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ChatFailed(f"{self.url}/models gave no list of models") from e

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """As ``ChatSource.stream``."""
        if not self.model:
            self.model = next(iter(await self.models()), "")
        for last in (False, True):
            answered = False
            try:
                async with self._client.stream("POST", f"{self.url}/chat/completions", json=self._body(request)) as response:
                    answered = True
                    if response.status_code == 404 and not self._named:
                        self.model = ""  # a server that was started again may have another one
                    if response.status_code != 200:
                        raise _refused(response.status_code, await _beginning(response))
                    async for piece in _pieces(response.aiter_bytes(), request):
                        yield piece
                    return
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as e:
                # A kept connection may be closed in the very moment in which it is used again.
                if answered or last:
                    raise self._failed(e) from e
            except httpx.HTTPError as e:
                raise self._failed(e) from e

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(request.messages),
            "stream": True,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.tools:
            body["tools"], body["tool_choice"] = list(request.tools), request.tool_choice
        if self._dialect in ("vllm", "openai"):
            body["stream_options"] = {"include_usage": True}
            if request.schema is not None:
                schema = {"name": "answer", "schema": request.schema, "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self._dialect == "vllm":
            # Qwen3's template thinks unless it is told not to; templates that know no such thing pass over it.
            body["chat_template_kwargs"] = {"enable_thinking": self._thinking and request.schema is None}
        return body

    def _failed(self, error: httpx.HTTPError) -> ChatFailed:
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return ChatFailed(f"no language model at {self.url}: {error or 'it does not answer'}", absent=True)
        if isinstance(error, httpx.TimeoutException):
            return ChatFailed(f"the language model at {self.url} has gone silent ({type(error).__name__})")
        text = str(error) or type(error).__name__
        return ChatFailed(f"the connection to the language model at {self.url} broke: {text}")


async def _pieces(data: AsyncIterator[bytes], request: ChatRequest) -> AsyncGenerator[str, None]:
    """The text in a stream of server-sent events.

    An answer is whole when its ``finish_reason`` or ``[DONE]`` has come; some servers send only the one, some only the other.

    Raises:
        ChatFailed: it ended before, or holds something else.
    """
    finished, cut = False, False
    counted: dict[str, Any] = {}
    calls: dict[int, dict[str, str]] = {}
    async for event in _events(data):
        if event == b"[DONE]":
            finished = True
            break
        try:
            chunk = json.loads(event)
            if chunk.get("error") or chunk.get("object") == "error":
                raise ChatFailed(f"the language model failed in the middle of an answer: {_message(chunk)}")
            usage = chunk.get("usage")
            if isinstance(usage, dict):
                counted = usage
            if usage and request.on_prompt_tokens is not None:
                request.on_prompt_tokens(int(usage["prompt_tokens"]))
            for choice in chunk.get("choices") or []:
                delta = choice.get("delta") or {}
                for part in delta.get("tool_calls") or []:
                    _add_call(calls, part)
                content = delta.get("content")
                finished = finished or choice.get("finish_reason") is not None
                cut = cut or choice.get("finish_reason") == "length"
                if content:
                    yield str(content)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ChatFailed(f"the language model sent something that is no answer: {_shown(event)}") from e
    if not finished:
        raise ChatFailed("the language model's answer ended in its middle")
    if calls and request.on_calls is not None:
        request.on_calls([FunctionCall(c["id"], c["name"], c["arguments"]) for _, c in sorted(calls.items())])
    if request.on_end is not None:
        request.on_end(_end(counted, cut))


def _end(usage: dict[str, Any], cut: bool) -> AnswerEnd:
    """What the usage of a stream says, as far as it says it in numbers."""
    details = usage.get("prompt_tokens_details")
    counts = (
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        details.get("cached_tokens") if isinstance(details, dict) else None,
    )
    prompt, answer, cached = (n if isinstance(n, int) else None for n in counts)
    return AnswerEnd(prompt, answer, cached, cut)


def _add_call(calls: dict[int, dict[str, str]], part: dict[str, Any]) -> None:
    """Take in a piece of a function call; its arguments come in many, and some servers number none."""
    call = calls.setdefault(int(part.get("index") or 0), {"id": "", "name": "", "arguments": ""})
    function = part.get("function") or {}
    call["id"] = call["id"] or str(part.get("id") or "")
    call["name"] = call["name"] or str(function.get("name") or "")
    call["arguments"] += str(function.get("arguments") or "")


async def _events(data: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event (HTML standard, 9.2.6), comments and other fields left out.

    Lines are split at line feeds alone: texts may hold characters that are line ends to ``str.splitlines``.
    """
    rest, lines = b"", []
    async for block in data:
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise ChatFailed("the language model sent a line without end")
        for raw in whole:
            line = raw.removesuffix(b"\r")
            if line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" "))
            elif not line and lines:
                yield b"\n".join(lines)
                lines = []
    if lines:
        yield b"\n".join(lines)


async def _beginning(response: httpx.Response) -> bytes:
    """As much of a refusal's body as is worth reading."""
    body = b""
    async for block in response.aiter_bytes():
        body += block
        if len(body) > MAX_ERROR_BYTES:
            break
    return body


def _refused(status: int, body: bytes) -> ChatFailed:
    try:
        detail = _message(json.loads(body))
    except ValueError:
        detail = _shown(body)
    return ChatFailed(f"the language model refused with {status}: {detail}", absent=status in ABSENT, status=status)


def _message(body: Any) -> str:
    """What an error body says: OpenAI's and vLLM's ``error.message``, older vLLM's ``message``, FastAPI's ``detail``."""
    if isinstance(body, dict):
        error = body.get("error")
        nested = error.get("message") if isinstance(error, dict) else error
        body = nested or body.get("message") or body.get("detail") or body
    return " ".join(str(body).split())[:300]


def _shown(data: bytes) -> str:
    return repr(data[:120].decode(errors="replace"))
