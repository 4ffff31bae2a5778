"""One call's connection to a speech-to-text server with Kyutai's wire: kept up, and made anew with the last seconds sent again.

It speaks to Parley's engine with the extensions ``pcm16`` and ``flush``, and to a plain moshi-server without. Audio goes in as
24 kHz pcm16 and is cut into the model's frames of 80 ms; whoever listens is told of messages with the clock that turns the
server's times into those of the call. Nothing here waits for the server but the link's own tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import deque
from typing import Any, Literal, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

import numpy as np
from loguru import logger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from engines.wire.kyutai import (
    KEY_HEADER,
    NO_FREE_CHANNELS,
    STT_EXTENSIONS,
    STT_PATH,
    Audio,
    Commit,
    Error,
    Flush,
    Marker,
    Message,
    Pcm16,
    Ready,
    SttOut,
    WireError,
    Withdraw,
    pack,
    unpack,
)
from pipeline.stt.audio_ring import SAMPLE_BYTES, AudioRing

RATE_HZ = 24_000
FRAME = 1920
"""Samples of one step of the model."""
LinkState = Literal["connecting", "up", "down", "full"]

BACKOFF_S = (0.1, 0.3, 1.0, 2.0, 5.0)
"""Waits before the first, second, … attempt in a row."""
BACKOFF_FULL_S = 3.0
_SPREAD = 0.2
_LASTING_S = 2.0
"""A connection that held this long was none that failed."""
_HURRY_S = 0.5
_CLOSE_S = 0.5
_PING_S = 10.0
_MAX_MESSAGE = 1 << 20
_IDLE_S = 20.0
"""moshi-server closes a connection without audio after two minutes, and a muted microphone sends none."""


class ConnectionFailed(RuntimeError):
    """No connection, or one that broke; the text says why."""


class AtFullCapacity(ConnectionFailed):
    """The server has no free slot."""


def stream_url(url: str) -> str:
    """Where the audio goes, from what an operator gives: ``http`` and ``ws`` mean the same, and a path may be left out.

    Raises:
        ValueError: it is no such address.
    """
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a server, such as ws://127.0.0.1:8090")
    path = parts.path.rstrip("/") or STT_PATH
    query = "&".join(filter(None, (parts.query, urlencode({"extensions": ",".join(sorted(STT_EXTENSIONS))}, safe=","))))
    return urlunsplit((scheme, parts.netloc, path, query, ""))


def backoff_s(failures: int, *, full: bool, spread: float) -> float:
    """How long to wait after ``failures`` in a row; ``spread`` 0 to 1 keeps many calls from coming back at the same moment."""
    wait = BACKOFF_FULL_S if full else BACKOFF_S[min(max(failures, 1), len(BACKOFF_S)) - 1]
    return wait * (1 - _SPREAD + 2 * _SPREAD * spread)


async def handshake(connection: ClientConnection, within_s: float) -> frozenset[str]:
    """Wait for the server's ``Ready``; returns the extensions that it grants.

    Raises:
        AtFullCapacity: no slot is free.
        ConnectionFailed: it says something else, or nothing.
    """
    try:
        async with asyncio.timeout(within_s):
            first = unpack(_bytes(await connection.recv()), SttOut)
    except TimeoutError:
        raise ConnectionFailed(f"it did not say within {within_s:g} s that it is ready") from None
    if isinstance(first, Error):
        raise _refusal(first)
    if not isinstance(first, Ready):
        raise ConnectionFailed(f"it began with {type(first).__name__} and not with Ready")
    return frozenset(first.extensions or ())


async def probe(url: str, key: str | None, within_s: float) -> frozenset[str]:
    """Connect once and leave; returns the extensions that the server grants.

    Raises:
        ConnectionFailed: the server is not there, or not willing.
    """
    try:
        async with _connection(url, key, within_s) as connection:
            return await handshake(connection, within_s)
    except (OSError, WebSocketException, TimeoutError, WireError) as e:
        raise ConnectionFailed(describe(e)) from e


def describe(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return "it refuses the key (stt.kyutai.key)" if status in (401, 403) else f"it answers HTTP {status}"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, socket.gaierror):
        return "no machine has that name"
    if isinstance(error, ConnectionClosed):
        return "it closed the connection"
    return str(error) or type(error).__name__


class ServerClock:
    """Turns times of one connection into times of the call.

    ``base``: the sample of the call with which the connection began. Silence that was put in (``fill``) is no time of the call.
    """

    def __init__(self, base: int) -> None:
        self.base = base
        self.sent = 0
        """Samples sent, silence put in included."""
        self._fills: list[tuple[int, int]] = []

    def fill(self, samples: int) -> None:
        """So many samples of silence were put in."""
        self._fills.append((self.sent, samples))
        self.sent += samples

    def call_s(self, server_s: float) -> float:
        """Seconds of the call's audio at ``server_s`` of the connection."""
        at = server_s * RATE_HZ
        shift = sum(min(samples, at - place) for place, samples in self._fills if at > place)
        return (self.base + at - shift) / RATE_HZ


class Listener(Protocol):
    """Whom the link tells. All are called on the event loop."""

    def replay_from(self, oldest: int) -> int:
        """The sample of the call from which audio is to be sent again; ``oldest`` is the first that is kept."""
        ...

    def link_changed(self) -> None:
        """The state of the link is another one."""
        ...

    async def link_message(self, message: Any, clock: ServerClock) -> None:
        """A message of the server, other than ``Ready`` and ``Error``."""
        ...


class KyutaiLink:
    """See the module. ``keep_s``: seconds of audio that are kept, to be sent again after a loss."""

    def __init__(self, url: str, key: str | None, listener: Listener, *, connect_timeout_s: float, keep_s: float) -> None:
        self._url = url
        self._key = key
        self._listener = listener
        self._connect_timeout_s = connect_timeout_s
        self._most_waiting = round(2 * keep_s * RATE_HZ)
        self.audio = AudioRing(RATE_HZ, keep_s)
        self.state: LinkState = "connecting"
        self.reason = ""
        """Why the last connection failed."""
        self.connections = 0
        self._extensions: frozenset[str] = frozenset()
        self._clock = ServerClock(0)
        self._next = 0  # the first sample that is not sent
        self._outgoing: deque[tuple[bytes, int]] = deque()
        self._waiting = 0  # samples among them
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._connected_to: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def flushes(self) -> bool:
        """Whether the server that is connected has the extension ``flush``."""
        return self.state == "up" and "flush" in self._extensions

    def open(self) -> None:
        """Connect, and stay connected until ``close``."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="kyutai stt link")

    async def close(self) -> None:
        """Leave; everything of it has ended when this returns. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def hurry(self) -> None:
        """The server is wanted now: what is left of a wait before the next attempt is cut short."""
        self._hurry.set()

    def restart(self, reason: str) -> None:
        """Give this connection up for another one."""
        logger.warning("speech to text: {}; connecting again", reason)
        self._abort(reason)

    def unheard_s(self, steps: int) -> float:
        """Seconds of audio that were sent and not heard, where the server has told of ``steps`` steps; of a server that tells
        of none, what waits to be sent."""
        waiting = self._clock.sent - steps * FRAME if steps or "flush" in self._extensions else self._waiting
        return max(0, waiting) / RATE_HZ

    # What goes out

    def hear(self, pcm16: bytes) -> None:
        """Audio of the call, 24 kHz mono."""
        self.audio.add(pcm16)
        if self.state == "up":
            self._send_frames()

    def fill(self, samples: int) -> None:
        """Put so many samples of silence in."""
        if self.state == "up":
            self._send_rest()
            self._send_audio(bytes(samples * SAMPLE_BYTES))
            self._clock.fill(samples)

    def flush(self, number: int) -> None:
        """Ask for the words of all audio so far."""
        self._send_rest()
        self._put(Flush(number))

    def withdraw(self, number: int) -> None:
        """The flush was for nothing."""
        self._put(Withdraw(number))

    def commit(self, number: int) -> None:
        """The words of the flush are taken."""
        self._put(Commit(number))

    def marker(self, number: int) -> None:
        """Ask to be told when all audio so far was heard and written."""
        self._send_rest()
        self._put(Marker(number))

    def _send_frames(self) -> None:
        """Whole frames of the model, counted from the connection's first sample: fewer messages, and none is sent late."""
        while True:
            step = FRAME - self._clock.sent % FRAME
            if self.audio.end - self._next < step:
                return
            self._send(step)

    def _send_rest(self) -> None:
        if self.state == "up" and self.audio.end > self._next:
            self._send(self.audio.end - self._next)

    def _send(self, samples: int) -> None:
        self._send_audio(self.audio.since(self._next, self._next + samples))
        self._next += samples
        self._clock.sent += samples

    def _send_audio(self, pcm16: bytes) -> None:
        samples = len(pcm16) // SAMPLE_BYTES
        if "pcm16" in self._extensions:
            self._put(Pcm16(pcm16), samples)
        else:
            self._put(Audio((np.frombuffer(pcm16, "<i2").astype(np.float32) / 32768.0).tolist()), samples)

    def _put(self, message: Message, samples: int = 0) -> None:
        if self.state != "up":
            return
        self._outgoing.append((pack(message), samples))
        self._waiting += samples
        self._wake.set()
        if self._waiting > self._most_waiting:
            self.restart("the server takes no audio")

    # The connection

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began, full = loop.time(), False
            self._hurry.clear()
            try:
                await self._connect()
                reason = "it closed the connection"
            except AtFullCapacity as e:
                full, reason = True, str(e)
            except (ConnectionFailed, OSError, WebSocketException, TimeoutError, WireError) as e:
                reason = describe(e)
            held = self.state == "up"
            failures = 1 if held and loop.time() - began > _LASTING_S else failures + 1
            if held or failures == 1:
                logger.warning("speech to text at {}: {}", self._url.partition("?")[0], reason)
            self.reason = self.reason if held and self.reason else reason
            # What broke just now may be whole again: only a first attempt in vain says that nobody is there.
            self._change("full" if full else "connecting" if held and failures == 1 else "down")
            await self._pause(backoff_s(failures, full=full, spread=random.random()))

    async def _pause(self, wait_s: float) -> None:
        await asyncio.sleep(min(wait_s, _HURRY_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wait_s - _HURRY_S)):
                await self._hurry.wait()

    async def _connect(self) -> None:
        async with _connection(self._url, self._key, self._connect_timeout_s) as connection:
            self._extensions = await handshake(connection, self._connect_timeout_s)
            self._connected_to = connection
            sender = asyncio.create_task(self._send_all(connection), name="kyutai stt sender")
            try:
                self._begin()
                async for data in connection:
                    message = unpack(_bytes(data), SttOut)
                    if isinstance(message, Error):
                        raise _refusal(message)
                    if not isinstance(message, Ready):
                        await self._listener.link_message(message, self._clock)
            finally:
                self._connected_to = None
                sender.cancel()
                await asyncio.wait({sender})

    def _begin(self) -> None:
        self._outgoing.clear()
        self._waiting = 0
        self.reason = ""
        self.connections += 1
        self._next = max(self.audio.start, min(self._listener.replay_from(self.audio.start), self.audio.end))
        self._clock = ServerClock(self._next)
        self._change("up")
        self._send_frames()

    async def _send_all(self, connection: ClientConnection) -> None:
        idle = bytes(FRAME * SAMPLE_BYTES)
        with contextlib.suppress(ConnectionClosed, OSError):  # which whoever receives sees, too
            while True:
                while self._outgoing:
                    data, samples = self._outgoing.popleft()
                    await connection.send(data)
                    self._waiting -= samples
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), _IDLE_S)
                except TimeoutError:
                    self._send_audio(idle)
                    self._clock.fill(FRAME)

    def _abort(self, reason: str) -> None:
        self.reason = reason
        if self._connected_to is not None:
            self._connected_to.transport.abort()

    def _change(self, state: LinkState) -> None:
        if state != self.state:
            self.state = state
            self._listener.link_changed()


def _connection(url: str, key: str | None, within_s: float) -> Any:
    return connect(
        url,
        additional_headers={KEY_HEADER: key} if key else None,
        open_timeout=within_s,
        close_timeout=_CLOSE_S,
        ping_interval=_PING_S,
        ping_timeout=_PING_S,
        max_size=_MAX_MESSAGE,
        compression=None,
        proxy=None,
    )


def _bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise WireError("a text message, where MessagePack is spoken")
    return data


def _refusal(error: Error) -> ConnectionFailed:
    if error.message.strip().lower() == NO_FREE_CHANNELS:
        return AtFullCapacity("it has no free slot")
    return ConnectionFailed(f"it says: {error.message[:200]}")
