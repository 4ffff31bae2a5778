"""The WebRTC door, headless: aiortc, host candidates only, messages over a data channel as plain JSON or as RTVI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from fractions import Fraction
from typing import Any, Literal

import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, CodecContext, Packet
from av.error import FFmpegError

from pipeline.transports.aiortc_private import tap_audio
from web.talk.client import AudioHandler, Server, TalkClient, refusal
from web.talk.errors import TalkError
from web.talk.listening import peak
from web.talk.loudspeaker import RtpSpeaker
from web.talk.microphone import Microphone

RATE_HZ = 48_000
MEDIA_SILENCE_S = 5.0
"""No RTP for this long is a server that is gone: the door sends a packet every 20 ms, silence included."""


class _MicrophoneTrack(MediaStreamTrack):
    kind = "audio"

    def __init__(self, microphone: Microphone) -> None:
        super().__init__()
        self._microphone = microphone

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        pts = self._microphone.frames * self._microphone.frame_samples
        pcm = await self._microphone.frame()
        frame = AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate = self._microphone.rate_hz
        frame.pts = pts
        frame.time_base = Fraction(1, self._microphone.rate_hz)
        return frame


class RTCClient(TalkClient):
    """``messages="plain"`` speaks ``pipeline.messages`` as they are; ``"rtvi"`` greets as client-js does and unwraps
    server messages. ``offered_at`` and ``first_packet_at`` are monotonic times, the first of the POST, the second of RTP."""

    door = "webrtc"

    def __init__(
        self,
        server: Server,
        *,
        request_data: dict[str, Any] | None = None,
        messages: Literal["plain", "rtvi"] = "plain",
        on_audio: AudioHandler | None = None,
        connect_timeout_s: float = 20.0,
        reports: bool = False,
    ) -> None:
        super().__init__(Microphone(RATE_HZ), on_audio, reports=reports)
        self._speaker = RtpSpeaker()
        self._server = server
        self._request_data = request_data
        self._rtvi = messages == "rtvi"
        self._timeout_s = connect_timeout_s
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._track = _MicrophoneTrack(self.microphone)
        self._channel = self._pc.createDataChannel("messages")
        self._decoder = CodecContext.create("libopus", "r")
        self._decoder.format, self._decoder.layout, self._decoder.sample_rate = "s16", "mono", RATE_HZ
        self._last_packet_at: float | None = None
        self._connected = asyncio.Event()
        self.offered_at: float | None = None
        self.first_packet_at: float | None = None

    async def connect(self) -> None:
        pc = self._pc
        pc.addTrack(self._track)
        tap_audio(pc.getReceivers()[0], self._on_packet)
        self._channel.on("open", self._on_open)
        self._channel.on("message", self._on_message)
        self._channel.on("close", lambda: self._lose("the server closed the call"))
        pc.on("connectionstatechange", self._on_state)
        await pc.setLocalDescription(await pc.createOffer())
        answer = await self._offer()
        try:
            await pc.setRemoteDescription(RTCSessionDescription(self._answered(str(answer["sdp"])), str(answer["type"])))
        except (KeyError, TypeError, ValueError) as e:
            raise TalkError(f"{self._server.http('/api/offer')}: the answer is not an SDP answer: {e!r}") from None
        if answer.get("session_id"):  # the answer says what the WebSocket door says in its first message
            hello: dict[str, Any] = {"type": "connected", "session_id": str(answer["session_id"])}
            if answer.get("recording") is True:
                hello["recording"] = True
            self._deliver(hello, time.monotonic())
        try:
            await asyncio.wait_for(self._connected.wait(), self._timeout_s)
        except TimeoutError:
            self._lose(f"no media connection to {self._server.http('/')} within {self._timeout_s:.0f} s (is UDP blocked?)")
        if self.lost is not None:
            raise TalkError(self.lost)
        self._start(asyncio.create_task(self._watch(), name="talk-watch"))
        self._start(asyncio.create_task(self._report(), name="talk-report"))

    async def _offer(self) -> dict[str, Any]:
        local = self._pc.localDescription
        body: dict[str, Any] = {"sdp": await self._offered(local.sdp), "type": local.type}
        if self._request_data is not None:
            body["request_data"] = self._request_data
        url = self._server.http("/api/offer")
        tls = self._server.tls()
        async with httpx.AsyncClient(timeout=self._timeout_s, verify=True if tls is None else tls, trust_env=False) as http:
            self.offered_at = time.monotonic()
            try:
                response = await http.post(url, json=body, headers=self._server.headers)
            except httpx.TimeoutException:
                raise TalkError(f"{url}: no answer within {self._timeout_s:.0f} s") from None
            except httpx.HTTPError as e:
                raise TalkError(f"{url}: cannot be reached; is a server running there? ({e})") from None
        if response.status_code != 200:
            raise TalkError(f"{url}: {refusal(response.status_code, response.text, response.headers.get('Retry-After'))}")
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TalkError(f"{url}: the answer is not a JSON object")
        return answer

    async def _offered(self, sdp: str) -> str:
        """What the server is told of this side's ``sdp``."""
        return sdp

    def _answered(self, sdp: str) -> str:
        """What this side takes the server's ``sdp`` for."""
        return sdp

    async def send(self, message: dict[str, Any]) -> None:
        if self._rtvi:
            data = {k: v for k, v in message.items() if k != "type"}
            message = self._rtvi_message("client-message", {"t": message["type"], "d": data})
        self._send_raw(message)

    def _rtvi_message(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"label": "rtvi-ai", "id": uuid.uuid4().hex[:8], "type": kind, "data": data}

    def _send_raw(self, message: dict[str, Any]) -> None:
        if self._channel.readyState == "open":
            with contextlib.suppress(ConnectionError):
                self._channel.send(json.dumps(message))

    def _on_open(self) -> None:
        # The first message tells the door which of the two this client speaks.
        if self._rtvi:
            about = {"library": "parley-talk", "library_version": "1"}
            self._send_raw(self._rtvi_message("client-ready", {"version": "1.0.0", "about": about}))
        else:
            self._send_raw({"type": "ping"})

    def _on_message(self, raw: str | bytes) -> None:
        at = time.monotonic()
        try:
            message = json.loads(raw)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if message.get("label") == "rtvi-ai":
            message = message.get("data") if message.get("type") == "server-message" else None
        if isinstance(message, dict) and isinstance(message.get("type"), str):
            self._deliver(message, at)

    def _on_state(self) -> None:
        state = self._pc.connectionState
        if state == "connected":
            self._connected.set()
        elif state in ("failed", "closed"):
            self._lose("the server closed the call" if state == "closed" else "the connection to the server failed")
            self._connected.set()

    def _played(self, at: float) -> dict[str, int] | None:
        timestamp = self._speaker.played(at)
        return None if timestamp is None else {"rtp_timestamp": timestamp}

    def _on_packet(self, _ssrc: int, _sequence: int, timestamp: int, payload: bytes) -> None:
        # Decoded as it arrives, before any jitter buffer: what is measured is the wire. 20 ms of Opus take 50 µs.
        at = time.monotonic()
        if self.first_packet_at is None:
            self.first_packet_at = at
        self._last_packet_at = at
        self._speaker.take(timestamp, at)
        try:
            frames = self._decoder.decode(Packet(payload))
        except FFmpegError:
            return
        for frame in frames:
            pcm = frame.to_ndarray().reshape(-1).astype(np.int16)
            self.heard.add(at, peak(pcm))
            if self._on_audio is not None:
                self._on_audio(pcm, RATE_HZ, at)

    async def _watch(self) -> None:
        """Notice a server that went without a word; DTLS says goodbye only when the process could."""
        since = time.monotonic()
        while self.lost is None:
            await asyncio.sleep(0.5)
            if time.monotonic() - (self._last_packet_at or since) > MEDIA_SILENCE_S:
                self._lose(f"the server sent no audio for {MEDIA_SILENCE_S:.0f} s; it is gone")

    async def _disconnect(self) -> None:
        self._track.stop()
        await self._pc.close()
        await asyncio.sleep(0)  # aiortc's own task that watches for this ends in the next round of the loop
