"""The WebRTC door of a call: audio both ways, messages over the data channel, and when the client is there or gone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiortc import RTCIceServer
from loguru import logger

from pipeline.messages import OUTPUT_RATE_HZ, ClientMessage, Error, Ping, Playout, Pong, ServerMessage, TextInput
from pipeline.metrics.reception import ReceptionExporter
from pipeline.settings.tree import WebRTCSettings
from pipeline.transports.base import CommandHandler, LostHandler
from pipeline.transports.bucket import Bucket
from pipeline.transports.inbox import Inbox
from pipeline.transports.timing import CaptureClock, PlayoutLedger
from pipeline.transports.webrtc_capture import AudioCapture, Reception
from pipeline.transports.webrtc_connection import MAX_MESSAGE_CHARS, BadOffer, IceCandidate, Peer
from pipeline.transports.webrtc_messages import (
    PEER_LEFT,
    RTVI_LABEL,
    Command,
    Dialogue,
    Keepalive,
    Refused,
    Rtvi,
    SentText,
)
from pipeline.transports.webrtc_processors import WebRTCInput, WebRTCOutput, transport_params
from pipeline.transports.webrtc_track import OutputTrack

CONNECT_TIMEOUT_S = 15.0
"""A client that has its answer and does not connect for this long is gone."""
SILENT_READY_S = 1.5
"""A connected client that says nothing for this long is taken for a plain one that only listens."""
SDK_READY_S = 10.0
"""A client SDK that never sends its client-ready is not waited for any longer."""
FLUSH_TIMEOUT_S = 0.5
RECEIVER_BEHIND_S = 0.07
"""From a packet's leaving to its being played by a receiver that says nothing of it: the jitter buffer and the loudspeaker, 42
and 30 ms in Chromium beside its server."""
_WATCH_S = 0.25
_TIMER_LATE_S = 0.01
_TIMER_PUT_OFF_S = 0.005
_MAX_UNSENT = 256
_MAX_RECEIVED = 256
STRIKES, STRIKES_PER_S = 100, 5.0
"""Bad messages, and good ones that come too fast, that are forgiven at once and per second."""
MESSAGES, MESSAGES_PER_S = 400, 100.0
_TOO_MANY = "too many messages at a time: this one was dropped"
_ABUSE = "too many bad messages"


class WebRTCTransport:
    """A ``CallTransport`` over one peer connection at a time; ``restart`` puts a new one in the place of a broken one.

    ``speaks_rtvi`` is true until the client shows that it does not, because the pipeline is built before the first message:
    build it with RTVI, whose messages a plain client is not sent. The pipeline's end does not close the transport; its owner
    does. After ``on_lost`` the transport closes itself. Handlers of the call are never cancelled.

    Args:
        settings: The door's settings.
        ice_servers: STUN and TURN servers for this side's candidates.
        detach_after_s: Silence (no packet, no message) after which the client is lost.
        door: Its name in the record and the metrics.
        dialogue: What is spoken over the data channel; by default what the client turns out to speak.
        greets: Whether the tutor is told when the client can hear, and so speaks first.
    """

    def __init__(
        self,
        settings: WebRTCSettings,
        *,
        ice_servers: Sequence[RTCIceServer] = (),
        detach_after_s: float = 5.0,
        door: str = "webrtc",
        dialogue: Dialogue | None = None,
        greets: bool = True,
    ) -> None:
        self.door = door
        self._dialogue = dialogue or Dialogue(MAX_MESSAGE_CHARS)
        self._greets = greets
        self.speaks_rtvi = self._dialogue.language != "plain"
        self.on_pcm: Callable[[bytes], bool] | None = None
        """Given the learner's audio (16 kHz, 20 ms) before the call is; true keeps it from the call."""
        self.capture = CaptureClock()
        self.playout = PlayoutLedger(OUTPUT_RATE_HZ, behind_s=RECEIVER_BEHIND_S)
        self.on_command: CommandHandler | None = None
        self.on_lost: LostHandler | None = None
        self.on_ready: Callable[[], Awaitable[None]] | None = None
        self.on_closed: Callable[[], None] | None = None
        """Set by the signalling: called once when nothing is left of the connection."""

        self._settings = settings
        self._ice_servers = list(ice_servers)
        self._detach_after_s = detach_after_s
        self._strikes = Bucket(STRIKES, STRIKES_PER_S)
        self._messages = Bucket(MESSAGES, MESSAGES_PER_S)
        self._expelled = False
        self._told_at = float("-inf")  # when it was last said that messages come too fast
        self._unsent: deque[ServerMessage | dict[str, Any]] = deque(maxlen=_MAX_UNSENT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch_task: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None

        now = time.monotonic()
        self._alive_at = now
        self._offered_at = now
        self._connected_at: float | None = None
        self._spoke_at: float | None = None  # first message of any kind
        self._ready = False
        self._client_ready = False
        self._lost = False
        self.lost_reason: str | None = None

        params = transport_params()
        self._input = WebRTCInput(params)
        self._audio = AudioCapture(
            self.capture, self._take_audio, limit_s=settings.jitter_max_ms / 1000, conceal=settings.conceal_losses
        )
        self._audio_timer: asyncio.TimerHandle | None = None
        self._audio_timer_at = 0.0
        self._exporter = ReceptionExporter()
        self._peer = self._new_peer()
        self._output = WebRTCOutput(params, lambda: self._peer.track, self._post)
        self._commands: Inbox[ClientMessage] = Inbox(self._run_command, _MAX_RECEIVED, self._command_failed)
        self._rtvi: Inbox[dict[str, Any]] = Inbox(self._input.take_message, _MAX_RECEIVED)

    # What a call asks of a transport.

    def input(self) -> WebRTCInput:
        """The processor that stands first in the pipeline."""
        return self._input

    def output(self) -> WebRTCOutput:
        """The processor that sends audio."""
        return self._output

    def hold(self) -> None:
        """Silence from the next packet on; nothing of the tutor's voice is lost."""
        self._peer.track.hold()

    def resume(self) -> None:
        """Go on where the voice was held."""
        self._peer.track.resume()

    async def send(self, message: ServerMessage) -> None:
        """Send a message, or keep it until it is known how. Never raises; a client that is gone misses it."""
        self._post(message)

    def post(self, event: dict[str, Any]) -> None:
        """Send an event of the dialogue's own protocol, in its turn."""
        self._post(event)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection after what was sent has left (half a second at most). Safe to call twice."""
        if self._close_task is None:
            self._close_task = asyncio.create_task(self._close(code, reason))
        await asyncio.shield(self._close_task)

    def reception(self) -> Reception:
        """How the learner's packets have been arriving."""
        return self._audio.reception()

    # What the signalling asks.

    @property
    def closing(self) -> bool:
        """Whether the transport is closed or about to be."""
        return self._close_task is not None or self._lost

    async def take_offer(self, sdp: str, kind: str) -> None:
        """Read an offer, the first or one that changes the running connection; raises ``BadOffer``."""
        await self._peer.take_offer(sdp, kind)

    async def answer(self) -> str:
        """The SDP answer; from now on the client is expected. Raises ``BadOffer``."""
        sdp = await self._peer.answer()
        self._offered_at = self._alive_at = time.monotonic()
        if self._watch_task is None and not self.closing:
            self._watch_task = asyncio.create_task(self._watch())
        return sdp

    async def restart(self, sdp: str, kind: str) -> str:
        """Put a new peer connection in the place of the present one and answer its offer; raises ``BadOffer``.

        The call, its media time and its positions go on; audio that had not left is dropped.
        """
        old, new = self._peer, self._new_peer()
        try:
            await new.take_offer(sdp, kind)
            answer = await new.answer()
            if self.closing:
                raise BadOffer("the call is over")
        except BaseException:
            await new.close()
            raise
        self._peer = new
        self._connected_at = None
        self._offered_at = self._alive_at = time.monotonic()
        await old.close()
        return answer

    async def abandon(self, reason: str) -> None:
        """Close, telling the call that its client is gone."""
        self._lose(reason)
        await self.close()

    async def add_candidates(self, candidates: Sequence[IceCandidate]) -> None:
        """Add the client's trickled candidates; raises ``BadOffer``."""
        await self._peer.add_candidates(candidates)

    # The peer's events, all in the event loop.

    def _new_peer(self) -> Peer:
        track = OutputTrack(
            self.playout, bitrate_bps=self._settings.opus_bitrate_bps, complexity=self._settings.opus_complexity
        )

        def only_current(handler: Callable[..., None]) -> Callable[..., None]:
            return lambda *args: handler(*args) if self._peer is peer else None

        peer = Peer(
            track,
            ice_servers=self._ice_servers,
            gather_timeout_s=self._settings.gather_timeout_s,
            on_packet=only_current(self._take_packet),
            on_message=only_current(self._take_message),
            on_state=only_current(self._state_changed),
            on_channel=only_current(self._flush_unsent),
        )
        return peer

    def _take_packet(self, source: int, sequence: int, timestamp: int, payload: bytes) -> None:
        self._alive_at = time.monotonic()
        self._audio.on_packet(source, sequence, timestamp, payload, self._alive_at)
        self._arm_audio_timer()

    def _take_audio(self, pcm: bytes, end_s: float) -> None:
        if self.on_pcm is None or not self.on_pcm(pcm):
            self._input.take_audio(pcm, end_s)

    def _arm_audio_timer(self) -> None:
        due_at = self._audio.due_at
        if due_at is None or self.closing:
            return
        if self._audio_timer is not None:
            # Every packet puts the time off. A timer that is early finds nothing to do, and costs less than a new one a packet.
            if self._audio_timer_at <= due_at:
                return
            self._audio_timer.cancel()
        self._set_audio_timer(due_at - time.monotonic(), put_off=False)

    def _set_audio_timer(self, wait_s: float, *, put_off: bool) -> None:
        wait_s = max(0.001, wait_s)
        self._audio_timer_at = time.monotonic() + wait_s
        self._audio_timer = asyncio.get_running_loop().call_later(wait_s, self._audio_due, put_off)

    def _audio_due(self, put_off: bool) -> None:
        now = time.monotonic()
        self._audio_timer = None
        if self.closing:
            return
        if now - self._audio_timer_at > _TIMER_LATE_S and not put_off:
            # It was the process that stood still: the packets may be there, unread.
            self._set_audio_timer(_TIMER_PUT_OFF_S, put_off=True)
            return
        self._audio.tick(now)
        self._arm_audio_timer()

    def _state_changed(self, state: str) -> None:
        if state == "connected":
            self._connected_at = self._alive_at = time.monotonic()
            self._spawn(self._input.connected())
            self._check_ready()
        else:
            self._lose("the connection failed" if state == "failed" else "the client hung up")

    def _take_message(self, raw: str | bytes) -> None:
        if self._expelled:
            return
        now = time.monotonic()
        self._alive_at = now
        if self._spoke_at is None:
            self._spoke_at = now
        if not self._messages.take(now):
            # Not even read: there is no way to have a data channel wait.
            self._strike(None, now)
            return
        before = self._dialogue.language
        received = self._dialogue.read(raw)
        if self._dialogue.language != before:
            self._language_known()
        match received:
            case Keepalive():
                pass
            case Refused(reason):
                self._strike(reason, now)
            case Rtvi(message):
                self._client_ready = self._client_ready or message["type"] == "client-ready"
                if not self._rtvi.put(message):
                    self._post(Error(message=_TOO_MANY))
            case SentText(id, text):
                said = {"text": text, "input_type": "chat", "final": True, "timestamp": datetime.now(UTC).isoformat()}
                self._post({"label": RTVI_LABEL, "type": "user-input", "data": {**said, "msg_id": id}})
                if not self._commands.put(TextInput(text=text)):
                    self._post(Error(message=_TOO_MANY))
            case Command(Ping()):
                self._post(Pong())
            case Command(Playout() as report):
                self._take_report(report, now)
            case Command(message):
                if not self._commands.put(message):
                    self._post(Error(message=_TOO_MANY))
        self._check_ready()

    def _strike(self, reason: str | None, now: float) -> None:
        """A message that means nothing, or (without a reason) one too many. Who sends little else is hung up on."""
        if not self._strikes.take(now):
            self._expelled = True
            if self._dialogue.language == "unknown":
                self._dialogue.language = "plain"
                self._language_known()
            self._post(Error(message=_ABUSE))
            self._spawn(self._expel())
        elif reason is not None:
            self._post(Error(message=reason))
        elif now - self._told_at >= 1.0:
            self._told_at = now
            self._post(Error(message=f"too many messages: {MESSAGES_PER_S:g} a second are allowed"))

    async def _expel(self) -> None:
        await self._peer.flush(FLUSH_TIMEOUT_S)
        self._lose(_ABUSE)

    def _take_report(self, report: Playout, now: float) -> None:
        if (report.rtp_timestamp is None) == (report.sample is None):
            self._post(Error(message="playout: give either rtp_timestamp or sample"))
            return
        position = report.sample if report.rtp_timestamp is None else self._peer.track.position_of(report.rtp_timestamp)
        if position is not None:
            self.playout.reported(position, now)

    # Sending.

    def _post(self, message: ServerMessage | dict[str, Any]) -> None:
        if self.closing:
            return
        if self._dialogue.language == "unknown" or not self._peer.channel_open or self._unsent:
            self._unsent.append(message)
            self._flush_unsent()
        else:
            self._send_now(message)

    def _language_known(self) -> None:
        self.speaks_rtvi = self._dialogue.language == "rtvi"
        self._flush_unsent()

    def _flush_unsent(self) -> None:
        while self._unsent and self._dialogue.language != "unknown" and self._peer.channel_open:
            self._send_now(self._unsent.popleft())

    def _send_now(self, message: ServerMessage | dict[str, Any]) -> None:
        try:
            text = self._dialogue.write(message)
        except (TypeError, ValueError) as e:
            logger.error(f"a message that is no JSON was not sent: {e}")
            return
        if text is not None and not self._peer.send(text):
            logger.warning("the client does not take its messages: one was dropped")

    # There, and gone.

    def _check_ready(self) -> None:
        now = time.monotonic()
        if self._ready or self.closing or self._connected_at is None:
            return
        connected_s = now - self._connected_at
        language = self._dialogue.language
        if language == "unknown" and self._spoke_at is None and connected_s >= SILENT_READY_S and self._peer.channel_open:
            self._dialogue.language = language = "plain"
            self._language_known()
        ready = (
            self._client_ready
            or language == "plain"
            or connected_s >= SDK_READY_S
            or (self._spoke_at is None and connected_s >= SILENT_READY_S)
        )
        if ready:
            self._ready = True
            if self.on_ready is not None and self._greets:
                self._spawn(self.on_ready())

    def _lose(self, reason: str) -> None:
        if self.closing:
            return
        self._lost, self.lost_reason = True, reason
        logger.debug(f"WebRTC client lost: {reason}")
        self._spawn(self._lose_and_close(reason))

    async def _lose_and_close(self, reason: str) -> None:
        try:
            if self.on_lost is not None:
                await self.on_lost(reason)
        finally:
            await self.close()

    async def _watch(self) -> None:
        while not self.closing:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            self._check_ready()
            self._exporter.export(self._audio.reception())
            if self._connected_at is None:
                if now - self._offered_at > CONNECT_TIMEOUT_S:
                    self._lose("the client did not connect")
            elif now - self._alive_at > self._detach_after_s:
                self._lose("silent")

    async def _run_command(self, message: ClientMessage) -> None:
        if self.on_command is not None:
            await self.on_command(message)

    def _command_failed(self, message: ClientMessage) -> None:
        self._post(Error(message=f"{message.type}: internal error"))

    # Tasks.

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except Exception:
                logger.exception("a handler of the WebRTC transport failed")

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, code: int, reason: str) -> None:
        logger.debug(f"WebRTC closes ({code}{': ' + reason if reason else ''})")
        if self._audio_timer is not None:
            self._audio_timer.cancel()
        self._exporter.export(self._audio.reception())
        try:
            if not self._lost:
                if self.speaks_rtvi:
                    self._peer.send(PEER_LEFT)
                await self._peer.flush(FLUSH_TIMEOUT_S)
            await self._peer.close()
            await self._commands.close()
            await self._rtvi.close()
            if self._watch_task is not None:
                self._watch_task.cancel()
                await asyncio.gather(self._watch_task, return_exceptions=True)
        finally:
            if self.on_closed is not None:
                self.on_closed()
