"""A call from Python: ``ParleyClient``. ``docs/python-client.md`` shows it, ``docs/websocket.md`` has the messages.

This module needs ``websockets`` and nothing else of Parley's, so it may be copied into another program.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

INPUT_RATE_HZ = 16_000
OUTPUT_RATE_HZ = 24_000
PIECE_S = 0.02
MAX_MESSAGE_BYTES = 4_000_000
MAX_EVENTS = 30_000
"""Events that wait for a program that reads none, ten minutes of the tutor's voice; then the oldest are dropped."""
FINAL_CODES = frozenset({1000, 1001, 1007, 1008, 1009, 1011, 1013})
"""Close codes by which the server means it; after any other end of a connection the session waits to be taken up again."""
RETRY_S = (0.2, 0.5, 1.0, 2.0)
TRY_LATER = 1013


class CallError(Exception):
    """The call could not be made or did not go to its end; the text is one line that says why."""


class Refused(CallError):
    """The server did not take the call. ``status`` is the HTTP status or the WebSocket close code."""

    def __init__(self, text: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class ConnectionLost(CallError):
    """The connection is gone, and the session could not be taken up again."""


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of the tutor's voice: mono pcm16, little-endian. ``sample`` is the index of its first sample in all that this
    connection brought, which is what ``ParleyClient.played`` counts in."""

    pcm16: bytes
    sample: int
    rate_hz: int = OUTPUT_RATE_HZ


Event = Audio | dict[str, Any]
"""The tutor's voice, or a message of ``docs/websocket.md``."""


class Server:
    """Where a server is, from what a person types: ``http(s)://``, ``ws(s)://`` or a bare ``host:port``.

    ``?token=…`` in the URL is the server's shared secret; it is sent as a bearer token, never in a request's path.

    Raises:
        CallError: it is not the address of a server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}")
        scheme = {"": "http", "http": "http", "ws": "http", "https": "https", "wss": "https"}.get(parts.scheme)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if scheme is None or not parts.hostname or port == -1:
            raise CallError(f"{url}: not a server's address; one looks like http://localhost:7860")
        self._secure = scheme == "https"
        self._at = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._at += f":{port}" if port is not None else ""
        self._path = _base_path(parts)
        self.loopback = _is_loopback(parts.hostname)
        token = parse_qs(parts.query).get("token", [""])[0]
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def http(self, path: str) -> str:
        """The HTTP URL of ``path``."""
        return f"http{'s' if self._secure else ''}://{self._at}{self._path}{path}"

    def ws(self, path: str) -> str:
        """The WebSocket URL of ``path``."""
        return f"ws{'s' if self._secure else ''}://{self._at}{self._path}{path}"

    def tls(self) -> ssl.SSLContext | None:
        """TLS settings, ``None`` for plain connections. On loopback a self-signed certificate is as good as any."""
        if not self._secure:
            return None
        context = ssl.create_default_context()
        if self.loopback:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _base_path(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    for known in ("/ws/conversation", "/api/offer"):  # people paste the whole address
        path = path.removesuffix(known)
    return path


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def refusal(status: int, body: str, retry_after: str | None) -> str:
    """An HTTP refusal in words, from an RFC 9457 problem body where there is one."""
    detail = ""
    with contextlib.suppress(ValueError):
        problem = json.loads(body)
        if isinstance(problem, dict):
            detail = str(problem.get("detail") or problem.get("title") or "")
    text = f"refused with {status}" + (f": {detail[:300]}" if detail else "")
    if status == 429:
        text += f" (try again in {retry_after} s)" if retry_after else " (the server is full; try again later)"
    return text


class ParleyClient:
    """One session with a tutor: what you say goes in by methods, what comes back are the events that it iterates over.

    ``async with`` opens the call and hangs up at the end. A connection that breaks is made anew for up to
    ``reconnect_for_s`` and the session is taken up; a second ``connected`` event with ``resumed`` says so.

    Args:
        url: The server's address, with ``?token=…`` where it wants one.
        lesson, level: As in ``GET /api/lessons``; the server's where they are left out.
        options: Of the call: ``temperature``, ``max_tokens``, ``speech_rate``.
        record: Whether the server may record, where it records calls.
        reconnect_for_s: How long to try after a lost connection; 0 never does.
    """

    def __init__(
        self,
        url: str | Server,
        *,
        lesson: str | None = None,
        level: str | None = None,
        options: dict[str, float] | None = None,
        record: bool = True,
        connect_timeout_s: float = 20.0,
        reconnect_for_s: float = 20.0,
    ) -> None:
        self._server = Server(url) if isinstance(url, str) else url
        query: dict[str, Any] = {"extras": "1", "lesson": lesson, "level": level, **(options or {})}
        query["record"] = None if record else "0"
        self._query = urlencode({name: value for name, value in query.items() if value is not None})
        self._timeout_s = connect_timeout_s
        self._reconnect_for_s = reconnect_for_s
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._events: deque[tuple[Event, float]] = deque()
        self._news = asyncio.Event()
        self._hello = asyncio.Event()
        self._over = asyncio.Event()
        self._up = asyncio.Event()
        self._closing = False
        self._resuming = False
        self._dropping = False
        self._received = 0
        self._rate_hz = OUTPUT_RATE_HZ
        self._complaint = ""
        self._resume_token: str | None = None
        self.session_id: str | None = None
        self.report: dict[str, Any] | None = None
        """The report, from its arrival on."""
        self.lost: str | None = None
        """Why the connection is gone; ``None`` while it stands or is made anew."""

    async def __aenter__(self) -> ParleyClient:
        await self.open()
        try:
            await self._wait_for(self._hello, self._timeout_s, "the server did not say hello")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.report is None:
            await self._send(json.dumps({"type": "end_conversation"}))
        await self.close()

    # Opening and closing

    async def open(self) -> None:
        """Connect. ``async with`` does this, and waits for the server's ``connected``.

        Raises:
            CallError: the server could not be reached, or refused (``Refused``).
        """
        self._socket = await self._dial()
        self._up.set()
        self._task = asyncio.create_task(self._run(self._socket), name="parley-client")

    async def end(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Hang up and wait for the report; the events of until then can still be read.

        Raises:
            CallError: no report came within ``timeout_s``, or the connection was lost before it.
        """
        if self.report is None:
            await self.send({"type": "end_conversation"})
            await self._wait_for(self._over, timeout_s, "no report came")
        if self.report is None:
            raise ConnectionLost(self._why())
        return self.report

    async def close(self) -> None:
        """Drop the connection. Without ``end``, the server keeps the session for a while. Safe to call twice."""
        self._closing = True
        if self.lost is None:
            self.lost = "the call was ended here"
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
        self._finish()

    # What is said

    async def send_audio(self, pcm16: bytes) -> None:
        """The learner's voice as it is captured: mono pcm16 at 16 kHz, whole samples, in real time, silence included.

        While the connection is being made anew it is dropped: nobody is there who could answer in time.
        """
        await self._send(pcm16)

    async def say(self, pcm16: bytes, *, then_silent_s: float = 1.5) -> None:
        """Send a whole utterance at real time and after it the silence by which the tutor knows that it is over."""
        piece = int(PIECE_S * INPUT_RATE_HZ) * 2
        sound = pcm16 + bytes(2 * int(then_silent_s * INPUT_RATE_HZ))
        due = time.monotonic()
        for at in range(0, len(sound), piece):
            await self.send_audio(sound[at : at + piece])
            due += PIECE_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def send_text(self, text: str) -> None:
        """A turn that the learner typed, at most 2,000 characters; the tutor stops for it."""
        self._dropping = True
        await self.send({"type": "text", "text": text})

    async def interrupt(self) -> None:
        """Stop the tutor. What of the old utterance is still on its way is dropped here."""
        self._dropping = True
        await self.send({"type": "interrupt"})

    async def played(self, sample: int) -> None:
        """Say that the tutor's voice has been played up to ``sample`` (see ``Audio``), four times a second while it sounds:
        then the server knows what was heard of a reply that is interrupted."""
        await self.send({"type": "playout", "sample": sample})

    async def send(self, message: dict[str, Any]) -> None:
        """Any other message of ``docs/websocket.md``. It waits for a connection that is being made anew; once the call is lost
        it is dropped, and the events say why."""
        await self._up.wait()
        await self._send(json.dumps(message))

    # What comes back

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event. The last one of a call that went to its end is the ``analysis``.

        Raises:
            ConnectionLost: the connection is gone and there was no report.
        """
        try:
            received = await self.receive()
        except CallError:
            if self.report is not None or self._closing:
                raise StopAsyncIteration from None
            raise
        assert received is not None
        return received[0]

    async def receive(self, timeout_s: float | None = None) -> tuple[Event, float] | None:
        """The next event and when it arrived (``time.monotonic``), or ``None`` after ``timeout_s``.

        Raises:
            CallError: the connection is gone and everything that it brought has been read.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self._events:
                    if self._over.is_set() and self.lost is not None:
                        raise ConnectionLost(self._why())
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._events.popleft()

    # The connection

    async def _dial(self) -> ClientConnection:
        url = self._server.ws(f"/ws/conversation?{self._query}")
        try:
            return await connect(
                url,
                ssl=self._server.tls(),
                additional_headers=self._server.headers,
                open_timeout=self._timeout_s,
                close_timeout=2,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
            )
        except TimeoutError:
            raise CallError(f"{url}: no answer within {self._timeout_s:.0f} s") from None
        except InvalidStatus as e:
            status, after = e.response.status_code, e.response.headers.get("Retry-After")
            body = (e.response.body or b"").decode("utf-8", "replace")
            seconds = float(after) if after is not None and after.isdecimal() else None
            raise Refused(f"{url}: {refusal(status, body, after)}", status, seconds) from None
        except (OSError, InvalidHandshake) as e:
            raise CallError(f"{url}: cannot be reached; is a server running there? ({e})") from None

    async def _run(self, socket: ClientConnection | None) -> None:
        try:
            while socket is not None:
                await self._read(socket)
                if self.lost is not None:  # nobody wants the session that was given instead
                    await self._send(json.dumps({"type": "end_conversation"}))
                    await socket.close()
                    return
                self._up.clear()
                how = _ending(socket)
                socket = await self._again(socket.close_code)
                if socket is None:
                    self.lost = f"the server closed the connection: {how}"
        finally:
            self._finish()

    async def _read(self, socket: ClientConnection) -> None:
        self._received = 0
        with contextlib.suppress(ConnectionClosed):
            async for raw in socket:
                if isinstance(raw, bytes):
                    self._hear(raw)
                else:
                    self._take(raw)
                if self.lost is not None:
                    return

    async def _again(self, code: int | None) -> ClientConnection | None:
        """A new connection that asks for the old session, or ``None`` where there is nothing to take up."""
        if self.report is not None or self._resume_token is None or code in FINAL_CODES:
            return None
        until, tries = time.monotonic() + self._reconnect_for_s, 0
        while time.monotonic() < until:
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
            try:
                socket = await self._dial()
                await socket.send(json.dumps({"type": "resume", "token": self._resume_token}))
            except (CallError, ConnectionClosed):
                continue
            self._socket, self._resuming = socket, True
            self._up.set()
            return socket
        return None

    async def _send(self, data: str | bytes) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(data)

    def _hear(self, pcm16: bytes) -> None:
        whole = pcm16[: len(pcm16) // 2 * 2]
        sample = self._received
        self._received += len(whole) // 2
        if not self._dropping:
            self._put(Audio(whole, sample, self._rate_hz))

    def _take(self, raw: str) -> None:
        try:
            message = json.loads(raw)
        except ValueError:
            return
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            return
        match message["type"]:
            case "connected":
                self._welcome(message)
            case "ai_audio_start":
                self._dropping = False
                if isinstance(message.get("sample_rate"), int):
                    self._rate_hz = message["sample_rate"]
            case "interrupted":
                self._dropping = False
            case "error":
                self._complaint = str(message.get("message") or "")
            case "analysis":
                data = message.get("data")
                self.report = data if isinstance(data, dict) else {}
        if self.lost is not None:
            return
        self._put(message)
        if self.report is not None:
            self._over.set()

    def _welcome(self, message: dict[str, Any]) -> None:
        if self._resuming and message.get("resumed") is not True:
            # The old session ended while nobody was there. The new one is not what the program was in the middle of.
            self.lost = "the session ended before it could be taken up again"
            return
        self._resuming = False
        self.session_id = str(message.get("session_id") or "") or None
        token = message.get("resume_token")
        self._resume_token = token if isinstance(token, str) else None
        self._hello.set()

    def _put(self, event: Event) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
        self._events.append((event, time.monotonic()))
        self._news.set()

    def _finish(self) -> None:
        for waited_for in (self._up, self._over, self._hello, self._news):
            waited_for.set()

    async def _wait_for(self, what: asyncio.Event, timeout_s: float, otherwise: str) -> None:
        try:
            await asyncio.wait_for(what.wait(), timeout_s)
        except TimeoutError:
            raise CallError(f"{otherwise} within {timeout_s:.0f} s") from None
        if self.lost is not None and self.report is None:
            code = self._socket.close_code if self._socket is not None else None
            raise Refused(self._why(), TRY_LATER) if code == TRY_LATER else ConnectionLost(self._why())

    def _why(self) -> str:
        lost = self.lost or "the connection is closed"
        # The reason of the close code often says the same once more.
        told = self._complaint in lost or self.report is not None
        return lost if told else f"{lost} (the server said: {self._complaint})"


def _ending(socket: ClientConnection) -> str:
    code, reason = socket.close_code, socket.close_reason
    if code in (None, 1006):
        return "it went without a goodbye"
    return f"code {code}" + (f", {reason}" if reason else "")
