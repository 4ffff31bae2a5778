"""The door of speech to text, as moshi-server has it (``rust/moshi-server/src/batched_asr.rs``): a WebSocket for a voice that
is being spoken, and a POST for a recording.

A client may send faster than real time: its socket is not read on while ``AHEAD_S`` of its audio wait at the engine, so that
nothing is lost and little is held.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from engines.kyutai.front.app import Keys, refusal
from engines.kyutai.front.hub import Hub, Overloaded, Remote
from engines.kyutai.front.recording import Unreadable, decoded
from engines.kyutai.link.channel import CLOSE, ERROR
from engines.kyutai.link.ring import Record
from engines.kyutai.schedule.backlog import FRAME, FRAME_S
from engines.kyutai.stt_records import (
    COMMIT,
    FLUSH,
    INIT,
    MARKER,
    PCM16,
    PCM32,
    STEP,
    TAKEN,
    TOLD,
    WITHDRAW,
    floats,
    number,
    read_stepped,
    read_taken,
)
from engines.wire.kyutai import (
    NO_FREE_CHANNELS,
    STT_EXTENSIONS,
    STT_PATH,
    Audio,
    Commit,
    EndWord,
    Error,
    Flush,
    Init,
    Marker,
    OggOpus,
    Pcm16,
    Step,
    SttIn,
    SttOut,
    WireError,
    Withdraw,
    Word,
    granted,
    pack,
    unpack,
)

AHEAD_S = 2.0
"""Seconds of a client's audio that may wait at the engine."""
_AHEAD = round(AHEAD_S / FRAME_S) * FRAME
_PIECE = 12 * FRAME  # samples of one record: about a second
MOST_MESSAGE = 1 << 22
"""Bytes of one message."""
_REFUSED_UNREAD = 4 * MOST_MESSAGE  # what is larger than this is refused by its length, with a close code only
_CLOSE_WITHIN_S = 2.0
_TRY_AGAIN_S = 0.1
_TRIES = 1000  # of a recording that finds no free slot
_TAIL_S = 10.0  # of silence behind a recording; the marker comes back long before its end


@dataclass(frozen=True)
class Patience:
    """Seconds: a ping where nothing was sent for ``ping_s``; the end where nothing at all came, or could be sent, for
    ``silent_s``, or no message but pongs came for ``idle_s``."""

    ping_s: float = 10.0
    silent_s: float = 20.0
    idle_s: float = 120.0


class _Ended(Exception):
    """The connection is to be closed: ``code``, and the text for the client."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SttDoor:
    """See ``Door``."""

    def __init__(self, hub: Hub, keys: Keys, patience: Patience) -> None:
        self._hub = hub
        self._keys = keys
        self._patience = patience

    def routes(self) -> list[web.RouteDef]:
        return [web.get(STT_PATH, self.stream), web.post(STT_PATH, self.recording)]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One client that speaks."""
        if (no := refusal(request, self._hub, self._keys)) is not None:
            return no
        # Deflate would cost more than all else here, and saves nothing on audio.
        ws = web.WebSocketResponse(max_msg_size=_REFUSED_UNREAD, compress=False, autoping=False, timeout=_CLOSE_WITHIN_S)
        await ws.prepare(request)
        extensions = granted(request.query.get("extensions", ""), STT_EXTENSIONS)
        try:
            remote = self._hub.open({"extensions": extensions})
        except Overloaded as e:
            await _close(request, ws, WSCloseCode.TRY_AGAIN_LATER, str(e))
            return ws
        stream = _Stream(ws, remote, self._patience, frozenset(extensions or ()))
        try:
            await stream.run()
        except _Ended as e:
            await _close(request, ws, e.code, str(e))
        except (ConnectionError, RuntimeError):
            # The client went while something was being sent to it.
            pass
        finally:
            remote.close()
        return ws

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """A whole recording: the answer is the list of its words and their ends."""
        if (no := refusal(request, self._hub, self._keys)) is not None:
            return no
        try:
            audio = await asyncio.to_thread(decoded, await request.read())
        except Unreadable as e:
            return web.Response(status=400, text=f"{e}\n")
        for _ in range(_TRIES):
            try:
                said = await self._words_of(audio)
            except Overloaded as e:
                return web.Response(status=503, text=f"{e}\n")
            except _Ended as e:
                if str(e) != NO_FREE_CHANNELS:
                    return web.Response(status=500, text=f"{e}\n")
                await asyncio.sleep(_TRY_AGAIN_S)
                continue
            return web.json_response([{"type": type(one).__name__, **asdict(one)} for one in said])
        return web.Response(status=503, text=f"{NO_FREE_CHANNELS}\n")

    async def _words_of(self, audio: np.ndarray[Any, np.dtype[np.float32]]) -> list[Word | EndWord]:
        remote = self._hub.open({"extensions": None})
        ahead = _Ahead(remote)
        feeding = asyncio.create_task(self._feed(ahead, remote, audio))
        said: list[Word | EndWord] = []
        try:
            while True:
                record = await remote.next()
                if record.kind in (CLOSE, ERROR):
                    raise _Ended(WSCloseCode.INTERNAL_ERROR, record.payload.decode())
                if (samples := _taken(record)) is not None:
                    ahead.took(samples)
                elif record.kind == TOLD:
                    message: SttOut = unpack(record.payload, SttOut)
                    if isinstance(message, Marker):
                        return said
                    if isinstance(message, Word | EndWord):
                        said.append(message)
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError, Overloaded):
                await feeding
            remote.close()

    @staticmethod
    async def _feed(ahead: _Ahead, remote: Remote, audio: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        await ahead.send(PCM32, audio.tobytes())
        remote.send(MARKER, number(0))
        await ahead.send(PCM32, np.zeros(round(_TAIL_S / FRAME_S) * FRAME, np.float32).tobytes())


class _Ahead:
    """Sends a session's audio to the engine, no more than it is to have waiting."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._sent = 0
        self._taken = 0
        self._progress = asyncio.Event()

    def took(self, samples: int) -> None:
        """The engine has taken so many samples since the session came."""
        self._taken = samples
        self._progress.set()

    async def send(self, kind: int, audio: bytes) -> None:
        """Audio of the kind ``PCM32`` or ``PCM16``.

        :raises Overloaded: where the ring is full
        """
        width = 4 if kind == PCM32 else 2
        for at in range(0, len(audio), width * _PIECE):
            while self._sent - self._taken > _AHEAD:
                self._progress.clear()
                await self._progress.wait()
            piece = audio[at : at + width * _PIECE]
            self._remote.send(kind, piece)
            self._sent += len(piece) // width


class _Stream:
    def __init__(self, ws: web.WebSocketResponse, remote: Remote, patience: Patience, extensions: frozenset[str]) -> None:
        self._ws = ws
        self._remote = remote
        self._patience = patience
        self._extensions = extensions
        self._ahead = _Ahead(remote)
        self._opus: Any = None

    async def run(self) -> None:
        """Until the client goes.

        :raises _Ended: where it is to be closed from here
        """
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            try:
                message = await self._ws.receive(self._patience.silent_s)
            except TimeoutError:
                raise _Ended(WSCloseCode.POLICY_VIOLATION, "the client does not answer") from None
            if loop.time() - last_s > self._patience.idle_s:
                raise _Ended(WSCloseCode.POLICY_VIOLATION, f"no message came for {self._patience.idle_s:g} s")
            if message.type == WSMsgType.PING:
                await self._sent(self._ws.pong(message.data))
            elif message.type == WSMsgType.BINARY:
                await self._heard(message.data)
                # Audio that had to wait for the engine is no silence of the client.
                last_s = loop.time()
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return

    async def _heard(self, data: bytes) -> None:
        if len(data) > MOST_MESSAGE:
            raise _Ended(WSCloseCode.MESSAGE_TOO_BIG, f"a message of {len(data)} bytes; {MOST_MESSAGE} are the most")
        try:
            await self._carry_out(unpack(data, SttIn))
        except (WireError, ValueError) as e:
            raise _Ended(WSCloseCode.POLICY_VIOLATION, str(e)) from None
        except Overloaded as e:
            raise _Ended(WSCloseCode.TRY_AGAIN_LATER, str(e)) from None

    async def _carry_out(self, message: SttIn) -> None:
        match message:
            case Audio(pcm=pcm):
                await self._ahead.send(PCM32, floats(pcm))
            case Pcm16(data=data):
                self._granted("pcm16", message)
                if len(data) % 2:
                    raise WireError("Pcm16.data: half a sample")
                await self._ahead.send(PCM16, data)
            case OggOpus(data=data):
                await self._ahead.send(PCM32, self._decoded(data))
            case Init():
                self._opus = None
                self._remote.send(INIT)
            case Marker(id=name):
                self._remote.send(MARKER, number(name))
            case Flush(id=name):
                self._granted("flush", message)
                self._remote.send(FLUSH, number(name))
            case Withdraw(id=name):
                self._granted("flush", message)
                self._remote.send(WITHDRAW, number(name))
            case Commit(id=name):
                self._granted("flush", message)
                self._remote.send(COMMIT, number(name))

    def _granted(self, extension: str, message: SttIn) -> None:
        if extension not in self._extensions:
            raise WireError(f"{type(message).__name__}: the extension {extension} was not asked for")

    def _decoded(self, data: bytes) -> bytes:
        import sphn

        if self._opus is None:
            self._opus = sphn.OpusStreamReader(24_000)
        try:
            return np.asarray(self._opus.append_bytes(data), np.float32).tobytes()
        except ValueError as e:
            raise WireError(f"OggOpus.data: {e}") from None

    async def _write(self) -> None:
        while True:
            try:
                # Not wait_for: before Python 3.12 it forgets that it was cancelled when a record comes at the same moment.
                async with asyncio.timeout(self._patience.ping_s):
                    record = await self._remote.next()
            except TimeoutError:
                await self._sent(self._ws.ping())
                continue
            if (samples := _taken(record)) is not None:
                self._ahead.took(samples)
            if record.kind == STEP:
                one = read_stepped(record.payload)
                await self._sent(self._ws.send_bytes(pack(Step(one.step, list(one.pauses), one.buffered))))
            elif record.kind == TOLD:
                await self._sent(self._ws.send_bytes(record.payload))
            elif record.kind in (CLOSE, ERROR):
                message = record.payload.decode()
                busy = message == NO_FREE_CHANNELS
                raise _Ended(WSCloseCode.TRY_AGAIN_LATER if busy else WSCloseCode.INTERNAL_ERROR, message)

    async def _sent(self, sending: Awaitable[None]) -> None:
        # Beyond what the sockets hold, a client that does not read would keep its slot for good.
        try:
            async with asyncio.timeout(self._patience.silent_s):
                await sending
        except TimeoutError:
            raise _Ended(WSCloseCode.POLICY_VIOLATION, "the client does not read") from None


def _taken(record: Record) -> int | None:
    if record.kind == STEP:
        return read_stepped(record.payload).taken
    return read_taken(record.payload) if record.kind == TAKEN else None


async def _close(request: web.Request, ws: web.WebSocketResponse, code: int, message: str) -> None:
    """Says why, and closes; a client that does not read is not waited for."""
    try:
        async with asyncio.timeout(2 * _CLOSE_WITHIN_S):
            await ws.send_bytes(pack(Error(message)))
            await ws.close(code=code)
    except (TimeoutError, ConnectionError, RuntimeError):
        if request.transport is not None:
            request.transport.abort()


def make_door(hub: Hub, keys: Keys, spec: dict[str, Any]) -> SttDoor:
    """``spec``: see ``Host``. ``patience`` of it: what is to differ from the usual."""
    return SttDoor(hub, keys, Patience(**spec.get("patience", {})))
