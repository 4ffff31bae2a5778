"""One whole WebRTC connection inside the process, so that the first learner does not wait for what the first one costs.

The first connection sets up OpenSSL and libsrtp, opens libopus both ways, and compiles the regular expressions of SDP.
"""

from __future__ import annotations

import asyncio
import time

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from loguru import logger

from pipeline.messages import OUTPUT_RATE_HZ
from pipeline.settings.tree import TurnServerSettings, WebRTCSettings
from pipeline.transports.aiortc_private import tap_audio
from pipeline.transports.signalling import Signalling
from pipeline.transports.timing import CaptureClock, PlayoutLedger
from pipeline.transports.webrtc import WebRTCTransport
from pipeline.transports.webrtc_capture import AudioCapture
from pipeline.transports.webrtc_track import OutputTrack

_TIMEOUT_S = 10.0
_PACKETS = 3


async def warm_up(settings: WebRTCSettings) -> float | None:
    """Connect to ourselves, exchange a few Opus packets and a message both ways, and close.

    Returns the seconds from the offer to the last of those, or ``None`` where no connection came about (on a machine without a
    network, say), which is logged and does no harm.
    """
    signalling = Signalling(settings.model_copy(update={"ice_servers": [], "turn": TurnServerSettings()}))
    client = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    track = OutputTrack(
        PlayoutLedger(OUTPUT_RATE_HZ), bitrate_bps=settings.opus_bitrate_bps, complexity=settings.opus_complexity
    )
    capture = AudioCapture(CaptureClock(), lambda pcm, end_s: None)
    heard, answered, listening = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def arrived(source: int, sequence: int, timestamp: int, payload: bytes) -> None:
        capture.on_packet(source, sequence, timestamp, payload, time.monotonic())
        if capture.packets >= _PACKETS:
            heard.set()

    async def ready() -> None:
        listening.set()

    async def build(transport: WebRTCTransport) -> None:
        transport.on_ready = ready

    try:
        tap_audio(client.addTransceiver(track, direction="sendrecv").receiver, arrived)
        channel = client.createDataChannel("warm-up")
        channel.on("open", lambda: channel.send('{"type": "ping"}'))
        channel.on("message", lambda message: answered.set())
        async with asyncio.timeout(_TIMEOUT_S):
            await client.setLocalDescription(await client.createOffer())
            offer = client.localDescription
            started = time.perf_counter()
            answer, _ = await signalling.offer(offer.sdp, offer.type, build)
            await client.setRemoteDescription(RTCSessionDescription(sdp=answer["sdp"], type="answer"))
            await asyncio.gather(heard.wait(), answered.wait(), listening.wait())
        return time.perf_counter() - started
    except Exception as e:
        logger.warning(f"WebRTC was not warmed up, the first call will connect slower: {type(e).__name__} {e}")
        return None
    finally:
        track.stop()
        await client.close()
        await signalling.close()
