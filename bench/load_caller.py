"""A process that makes many calls at little cost: ``python -m bench.load_caller --url URL``.

Each call sends packets that were encoded beforehand and counts what arrives; packets are decoded only while an answer is
awaited. Commands come as JSON lines on standard input, each answered by one line on standard output:

- ``{"do": "add", "phase": P}``: one more call, which begins at the share P (modulo 1) of its cycle.
- ``{"do": "reset"}``: forget what was measured.
- ``{"do": "report"}``: what was measured since.
- ``{"do": "drop"}``: hang up.

The end of standard input ends the calls and the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import CodecContext, Packet
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

from bench.load_speech import CYCLE_S, FRAME_S, FRAME_SAMPLES, Cycle, cycles
from bench.speech import RATE_HZ
from pipeline.transports.aiortc_private import tap_audio
from web.talk.listening import VOICED_PEAK, peak

CONNECT_TIMEOUT_S = 20.0
STUCK_S = 6.0
"""A turn whose answer has not begun by then, with the next utterance near, has none."""


class Turns:
    """One caller's turns: when each of its utterances ended and when its answer began. Pure: times are passed in."""

    def __init__(self) -> None:
        self._ended_at: float | None = None
        self.v2v_s: list[float] = []
        self.stuck = 0

    @property
    def awaiting(self) -> bool:
        """Whether an answer is awaited: only then does a packet's content matter."""
        return self._ended_at is not None

    def ended(self, at: float) -> None:
        """The caller's utterance ended at ``at``."""
        self._ended_at = at

    def heard(self, at: float, voiced: bool) -> None:
        """A packet arrived at ``at``."""
        if self._ended_at is None:
            return
        if voiced:
            self.v2v_s.append(at - self._ended_at)
            self._ended_at = None
        elif at - self._ended_at > STUCK_S:
            self.stuck += 1
            self._ended_at = None

    def reset(self) -> None:
        """Forget the turns that were measured."""
        self.v2v_s.clear()
        self.stuck = 0


class _Voice(MediaStreamTrack):
    """Encoded packets in a circle, each when its last sample would have been captured."""

    kind = "audio"

    def __init__(self, cycle: Cycle, start: int, on_end: Callable[[float], None]) -> None:
        super().__init__()
        self._cycle = cycle
        self._start = start
        self._on_end = on_end
        self._sent = 0
        self._origin: float | None = None
        self.late_s: list[float] = []

    async def recv(self) -> Packet[Any]:
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        if self._origin is None:
            self._origin = now
        due = self._origin + self._sent * FRAME_S
        if due > now:
            await asyncio.sleep(due - now)
            now = time.monotonic()
        self.late_s.append(max(0.0, now - due))
        at = (self._start + self._sent) % len(self._cycle.packets)
        packet = Packet(self._cycle.packets[at])
        packet.pts, packet.time_base = self._sent * FRAME_SAMPLES, Fraction(1, RATE_HZ)
        self._sent += 1
        if at == self._cycle.speech_packets - 1 and self._sent >= self._cycle.speech_packets:
            self._on_end(now)
        return packet


class Caller:
    """One call of RTVI, as a browser with pipecat's client makes it, from the ``start``-th packet of its cycle on."""

    def __init__(self, url: str, cycle: Cycle, start: int) -> None:
        self._url = url
        self._turns = Turns()
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._voice = _Voice(cycle, start, self._said)
        self._channel = self._pc.createDataChannel("messages")
        self._channel.on("open", self._greet)
        self._connected = asyncio.Event()
        self._pc.on("connectionstatechange", self._state_changed)
        self._decoder: AudioCodecContext | None = None
        self._arrivals: list[float] = []

    async def connect(self) -> None:
        """Call, and return when the media is connected.

        Raises:
            RuntimeError: the offer was refused, or there was no connection in time.
        """
        pc = self._pc
        pc.addTrack(self._voice)
        tap_audio(pc.getReceivers()[0], self._take_packet)
        await pc.setLocalDescription(await pc.createOffer())
        body = {"sdp": pc.localDescription.sdp, "type": pc.localDescription.type, "request_data": {}}
        async with httpx.AsyncClient(timeout=CONNECT_TIMEOUT_S, trust_env=False) as http:
            response = await http.post(f"{self._url}/api/offer", json=body)
        if response.status_code != 200:
            raise RuntimeError(f"the offer was refused: {response.status_code} {response.text[:200]}")
        answer = response.json()
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        try:
            await asyncio.wait_for(self._connected.wait(), CONNECT_TIMEOUT_S)
        except TimeoutError:
            raise RuntimeError("no media connection in time") from None

    def reset(self) -> None:
        """Forget what was measured."""
        self._turns.reset()
        self._voice.late_s.clear()
        self._arrivals.clear()

    def gaps_ms(self) -> list[float]:
        """Between the packets that have arrived since the last reset."""
        return [float(gap) for gap in np.diff(np.asarray(self._arrivals)) * 1000]

    def report(self) -> dict[str, Any]:
        """What was measured since the last reset, in ms."""
        gaps = np.asarray(self.gaps_ms())
        late = np.asarray(self._voice.late_s) * 1000
        return {
            "packets": len(self._arrivals),
            "gap_p99_ms": round(float(np.percentile(gaps, 99)), 2) if len(gaps) else None,
            "late_p99_ms": round(float(np.percentile(late, 99)), 2) if len(late) else None,
            "v2v_ms": [round(v * 1000, 1) for v in self._turns.v2v_s],
            "stuck": self._turns.stuck,
            "connected": self._pc.connectionState == "connected",
        }

    async def close(self) -> None:
        """Hang up."""
        self._voice.stop()
        await self._pc.close()

    def _greet(self) -> None:
        about = {"library": "parley-talk", "library_version": "1"}
        data = {"version": "1.0.0", "about": about}
        greeting = {"label": "rtvi-ai", "id": uuid.uuid4().hex[:8], "type": "client-ready", "data": data}
        self._channel.send(json.dumps(greeting))

    def _state_changed(self) -> None:
        if self._pc.connectionState == "connected":
            self._connected.set()

    def _said(self, at: float) -> None:
        self._turns.ended(at)
        # A new one: the old one's last packet, the beginning of the last answer, would sound on in what it decodes next.
        decoder = CodecContext.create("libopus", "r")
        assert isinstance(decoder, AudioCodecContext)
        decoder.format, decoder.layout, decoder.sample_rate, decoder.thread_count = "s16", "mono", RATE_HZ, 1
        self._decoder = decoder

    def _take_packet(self, _ssrc: int, _sequence: int, _timestamp: int, payload: bytes) -> None:
        at = time.monotonic()
        self._arrivals.append(at)
        if self._turns.awaiting:
            self._turns.heard(at, self._is_voiced(payload))

    def _is_voiced(self, payload: bytes) -> bool:
        assert self._decoder is not None, "an answer is awaited"
        with contextlib.suppress(FFmpegError):
            frames = self._decoder.decode(Packet(payload))
            return any(peak(np.asarray(frame.to_ndarray(), np.int16).reshape(-1)) > VOICED_PEAK for frame in frames)
        return False


async def serve(url: str) -> None:
    """Do what standard input says, to its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    spoken = await asyncio.to_thread(cycles)
    callers: list[Caller] = []
    made = 0
    _answer({"ready": True, "speech_share": float(np.mean([cycle.speech_share for cycle in spoken]))})
    try:
        while line := await reader.readline():
            command = json.loads(line)
            match command["do"]:
                case "add":
                    caller = Caller(url, spoken[made % len(spoken)], int(command["phase"] % 1.0 * CYCLE_S / FRAME_S))
                    made += 1
                    callers.append(caller)
                    try:
                        await caller.connect()
                        _answer({})
                    except (RuntimeError, httpx.HTTPError) as e:
                        _answer({"failed": str(e) or repr(e)})
                case "reset":
                    for caller in callers:
                        caller.reset()
                    _answer({})
                case "report":
                    _answer({"calls": [caller.report() for caller in callers]})
                case "drop":
                    await asyncio.gather(*(caller.close() for caller in callers))
                    callers.clear()
                    _answer({})
    finally:
        await asyncio.gather(*(caller.close() for caller in callers), return_exceptions=True)


def _answer(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def main() -> None:
    """Run until standard input ends or says so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--cpu", type=int, help="the core to run on")
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    url = options.url
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(url))
    else:
        uvloop.run(serve(url))


if __name__ == "__main__":
    main()
