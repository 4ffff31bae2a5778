"""The one place that touches what aiortc, aioice and pipecat keep private, each use with its reason.

Everything here was written against the versions of ``TESTED``; ``check_versions`` refuses others, because a private name that
moved would fail in the middle of a call or, worse, change nothing. After raising a pin: read the sources again, run
``tests/pipeline/transports``, then change ``TESTED``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from struct import Struct
from typing import Any, Protocol

import aiortc.rtcsctptransport
import pylibsrtp
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, clock
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import HeaderExtensions, RtpPacket
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


_RTP_HEADER = Struct("!BBHLL")
_EXTENSION_HEADER = Struct("!HH")


class _Arrived:
    """What aiortc's statistics of a stream want to know of a packet."""

    __slots__ = ("sequence_number", "timestamp")

    def __init__(self, sequence_number: int, timestamp: int) -> None:
        self.sequence_number = sequence_number
        self.timestamp = timestamp


def shorten_receiving(receiver: RTCRtpReceiver, on_packet: PacketHandler) -> None:
    """Give the audio packets of a connected ``receiver`` to ``on_packet`` straight from the socket.

    aiortc queues each datagram for a task, after an attempt to read it as STUN, and makes objects of the packet and of its
    header extensions: as much work as decoding it. Whatever is not the next packet of a stream that aiortc knows already (STUN,
    DTLS, RTCP, a first packet) goes its way as before.
    """
    inner: Any = receiver
    dtls = inner.transport
    known, codecs = inner._RTCRtpReceiver__remote_streams, inner._RTCRtpReceiver__codecs
    for pair in dtls.transport._connection._nominated.values():
        protocol: Any = pair.protocol
        protocol.datagram_received = _short_way(dtls, known, codecs, protocol.datagram_received, on_packet)


def _short_way(dtls: Any, known: Any, codecs: Any, usual_way: Callable[..., None], on_packet: PacketHandler) -> Any:
    def datagram_received(data: bytes, addr: Any) -> None:
        # SRTP leaves the header in the clear: version 2, and a second byte that is not one of RTCP's types.
        if len(data) <= 12 or not 128 <= data[0] < 192 or 192 <= data[1] < 224:
            usual_way(data, addr)
            return
        first, second, sequence, timestamp, source = _RTP_HEADER.unpack_from(data)
        stream = known.get(source)
        if stream is None or (second & 0x7F) not in codecs or dtls._state is not State.CONNECTED:
            usual_way(data, addr)
            return
        try:
            plain = dtls._rx_srtp.unprotect(data)
        except pylibsrtp.Error:
            return
        start = 12 + 4 * (first & 0x0F)
        end = len(plain)
        if first & 0x10:
            start += 4 + 4 * int.from_bytes(plain[start + 2 : start + 4], "big")
        if first & 0x20:
            end -= plain[-1]
        if start > end:
            return
        stream.add(_Arrived(sequence, timestamp))
        on_packet(source, sequence, timestamp, plain[start:end])

    return datagram_received


class PacedSource(Protocol):
    """Packets that are due one after the other."""

    def wait_s(self) -> float:
        """Seconds until the next one is due."""
        ...

    def take(self) -> tuple[int, bytes]:
        """The next one: media time in ticks, from 0, and payload. Raises ``MediaStreamError`` at the end."""
        ...

    def stop(self) -> None:
        """Nobody takes any more."""
        ...


def shorten_sending(sender: RTCRtpSender, source: PacedSource) -> None:
    """Let ``sender`` take its packets from ``source`` by a timer and send each at once. Before it starts to send.

    aiortc's own loop is a task that sleeps between packets, makes objects of each packet and of its header extensions, keeps
    the last of them to send them again (which nobody may ask for with audio) and awaits three coroutines to reach the socket.
    """
    if not hasattr(sender, "_run_rtp"):
        raise UntestedVersion("aiortc's sender has its loop elsewhere")
    inner: Any = sender
    inner._run_rtp = _Sending(sender, source).run


class _Sending:
    def __init__(self, sender: Any, source: PacedSource) -> None:
        self._sender = sender
        self._source = source
        self._timestamp_origin = random.getrandbits(32)
        self._sequence = random.getrandbits(15)
        self._extensions: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, codec: RTCRtpCodecParameters) -> None:
        """What stands in the place of ``RTCRtpSender._run_rtp``."""
        sender = self._sender
        sender._RTCRtpSender__rtp_started.set()
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        assert codec.payloadType is not None  # what was negotiated has one
        self._payload_type = 0x80 | codec.payloadType
        try:
            self._next()
            await self._over
        except (asyncio.CancelledError, ConnectionError, MediaStreamError):
            pass
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._source.stop()
            sender._RTCRtpSender__track = None
            sender._RTCRtpSender__rtp_exited.set()

    def _next(self) -> None:
        try:
            wait_s = self._source.wait_s()
            while wait_s <= 0:
                media, payload = self._source.take()
                self._send(media, payload)
                wait_s = self._source.wait_s()
        except Exception as e:
            if not self._over.done():
                self._over.set_exception(e)
            return
        self._timer = self._loop.call_later(wait_s, self._next)

    def _send(self, media: int, payload: bytes) -> None:
        sender = self._sender
        dtls: Any = sender.transport
        if dtls._state is not State.CONNECTED:
            raise ConnectionError("not connected")
        if self._extensions is None:
            self._extensions = self._make_extensions()
        timestamp = (self._timestamp_origin + media) & 0xFFFFFFFF
        first = 0x90 if self._extensions else 0x80
        header = _RTP_HEADER.pack(first, self._payload_type, self._sequence, timestamp, sender._ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        if sender._enabled:
            pair = dtls.transport._connection._nominated.get(1)
            if pair is None:
                raise ConnectionError("not connected")
            pair.protocol.transport.sendto(dtls._tx_srtp.protect(header + self._extensions + payload), pair.remote_addr)
        # What aiortc's sender reports say of the stream.
        sender._RTCRtpSender__ntp_timestamp = clock.current_ntp_time()
        sender._RTCRtpSender__rtp_timestamp = timestamp
        sender._RTCRtpSender__octet_count += len(payload)
        sender._RTCRtpSender__packet_count += 1

    def _make_extensions(self) -> bytes:
        sender = self._sender
        mid = HeaderExtensions(mid=sender._RTCRtpSender__mid)
        profile, value = sender._RTCRtpSender__rtp_header_extensions_map.set(mid)
        return _EXTENSION_HEADER.pack(profile, len(value) >> 2) + value if value else b""


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
