"""The one place that touches what aiortc, aioice and pipecat keep private, each use with its reason.

Everything here was written against the versions of ``TESTED``; ``check_versions`` refuses others, because a private name that
moved would fail in the middle of a call or, worse, change nothing. After raising a pin: read the sources again, run
``tests/pipeline/transports``, then change ``TESTED``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import aiortc.rtcsctptransport
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtp import RtpPacket
from pipecat.frames.frames import InputAudioRawFrame
from pipecat.transports.base_input import BaseInputTransport

TESTED = {"aiortc": "1.16", "aioice": "0.13", "pipecat-ai": "1.14"}
SCTP_PAYLOAD_BYTES = 1100
_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_SENT_TIMESTAMP = "_RTCRtpSender__rtp_timestamp"
_SENT_PACKETS = "_RTCRtpSender__packet_count"

PacketHandler = Callable[[int, int, int, bytes], None]
"""Called with a packet's SSRC, 16-bit sequence number, 32-bit timestamp and payload."""


class UntestedVersion(RuntimeError):
    """A library whose private parts are used is installed in a version for which nobody looked at them."""


def check_versions(installed: Callable[[str], str] = version) -> None:
    """Raise ``UntestedVersion`` naming each library that is not of a tested version."""
    wrong = []
    for name, tested in TESTED.items():
        found = installed(name)
        if found.split(".")[:2] != tested.split("."):
            wrong.append(f"{name} {found} (tested: {tested}.*)")
    if wrong:
        raise UntestedVersion(f"WebRTC needs other versions than those installed: {', '.join(wrong)}")


def limit_sctp_payload() -> None:
    """Keep data-channel datagrams below 1,280 bytes, the least MTU of IPv6 and the usual one of VPNs.

    aiortc sends chunks of 1,200 bytes and has no path MTU discovery: over such a path the data channel stalls for good.
    """
    aiortc.rtcsctptransport.USERDATA_MAX_LENGTH = min(SCTP_PAYLOAD_BYTES, aiortc.rtcsctptransport.USERDATA_MAX_LENGTH)


class _Tap:
    """Stands where an audio receiver keeps its jitter buffer, and never lets a packet through to aiortc's decoder thread."""

    def __init__(self, on_packet: PacketHandler) -> None:
        self._on_packet = on_packet

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        self._on_packet(packet.ssrc, packet.sequence_number, packet.timestamp, packet.payload)
        return False, None


def tap_audio(receiver: RTCRtpReceiver, on_packet: PacketHandler) -> None:
    """Give every audio packet of ``receiver`` to ``on_packet`` as it arrives, instead of to aiortc's jitter buffer.

    That buffer holds four packets (80 ms), and after a loss fourteen for the rest of the call; it also hides when a packet
    arrived. The receiver's track then never yields a frame, so nothing piles up in it unread.
    """
    if not hasattr(receiver, _JITTER_BUFFER):
        raise UntestedVersion("aiortc's receiver keeps its jitter buffer elsewhere")
    setattr(receiver, _JITTER_BUFFER, _Tap(on_packet))


def last_sent_timestamp(sender: RTCRtpSender) -> int | None:
    """The 32-bit RTP timestamp of the packet that ``sender`` sent last; ``None`` before the first.

    The timestamp at which a sender starts is a local variable of its send loop; this is where it shows.
    """
    return getattr(sender, _SENT_TIMESTAMP) if getattr(sender, _SENT_PACKETS) else None


def limit_gathering(pc: RTCPeerConnection, timeout_s: float) -> None:
    """Stop waiting for a STUN or TURN server's candidates after ``timeout_s`` instead of 5 s. Before the local description."""
    transports = {t.receiver.transport.transport for t in pc.getTransceivers()}
    if pc.sctp is not None:
        transports.add(pc.sctp.transport.transport)
    for transport in transports:
        connection: Any = transport.iceGatherer._connection
        if not isinstance(connection.get_component_candidates, partial):
            connection.get_component_candidates = partial(connection.get_component_candidates, timeout=timeout_s)


def queue_input_audio(processor: BaseInputTransport, frame: InputAudioRawFrame, limit: int) -> bool:
    """Do what ``BaseInputTransport.push_audio_frame`` does, from a plain function; ``False`` when ``limit`` frames wait.

    Packets arrive in a callback: the public coroutine would cost a queue and a task of our own in front of pipecat's.
    """
    queue = getattr(processor, "_audio_in_queue", None)
    if queue is None or processor._paused:
        return True
    if queue.qsize() >= limit:
        return False
    queue.put_nowait(frame)
    return True
