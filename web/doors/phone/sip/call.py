"""One call by SIP, from the INVITE to the report: a place, a port, the tutor, and who hangs up first."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from loguru import logger

from pipeline.call import BuildFailed
from pipeline.engine import AtCapacity
from pipeline.metrics import prometheus
from pipeline.transports.inbox import Inbox
from pipeline.transports.websocket import CLOSE_TIMEOUT_S
from web.doors.phone.call import PhoneCall
from web.doors.phone.desk import PhoneEntry
from web.doors.phone.sip.dialog import Offered
from web.doors.phone.sip.line import NoPort, RtpLine
from web.doors.phone.sip.sdp import Media
from web.doors.phone.webhooks import e164

if TYPE_CHECKING:
    from web.doors.phone.sip.server import SipServer

CARRIER = "sip"
AHEAD_S = 0.04
"""How long before it is due the tutor's voice waits at the port; an interruption throws it away."""
MAX_KEYS = 32
"""Keys that wait to be acted upon."""
BUSY, UNAVAILABLE = 486, 503


class SipCall:
    """One call. ``begin`` starts it; then the server says what came."""

    def __init__(self, server: SipServer, offered: Offered) -> None:
        self.key = offered.key
        self.task: asyncio.Task[None] | None = None
        self.line = RtpLine(self._hang_up)
        self._server = server
        self._offered = offered
        self._media: asyncio.Future[Media] = asyncio.get_running_loop().create_future()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keys: Inbox[str] | None = None

    def begin(self) -> None:
        """Run, in a task that the server waits for."""
        self.task = asyncio.create_task(self._run(), name="sip call")
        self.task.add_done_callback(lambda _: self._server.calls.pop(self.key, None))

    # What the server says

    def agreed(self, media: Media) -> None:
        """The call stands, or is to go on in another way."""
        if not self._media.done():
            self._media.set_result(media)
        else:
            self.line.change(media)

    def pressed(self, key: str) -> None:
        """A key."""
        if self._keys is not None:
            self._keys.put(key)

    def ended(self, reason: str) -> None:
        """The other side is gone."""
        if not self._over.done():
            self._over.set_result(reason)

    # The call

    async def _run(self) -> None:
        try:
            entry = await self._take()
            if entry is not None:
                await self._talk(entry)
        except Exception:
            prometheus.ERRORS.labels("phone").inc()
            logger.exception("a call by SIP failed")
        finally:
            self.line.close()
            self._hang_up()

    async def _take(self) -> PhoneEntry | None:
        """A port and a place; ``None`` where there is none, and the caller was told."""
        server, offered = self._server, self._offered
        try:
            await self.line.open(server.ports)
            entry = await server.desk.open(CARRIER, self.key, dialled=e164(offered.dialled), caller=e164(offered.caller))
        except NoPort as e:
            self._refuse(UNAVAILABLE, "no port", str(e))
            return None
        except AtCapacity as e:
            self._refuse(BUSY, "capacity", str(e), e.retry_after_s)
            return None
        outputs = server.agent.accept(self.key, self._rtp(), time.monotonic())
        server.dispatch(outputs)
        return entry

    async def _talk(self, entry: PhoneEntry) -> None:
        session = entry.session
        answers: set[asyncio.Future[Any]] = {self._media, self._over}
        await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        if self._over.done() or session is None:
            # Whoever gave up while it rang has had no lesson, and gets no report.
            entry.connected = False
            if session is not None:
                await session.discard()
            return
        try:
            call = PhoneCall(self._server.desk, entry, self.line, ahead_s=AHEAD_S)
            self._keys = Inbox(call.pressed, MAX_KEYS)
            self.line.start(self._media.result(), call.hear, self.pressed)
            await call.start()
        except BuildFailed as e:
            self._count("build")
            logger.error("a call by SIP could not be built: {}", e)
            return
        try:
            await self._until_over(call)
        finally:
            await self._keys.close()

    async def _until_over(self, call: PhoneCall) -> None:
        closed = asyncio.create_task(call.closed.wait(), name="sip closed")
        gone = asyncio.create_task(self.line.gone.wait(), name="sip line")
        fast = asyncio.create_task(self.line.too_fast.wait(), name="sip too fast")
        watch = asyncio.create_task(self._until_silent(), name="sip silence")
        try:
            ends: set[asyncio.Future[Any]] = {closed, fast, watch, self._over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if call.closed.is_set():
                # The last words are still on their way.
                await asyncio.wait({gone}, timeout=CLOSE_TIMEOUT_S + 1.0)
                self._server.desk.end_unless_back(call.session)
                return
            if self._over.done():
                self.line.close()
                await call.hung_up(self._over.result())
            elif fast.done():
                self._count("too fast")
                self._hang_up()
                await call.hung_up("too fast")
            else:
                self._hang_up()
                await call.hung_up("nothing came any more")
            await call.transport.close(1000, "the call is over")
        finally:
            for task in (closed, gone, fast, watch):
                task.cancel()
            await asyncio.gather(closed, gone, fast, watch, return_exceptions=True)

    async def _until_silent(self) -> None:
        """Returns when no sound has come for too long. Telephones send some even when nobody speaks, but not all do on hold:
        such a call ends as any other in which nobody says anything."""
        limit_s = self._server.settings.media_timeout_s
        while True:
            left_s = limit_s if self.line.on_hold else self.line.came_at + limit_s - time.monotonic()
            if left_s <= 0:
                return
            await asyncio.sleep(left_s)

    def _rtp(self) -> tuple[str, int]:
        return self._server.agent.local_of(self.key), self.line.port

    def _hang_up(self) -> None:
        self._server.dispatch(self._server.agent.hang_up(self.key, time.monotonic()))

    def _refuse(self, status: int, why: str, text: str, retry_after_s: float | None = None) -> None:
        self._count(why)
        logger.warning("a call by SIP was turned away: {}", text)
        outputs = self._server.agent.refuse(self.key, status, time.monotonic(), retry_after_s=retry_after_s)
        self._server.dispatch(outputs)

    def _count(self, why: str) -> None:
        prometheus.PHONE_REFUSED.labels(CARRIER, why).inc()
