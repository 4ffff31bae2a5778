"""Client of a Kyutai text-to-speech engine, ours or Kyutai's own: one reply is one connection.

``Connection`` speaks the wire; ``Speech`` is a reply on its way: words go in as they are written, sound and the times of words
come out, and what fails before anything was heard is tried once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np
from loguru import logger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus, WebSocketException

from engines.wire import kyutai as wire

RATE_HZ = 24_000
_CLOSE_TIMEOUT_S = 1.0
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_RETRY_AFTER_S = 0.2
"""An engine that was just started again, or a slot that was just given back, needs a moment."""


class EngineError(RuntimeError):
    """The engine cannot be reached, refuses, or failed; the text says which. ``full``: it has no free slot now."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine is. ``url``: ws:// or wss://, without a path. ``key``: what its door asks for, or ``None``."""

    url: str
    key: str | None = None
    connect_timeout_s: float = 1.0

    @classmethod
    def of(cls, url: str, key: str | None, connect_timeout_s: float) -> Endpoint:
        """From a URL as people write it: http is taken for ws, and the path may be there.

        Raises:
            ValueError: it is missing or none.
        """
        if not url:
            raise ValueError("the address of the server is missing, such as ws://127.0.0.1:8089")
        parts = urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        if scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"{url!r} is no address such as ws://127.0.0.1:8089")
        path = parts.path.rstrip("/").removesuffix(wire.TTS_PATH)
        return cls(urlunsplit((scheme, parts.netloc, path, "", "")), key, connect_timeout_s)

    def address(self, voice: str | None) -> str:
        """The URL of a reply in ``voice`` (``None``: the engine's own)."""
        query = f"format=PcmMessagePack&extensions={','.join(sorted(wire.TTS_EXTENSIONS))}"
        if voice:
            query += f"&voice={quote(voice, safe='')}"
        return f"{self.url}{wire.TTS_PATH}?{query}"


@dataclass(frozen=True, slots=True)
class SaidWord:
    """A word of the text, said from ``start_s`` to ``stop_s`` of the reply's sound."""

    text: str
    start_s: float
    stop_s: float


class Connection:
    """One open connection. ``pcm16`` and ``cancel``: what the engine grants."""

    def __init__(self, socket: ClientConnection, extensions: Sequence[str]) -> None:
        self._socket = socket
        self._cancels = "cancel" in extensions

    @classmethod
    async def open(cls, endpoint: Endpoint, voice: str | None) -> Connection:
        """Connect and wait until the engine is ready for text.

        Raises:
            EngineError: it is not there, or refuses.
        """
        socket: ClientConnection | None = None
        try:
            async with asyncio.timeout(endpoint.connect_timeout_s):
                socket = await connect(
                    endpoint.address(voice),
                    additional_headers={wire.KEY_HEADER: endpoint.key} if endpoint.key else None,
                    compression=None,
                    max_size=_MAX_MESSAGE_BYTES,
                    open_timeout=None,
                    close_timeout=_CLOSE_TIMEOUT_S,
                    # An engine stands in one's own network.
                    proxy=None,
                )
                ready = await _receive(socket, wire.Ready | wire.Error)
            if ready is None:
                raise EngineError("the engine closed the connection at once")
            return cls(socket, ready.extensions or ())
        except BaseException as e:
            if socket is not None:
                socket.transport.abort()
            if isinstance(e, TimeoutError):
                raise EngineError(f"no answer within {endpoint.connect_timeout_s:g} s") from None
            if isinstance(e, InvalidStatus):
                raise EngineError(f"the engine answers {e.response.status_code}") from None
            if isinstance(e, OSError | WebSocketException):
                raise EngineError(str(e) or type(e).__name__) from None
            raise

    async def send(self, message: wire.TtsIn) -> None:
        """Send one message. One that can no longer be sent is lost: ``receive`` tells why."""
        with contextlib.suppress(ConnectionClosedOK, ConnectionClosedError):
            await self._socket.send(wire.pack(message))

    async def receive(self) -> bytes | SaidWord | None:
        """The next piece of sound (pcm16 mono, 24 kHz) or word; ``None`` at the end.

        Raises:
            EngineError: the engine failed, or sends what is none of its messages.
        """
        while True:
            message = await _receive(self._socket, wire.TtsOut)
            if message is None or isinstance(message, wire.Cancelled):
                return None
            if isinstance(message, wire.Pcm16):
                return message.data[: len(message.data) // 2 * 2]
            if isinstance(message, wire.Audio):
                samples = np.asarray(message.pcm, np.float32)
                return np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2").tobytes()
            if isinstance(message, wire.Text) and message.text.strip() and message.start_s is not None:
                stop_s = message.stop_s if message.stop_s is not None else message.start_s
                return SaidWord(message.text, message.start_s, stop_s)

    async def close(self, *, cancel: bool) -> None:
        """Close the connection; ``cancel`` where the engine has not come to the end."""
        if cancel and self._cancels:
            await self.send(wire.Cancel())
        await self._socket.close()


async def _receive(socket: ClientConnection, kinds: Any) -> Any:
    try:
        data = await socket.recv()
    except ConnectionClosedOK:
        return None
    except ConnectionClosedError as e:
        raise EngineError(f"the engine broke off: {e}") from None
    if isinstance(data, str):
        raise EngineError("the engine sent text where a message was due")
    try:
        message = wire.unpack(data, kinds)
    except wire.WireError as e:
        raise EngineError(f"the engine sent what cannot be read: {e}") from None
    if isinstance(message, wire.Error):
        raise EngineError(f"the engine says: {message.message}", full=message.message == wire.NO_FREE_CHANNELS)
    return message


class Speech:
    """One reply. ``say`` and ``end`` never wait; ``sound`` does the work, once, in whoever iterates over it."""

    def __init__(self, endpoint: Endpoint, voice: str | None) -> None:
        self._endpoint = endpoint
        self._voice = voice
        self._words: list[str] = []
        self._ended = False
        self._told = asyncio.Event()

    @property
    def words(self) -> int:
        """Words so far."""
        return len(self._words)

    @property
    def ended(self) -> bool:
        """Whether ``end`` was called."""
        return self._ended

    def say(self, words: Sequence[str]) -> None:
        """Further words to say, none with white space in it."""
        self._words += words
        self._told.set()

    def end(self) -> None:
        """No more words come."""
        self._ended = True
        self._told.set()

    async def sound(self) -> AsyncGenerator[bytes | SaidWord, None]:
        """The reply's sound in pieces of pcm16 (mono, 24 kHz), and its words' times, as they come. It begins to connect at
        once. Where the iteration is broken off, the engine is told.

        Raises:
            EngineError: the engine failed for good, or after something was heard.
        """
        failures, heard = 0, False
        while True:
            try:
                connection = await Connection.open(self._endpoint, self._voice)
                early: list[SaidWord] = []
                async with contextlib.aclosing(self._over(connection)) as items:
                    async for item in items:
                        if isinstance(item, bytes):
                            heard = True
                        elif not heard:
                            # Words are told before their sound. Until some comes, all of it may have to be begun anew.
                            early.append(item)
                            continue
                        for word in early:
                            yield word
                        early.clear()
                        yield item
                return
            except EngineError as e:
                failures += 1
                if heard or (failures > 1 and self._words):
                    raise
                logger.debug("the voice is asked again: {}", e)
            await asyncio.sleep(_RETRY_AFTER_S)
            if failures > 1:
                # Nothing is to be said yet, so nobody misses it.
                while not (self._words or self._ended):
                    await self._news()
                if not self._words:
                    return

    async def _over(self, connection: Connection) -> AsyncGenerator[bytes | SaidWord, None]:
        sender = asyncio.create_task(self._send_all(connection), name="kyutai-words")
        complete = False
        try:
            while (item := await connection.receive()) is not None:
                yield item
            if not (sender.done() and self._ended):
                raise EngineError("the engine ended the reply before its text")
            complete = True
        finally:
            sender.cancel()
            await asyncio.wait({sender})
            await connection.close(cancel=not complete)

    async def _send_all(self, connection: Connection) -> None:
        sent = 0
        while True:
            if sent < len(self._words):
                words, sent = self._words[sent:], len(self._words)
                # The space completes the last of them.
                await connection.send(wire.Text("".join(f"{word} " for word in words)))
            elif self._ended:
                await connection.send(wire.Eos())
                return
            else:
                await self._news()

    async def _news(self) -> None:
        self._told.clear()
        await self._told.wait()
