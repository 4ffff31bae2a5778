"""The stream of a call over a WebSocket, as the carriers have it: from the first message to the hang-up."""

from __future__ import annotations

import asyncio
import time

from loguru import logger
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.call import BuildFailed
from pipeline.metrics import prometheus
from pipeline.transports.bucket import Bucket
from pipeline.transports.pacing import SpeedMeter
from pipeline.transports.websocket import CLOSE_TIMEOUT_S
from web.doors.phone.call import PhoneCall
from web.doors.phone.carrier import Audio, BadFrame, Carrier, Digit, Event, Failed, Mark, Started, Stopped
from web.doors.phone.desk import Desk
from web.doors.phone.order import Order
from web.doors.socket import ABUSE, FAILED, TOO_BIG, TRY_LATER, Expelled, SocketWriter

START_WITHIN_S = 10.0
"""A stream that does not begin within this time is closed."""
MAX_STRANGERS = 100
"""Streams at a time that have not shown a token yet; a further one is closed at once."""
MAX_MESSAGE_BYTES = 65_536
"""Carriers send 20 to 100 ms of audio in a message: at most some 5 kB."""
STRIKES, STRIKES_PER_S = 30, 1.0
MESSAGES, MESSAGES_PER_S = 400, 200.0


class _StreamLine:
    """A carrier's WebSocket as ``web.doors.phone.call.Line``."""

    def __init__(self, websocket: WebSocket, carrier: Carrier) -> None:
        self._writer = SocketWriter(websocket)
        self._carrier = carrier
        self.codec = carrier.codec
        self.piece_s = carrier.piece_s

    async def play(self, encoded: bytes) -> None:
        await self._writer.send(self._carrier.audio(encoded))

    async def mark(self, name: str) -> None:
        await self._writer.send(self._carrier.mark(name))

    async def clear(self) -> None:
        await self._writer.send(self._carrier.clear())

    async def hang_up(self, code: int, reason: str) -> None:
        await self._writer.close(code, reason)


async def serve(websocket: WebSocket, carrier: Carrier, desk: Desk) -> None:
    """Take the stream of a call that was announced to ``desk``; returns when it is over."""
    await websocket.accept()
    await _Stream(websocket, carrier, desk).run()


class _Stream:
    """One socket."""

    def __init__(self, websocket: WebSocket, carrier: Carrier, desk: Desk) -> None:
        self._websocket = websocket
        self._carrier = carrier
        self._desk = desk
        self._order = Order()
        self._lost_samples = 160
        self._speed = SpeedMeter(4.0)
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._messages = Bucket(MESSAGES, MESSAGES_PER_S)
        self._stopped: str | None = None
        self._came_at = 0.0  # when anything came last

    async def run(self) -> None:
        """Serve until either side hangs up."""
        try:
            call = await self._open()
        except Expelled as e:
            prometheus.PHONE_REFUSED.labels(self._carrier.name, str(e)).inc()
            logger.warning("a stream of {} was closed: {}", self._carrier.name, e)
            await _StreamLine(self._websocket, self._carrier).hang_up(e.code, str(e))
            return
        except WebSocketDisconnect:
            return
        self._came_at = time.monotonic()
        reader = asyncio.create_task(self._listen(call), name="phone reader")
        closed = asyncio.create_task(call.closed.wait(), name="phone closed")
        outcome: str | BaseException = "the connection ended"
        try:
            if not await self._until_over(call, reader, closed):
                outcome = "nothing came any more"
                reader.cancel()
            # A line that was hung up ends the reader by itself, unless the carrier has stalled.
            await asyncio.wait({reader}, timeout=CLOSE_TIMEOUT_S + 1.0)
        finally:
            for task in (reader, closed):
                task.cancel()
            ended = (await asyncio.gather(reader, closed, return_exceptions=True))[0]
            outcome = outcome if isinstance(ended, asyncio.CancelledError) else ended
            await self._finish(call, outcome)

    async def _until_over(self, call: PhoneCall, reader: asyncio.Task[str], closed: asyncio.Task[bool]) -> bool:
        """False: nothing comes any more, and carriers send sound even when nobody speaks. A tunnel may hide a loss."""
        silent_s = call.session.services.settings.session.detach_after_s
        while True:
            done, _ = await asyncio.wait({reader, closed}, timeout=silent_s / 2, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return True
            if time.monotonic() - self._came_at > silent_s:
                return False

    async def _finish(self, call: PhoneCall, outcome: str | BaseException) -> None:
        if isinstance(outcome, Exception) and not isinstance(outcome, Expelled):
            logger.opt(exception=outcome).error("the phone's door failed")
        if call.closed.is_set():
            # Hung up from this side: at the end of the session, or to have the carrier connect the call anew.
            self._desk.end_unless_back(call.session)
            return
        if self._stopped is not None:
            await call.hung_up(self._stopped)
        else:
            await call.lost(str(outcome))
        await call.transport.close(FAILED if isinstance(outcome, Exception) else 1000, "the stream is over")

    async def _open(self) -> PhoneCall:
        if self._desk.strangers >= MAX_STRANGERS:
            raise Expelled(TRY_LATER, "too many streams")
        self._desk.strangers += 1
        try:
            async with asyncio.timeout(START_WITHIN_S):
                started = await self._started()
        except TimeoutError:
            raise Expelled(ABUSE, "no start") from None
        finally:
            self._desk.strangers -= 1
        entry = self._desk.claim(self._carrier.name, started.call_id, started.token)
        if entry is None:
            raise Expelled(ABUSE, "token")
        line = _StreamLine(self._websocket, self._carrier)
        try:
            call = PhoneCall(self._desk, entry, line)
            await call.start()
        except BuildFailed as e:
            logger.error("a call by phone could not be built: {}", e)
            raise Expelled(FAILED, "build") from e
        return call

    async def _started(self) -> Started:
        while True:
            event = self._parse(await self._websocket.receive())
            if isinstance(event, Started):
                return event
            if isinstance(event, Stopped):
                raise WebSocketDisconnect(1000)

    def _parse(self, message: Message) -> Event | None:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data = message.get("bytes")
        content: str | bytes = data if data is not None else message.get("text") or ""
        if len(content) > MAX_MESSAGE_BYTES:
            raise Expelled(TOO_BIG, "giant message")
        try:
            return self._carrier.parse(content)
        except BadFrame as e:
            logger.debug("a message of {} was not understood: {}", self._carrier.name, e)
            if not self._strikes.take(time.monotonic()):
                raise Expelled(ABUSE, "bad messages") from e
            return None

    async def _listen(self, call: PhoneCall) -> str:
        """Read until the caller is gone. Returns why."""
        try:
            while self._stopped is None:
                message, now = await self._websocket.receive(), time.monotonic()
                self._came_at = now
                event = self._parse(message)
                if not self._messages.take(now):
                    await asyncio.sleep(self._messages.retry_after_s(now))
                await self._take(call, event, now)
        except WebSocketDisconnect as e:
            return f"the carrier closed the connection ({e.code})"
        except Expelled as e:
            prometheus.PHONE_REFUSED.labels(self._carrier.name, str(e)).inc()
            logger.warning("a stream of {} was closed: {}", self._carrier.name, e)
            await call.transport.expel(e.code, str(e))
            return str(e)
        return self._stopped

    async def _take(self, call: PhoneCall, event: Event | None, now: float) -> None:
        match event:
            case Audio():
                self._take_audio(call, event, now)
            case Mark(name=name):
                call.played(name, now)
            case Digit(digit=digit):
                await call.pressed(digit)
            case Stopped(reason=reason):
                self._stopped = reason
            case Failed(message=message):
                logger.warning("{}: {}", self._carrier.name, message)

    def _take_audio(self, call: PhoneCall, event: Audio, now: float) -> None:
        samples = len(event.encoded) // self._carrier.codec.sample_bytes
        if self._speed.observe(samples / self._carrier.codec.rate_hz, now):
            raise Expelled(ABUSE, "too fast")
        self._lost_samples = samples or self._lost_samples
        for piece in self._order.put(event.number, event.encoded):
            try:
                call.hear(piece, now, lost_samples=self._lost_samples)
            except ValueError as e:
                logger.debug("audio of {}: {}", self._carrier.name, e)
                if not self._strikes.take(now):
                    raise Expelled(ABUSE, "bad messages") from e
