"""One call by phone, whichever carrier brings it: the caller's manners, the tutor's voice at the telephone's rate, and what of
it was heard.

::

    carrier ──audio──► PhoneCall.hear ──► 16 kHz ──► WebSocketTransport ──► the call
            ◄─audio── marks ◄── volume ◄── codec ◄── 20 ms at the codec's rate ◄──┘

A ``Line`` is the far side: what is written to it. Whoever owns the connection reads it and tells the call what came.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Protocol

from loguru import logger

from pipeline.call import BuildFailed
from pipeline.messages import ClientMessage, EndConversation, SetOptions
from pipeline.session import Session
from pipeline.transports.codecs import Codec, to_recogniser
from pipeline.transports.websocket import AHEAD_S, WebSocketTransport
from web.doors.phone.desk import Desk, PhoneEntry
from web.doors.phone.marks import Marks
from web.doors.phone.volume import Volume

DOOR = "phone"
REPEAT, SLOWER, LOUDER, END = "0", "1", "2", "#"
SLOWER_BY = 0.15
"""How much of the voice's usual rate each press takes away."""
LAST_WORDS_S = 0.6
"""How long a hang-up waits for what the carrier has yet to play: 0.2 s, and its own buffer."""


class Line(Protocol):
    """The way to the caller. What is written to a line that is gone raises ``OSError``."""

    codec: Codec
    piece_s: float
    """Audio in one message, in seconds: a multiple of 0.02."""

    async def play(self, encoded: bytes) -> None:
        """Play audio in the line's codec after what was sent before."""
        ...

    async def mark(self, name: str) -> None:
        """Have ``name`` sent back when what was sent before was played; nothing where the carrier has no marks."""
        ...

    async def clear(self) -> None:
        """Throw away what was sent and not played; nothing where the carrier cannot."""
        ...

    async def hang_up(self, code: int, reason: str) -> None:
        """End the connection, and with it the call. Safe to call twice; never raises."""
        ...


class PhoneCall:
    """The call of one stream. ``closed`` is set when the line was hung up from this side.

    ``ahead_s`` is how long before it is due the tutor's voice leaves: little for a line that cannot take it back.
    """

    def __init__(
        self,
        desk: Desk,
        entry: PhoneEntry,
        line: Line,
        *,
        ahead_s: float = AHEAD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if entry.session is None:
            raise BuildFailed("the call has ended")
        self.session: Session = entry.session
        self.closed = asyncio.Event()
        self._desk = desk
        self._clock = clock
        self._line = line
        self._codec = line.codec
        self._resampler = to_recogniser(line.codec.rate_hz)
        self._sink = _LineSink(line, self.closed)
        self._sink.on_clear = lambda: self.transport.playout.thrown_away()
        self.transport = WebSocketTransport(
            self._sink,
            door=DOOR,
            extras=True,
            client_holds=False,
            rate_hz=line.codec.rate_hz,
            ahead_s=ahead_s,
            clock=clock,
        )

    async def start(self) -> None:
        """Attach to the session; the tutor greets at once.

        Raises:
            BuildFailed: the call could not be built. Its line is left to the caller.
        """
        session = self.session
        session.record.door = DOOR
        try:
            await session.attach(self.transport)
        except BaseException:
            await self.transport.release()
            if session.state == "new":
                await session.discard()  # nothing else would end it
            raise

    # What comes from the caller

    def hear(self, encoded: bytes | None, at: float, *, lost_samples: int = 160) -> None:
        """The caller's voice in the line's codec, which arrived at ``at``; ``None`` stands for samples that never came.

        Raises:
            ValueError: not whole samples.
        """
        encoded = self._codec.silence(lost_samples) if encoded is None else encoded
        self.transport.feed_audio(self._resampler.process(self._codec.decode(encoded)), at)

    def played(self, mark: str, at: float) -> None:
        """A mark came back."""
        position = self._sink.played(mark)
        if position is not None:
            self.transport.playout.reported(position, at)

    async def pressed(self, digit: str) -> None:
        """The caller pressed a key; one that means nothing does nothing."""
        match digit:
            case _ if digit == REPEAT:
                if line := self._sink.last_line or self._last_turn():
                    self.session.say_again(line)
            case _ if digit == SLOWER:
                state, limits = self.session.call_state, self.session.services.settings.options.speech_rate
                await self._command(SetOptions(speech_rate=round(max(limits.min, state.options.speech_rate - SLOWER_BY), 2)))
            case _ if digit == LOUDER:
                self._sink.volume.louder()
            case _ if digit == END:
                await self._command(EndConversation())

    async def hung_up(self, reason: str) -> None:
        """The caller is gone for good: the session ends, and its report is made."""
        self._sink.deaf = True
        await self.session.end(reason)

    async def lost(self, reason: str) -> None:
        """The connection broke off, and nobody hung up: the carrier may connect the call again."""
        self._sink.deaf = True
        await self.transport.lost(reason)
        if self.session.state != "ended":
            self._desk.end_unless_back(self.session)

    def _last_turn(self) -> str:
        """What the tutor said last over an earlier connection of the session."""
        return next((t.text for t in reversed(self.session.record.turns) if t.role == "tutor"), "")

    async def _command(self, message: ClientMessage) -> None:
        handler = self.transport.on_command
        if handler is not None:
            await handler(message)


class _LineSink:
    """What the transport writes to, as ``pipeline.transports.outbox.Sink``: messages become what a telephone can do."""

    def __init__(self, line: Line, closed: asyncio.Event) -> None:
        self.marks = Marks(line.codec.rate_hz)
        self.volume = Volume(line.codec.rate_hz)
        self.last_line = ""
        self.deaf = False
        """Whether nobody listens any more: then nothing is written."""
        self.on_clear: Callable[[], None] = lambda: None
        """Called when the carrier is told to empty its buffer."""
        self._line = line
        self._closed = closed
        self._all_played = asyncio.Event()
        self._piece_bytes = 2 * round(line.piece_s * line.codec.rate_hz)
        self._waiting = bytearray()  # pcm16 that does not fill a message yet

    def played(self, mark: str) -> int | None:
        """A mark came back: the position up to which was heard, where it says so."""
        position = self.marks.returned(mark)
        if not self.marks.waiting:
            self._all_played.set()
        return position

    async def send_json(self, data: dict[str, Any]) -> None:
        """A message of ``pipeline.messages``."""
        match data["type"]:
            case "ai_audio_start":
                self.marks.begin()
            case "ai_text" if data["is_complete"] and data["text"]:
                self.last_line = data["text"]
            case "interrupted":
                self._waiting.clear()
                self.marks.cleared()
                self.on_clear()
                if not self.deaf:
                    await self._line.clear()
            case "turn_complete":
                await self._end_line()

    async def send_bytes(self, data: bytes) -> None:
        """The tutor's voice: pcm16 at the codec's rate."""
        if self.deaf:
            return
        self._waiting += self.volume.apply(data)
        while len(self._waiting) >= self._piece_bytes:
            piece = bytes(self._waiting[: self._piece_bytes])
            del self._waiting[: self._piece_bytes]
            await self._play(piece)

    async def close(self, code: int, reason: str) -> None:
        """Hang up, once the caller has heard what was said last."""
        if not self._closed.is_set():
            self._closed.set()
            if self.marks.waiting and not self.deaf:
                self._all_played.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._all_played.wait(), LAST_WORDS_S)
            self.deaf = True
            await self._line.hang_up(code, reason)

    async def _play(self, piece: bytes, *, samples: int | None = None) -> None:
        await self._line.play(self._line.codec.encode(piece))
        await self._mark(self.marks.sent(len(piece) // 2 if samples is None else samples))

    async def _end_line(self) -> None:
        if self.deaf:
            return
        if self._waiting:
            rest, self._waiting = bytes(self._waiting), bytearray()
            await self._play(rest.ljust(self._piece_bytes, b"\0"), samples=len(rest) // 2)
        await self._mark(self.marks.end())

    async def _mark(self, name: str | None) -> None:
        if name is not None:
            await self._line.mark(name)


async def refuse(line: Line, reason: str) -> None:
    """Hang up on a call that cannot be taken."""
    logger.warning("a call by phone was refused: {}", reason)
    await line.hang_up(1013, reason)
