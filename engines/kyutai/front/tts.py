"""The door of text to speech, as moshi-server has it (``rust/moshi-server/src/py_module.rs``): a WebSocket for text that is
being written, and a POST for text that is there. ``GET /api/voices`` is ours.

What moshi-server's script does not read of the query (``temperature``, ``cfg_alpha``, …) is not read here either: the engine's
configuration says it for all sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from engines.kyutai.front.app import Keys, refusal
from engines.kyutai.front.encodings import encoding, int16, wav_header
from engines.kyutai.front.hub import Hub, Overloaded, Remote
from engines.kyutai.front.tts_stream import MOST_TEXT, Split, TtsStream
from engines.kyutai.tts_records import (
    Ask,
    Done,
    Ended,
    Event,
    Failed,
    Frame,
    Opened,
    Unwanted,
    WordBegun,
    Words,
    at_front,
    to_engine,
)
from engines.wire.kyutai import NO_FREE_CHANNELS, TTS_EXTENSIONS, TTS_FORMATS, TTS_PATH, WireError, granted

VOICES_PATH = "/api/voices"
MOST_MESSAGE = 1 << 22
"""Bytes of one message; the largest embedding of a voice takes 2.9 million. What is larger closes with a code only."""
_CLOSE_WITHIN_S = 2.0
_REASON_BYTES = 123  # of a close frame, by RFC 6455
_SEEDS = 1 << 63
_TRY_AGAIN_S = 0.1
_TRIES = 1000  # of a text that finds no free slot


@dataclass(frozen=True)
class Patience:
    """Seconds: a ping where nothing was sent for ``ping_s``; the end where nothing at all came for ``silent_s``, not even the
    answer to a ping, or nothing was said in either direction for ``idle_s``."""

    ping_s: float = 10.0
    silent_s: float = 30.0
    idle_s: float = 120.0


class _Over(Exception):
    """The stream is to be closed before its time; the text is for the client."""


class _Unwanted(Exception):
    """The client has cancelled it."""


class TtsDoor:
    """See ``Door``. ``splitting``: makes a ``Split`` for each stream out of what the engine says of its text."""

    def __init__(self, hub: Hub, keys: Keys, splitting: Callable[[bytes], Callable[[], Split]], patience: Patience) -> None:
        self._hub = hub
        self._keys = keys
        self._splitting = splitting
        self._patience = patience
        self._split: Callable[[], Split] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.get(TTS_PATH, self.stream), web.post(TTS_PATH, self.whole), web.get(VOICES_PATH, self.voices)]

    async def voices(self, request: web.Request) -> web.StreamResponse:
        """The names that ``voice`` may have."""
        if (no := refusal(request, self._hub, self._keys)) is not None:
            return no
        try:
            return web.Response(body=await self._hub.ask("voices"), content_type="application/json")
        except TimeoutError:
            return web.Response(status=503, text="the step loop does not answer\n")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One listener whose text is being written."""
        if (no := refusal(request, self._hub, self._keys)) is not None:
            return no
        query = request.query
        extensions = granted(query.get("extensions", ""), TTS_EXTENSIONS)
        try:
            how = encoding(query.get("format", TTS_FORMATS[0]), pcm16="pcm16" in (extensions or ()))
            seed = _seed(query.get("seed"))
            split = await self._new_split()
        except ValueError as e:
            return web.Response(status=400, text=f"{e}\n")
        except TimeoutError:
            return web.Response(status=503, text="the step loop does not answer\n")
        ws = web.WebSocketResponse(max_msg_size=MOST_MESSAGE, compress=False, autoping=False, timeout=_CLOSE_WITHIN_S)
        await ws.prepare(request)
        one = _Stream(request, ws, TtsStream(how, split, granted=extensions), self._patience)
        try:
            remote = self._hub.open({"voice": query.get("voice") or None, "seed": seed})
        except Overloaded as e:
            await one.fail(str(e))
            return ws
        try:
            await one.run(remote)
        except _Over as e:
            # The slot is free before the client hears of it, and however long it takes to close.
            remote.close()
            await one.fail(str(e))
        except _Unwanted:
            remote.close()
            await one.cancelled()
        except (ConnectionError, RuntimeError):
            # The client went while something was being sent to it.
            pass
        finally:
            remote.close()
        return ws

    async def whole(self, request: web.Request) -> web.StreamResponse:
        """A text that is there: the answer is a WAV, sent as it is made."""
        if (no := refusal(request, self._hub, self._keys)) is not None:
            return no
        try:
            text, voice = _asked(await request.json())
            words = (await self._new_split())(text)
        except ValueError as e:
            return web.Response(status=400, text=f"{e}\n")
        except TimeoutError:
            return web.Response(status=503, text="the step loop does not answer\n")
        asks: list[Ask] = [Words([tokens for _, tokens in words]), Ended()]
        for _ in range(_TRIES):
            try:
                remote = self._hub.open({"voice": voice, "seed": None})
            except Overloaded as e:
                return web.Response(status=503, text=f"{e}\n")
            try:
                for ask in asks:
                    remote.send(*to_engine(ask))
                first = await _next(remote)
                while isinstance(first, Opened | WordBegun):
                    first = await _next(remote)
                if isinstance(first, Failed) and first.message == NO_FREE_CHANNELS:
                    await asyncio.sleep(_TRY_AGAIN_S)
                    continue
                if isinstance(first, Failed):
                    return web.Response(status=400, text=f"{first.message}\n")
                return await _wav(request, remote, first)
            except Overloaded as e:
                return web.Response(status=503, text=f"{e}\n")
            finally:
                remote.close()
        return web.Response(status=503, text=f"{NO_FREE_CHANNELS}\n")

    async def _new_split(self) -> Split:
        if self._split is None:
            self._split = self._splitting(await self._hub.ask("text"))
        return self._split()


class _Stream:
    """One WebSocket."""

    def __init__(self, request: web.Request, ws: web.WebSocketResponse, stream: TtsStream, patience: Patience) -> None:
        self._request = request
        self._ws = ws
        self._stream = stream
        self._patience = patience
        self._active_s = 0.0

    async def run(self, remote: Remote) -> None:
        """Until all is said, or the client goes.

        :raises _Over: where it is to be closed before
        :raises _Unwanted: where the client has cancelled it
        """
        self._said()
        tasks = [asyncio.create_task(self._read(remote)), asyncio.create_task(self._write(remote))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def fail(self, why: str) -> None:
        """Says why, as far as the format can, and closes."""
        busy = why == NO_FREE_CHANNELS
        reason = why.encode()[:_REASON_BYTES].decode(errors="ignore")
        await self._close(
            self._stream.failed(why), WSCloseCode.TRY_AGAIN_LATER if busy else WSCloseCode.INTERNAL_ERROR, reason.encode()
        )

    async def cancelled(self) -> None:
        """Says that it is, and closes."""
        await self._close(self._stream.cancelled(), WSCloseCode.OK, b"")

    async def _close(self, last: list[bytes], code: int, reason: bytes) -> None:
        try:
            async with asyncio.timeout(2 * _CLOSE_WITHIN_S):
                for message in last:
                    await self._ws.send_bytes(message)
                await self._ws.close(code=code, message=reason)
        except (TimeoutError, ConnectionError, RuntimeError):
            # A client that does not read is not waited for.
            if self._request.transport is not None:
                self._request.transport.abort()

    async def _read(self, remote: Remote) -> None:
        while True:
            try:
                message = await self._ws.receive(self._patience.silent_s)
            except TimeoutError:
                raise _Over("the client does not answer") from None
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._said()
            try:
                if message.type == WSMsgType.PING:
                    await self._ws.pong(message.data)
                elif message.type == WSMsgType.TEXT:
                    self._ask(remote, self._stream.text(message.data))
                elif message.type == WSMsgType.BINARY:
                    self._ask(remote, self._stream.binary(message.data))
                elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    return
            except (WireError, Overloaded) as e:
                raise _Over(str(e)) from None

    @staticmethod
    def _ask(remote: Remote, asks: list[Ask]) -> None:
        for ask in asks:
            if isinstance(ask, Unwanted):
                raise _Unwanted
            remote.send(*to_engine(ask))

    async def _write(self, remote: Remote) -> None:
        while True:
            try:
                # Not wait_for: before Python 3.12 it forgets that it was cancelled when a record comes at the same moment.
                async with asyncio.timeout(self._patience.ping_s):
                    event = await _next(remote)
            except TimeoutError:
                if asyncio.get_running_loop().time() - self._active_s > self._patience.idle_s:
                    # Its slot is wanted by others.
                    raise _Over(f"nothing was said for {self._patience.idle_s:g} s") from None
                await self._ws.ping()
                continue
            self._said()
            for message in self._messages(event):
                await self._ws.send_bytes(message)
            if self._stream.over:
                await self._close([], WSCloseCode.OK, b"")
                return

    def _said(self) -> None:
        self._active_s = asyncio.get_running_loop().time()

    def _messages(self, event: Event) -> list[bytes]:
        match event:
            case Opened():
                return self._stream.opened()
            case Frame(pcm=pcm):
                return self._stream.frame(pcm)
            case WordBegun(step=step):
                return self._stream.word(step)
            case Done(frames=frames):
                return self._stream.done(frames)
            case Failed(message=why):
                raise _Over(why)


async def _next(remote: Remote) -> Event:
    record = await remote.next()
    return at_front(record.kind, record.payload)


async def _wav(request: web.Request, remote: Remote, first: Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
    await response.prepare(request)
    event = first
    with contextlib.suppress(ConnectionError):
        await response.write(wav_header())
        while not isinstance(event, Done):
            if isinstance(event, Failed):
                # The length is not known before: only a connection that breaks says that something is missing.
                assert request.transport is not None
                request.transport.abort()
                return response
            if isinstance(event, Frame):
                await response.write(int16(event.pcm))
            event = await _next(remote)
        await response.write_eof()
    return response


def _asked(body: Any) -> tuple[str, str | None]:
    """Text and voice of a POST.

    :raises ValueError: where they are not there
    """
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        raise ValueError('a JSON object {"text": …, "voice": …} is wanted')
    voice = body.get("voice")
    if voice is not None and not isinstance(voice, str):
        raise ValueError("voice: a name is wanted")
    if len(body["text"]) > MOST_TEXT:
        raise ValueError(f"text: {MOST_TEXT} characters are the most")
    return body["text"], voice or None


def _seed(text: str | None) -> int | None:
    """:raises ValueError: where it is no number of 64 bits"""
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) >= 2 * _SEEDS or len(text) > 20:
        raise ValueError("seed: a whole number of up to 64 bits is wanted")
    return int(text) % _SEEDS


def make_door(hub: Hub, keys: Keys, spec: dict[str, Any]) -> TtsDoor:
    """``spec``: see ``Host``. ``patience`` of it: what is to differ from the usual."""
    from engines.kyutai.tts_text import splitting

    return TtsDoor(hub, keys, splitting, Patience(**spec.get("patience", {})))
