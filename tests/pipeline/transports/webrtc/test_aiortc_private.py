"""The private fields that the adapter relies on are still where it looks for them."""

from __future__ import annotations

from itertools import pairwise

import pylibsrtp
import pytest
from aiortc import RTCPeerConnection, RTCRtpHeaderExtensionParameters, rtcsctptransport
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import RTCRtpParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from pipeline.transports import aiortc_private
from pipeline.transports.signalling import Signalling


def test_installed_versions_are_the_tested_ones():
    aiortc_private.check_versions()


def test_another_version_is_refused_by_name(monkeypatch):
    found = {"aiortc": "1.17.2", "aioice": "0.13.9", "pipecat-ai": "2.0.0"}
    with pytest.raises(aiortc_private.UntestedVersion, match=r"aiortc 1\.17\.2 \(tested: 1\.16\.\*\), pipecat-ai 2\.0\.0"):
        aiortc_private.check_versions(found.__getitem__)
    monkeypatch.setitem(aiortc_private.TESTED, "aiortc", "0.9")
    with pytest.raises(aiortc_private.UntestedVersion, match="aiortc"):
        Signalling(None)


async def test_tap_gets_every_packet_and_the_decoder_none():
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("audio").receiver
    seen = []
    aiortc_private.tap_audio(receiver, lambda *packet: seen.append(packet))
    buffer = receiver._RTCRtpReceiver__jitter_buffer
    packet = RtpPacket(payload_type=96, sequence_number=7, timestamp=8, ssrc=9, payload=b"x")
    assert buffer.add(packet) == (False, None)
    assert seen == [(9, 7, 8, b"x")]
    await pc.close()


async def test_tap_refuses_a_receiver_that_changed():
    with pytest.raises(aiortc_private.UntestedVersion):
        aiortc_private.tap_audio(object(), print)


async def test_sender_that_sent_nothing_has_no_timestamp():
    pc = RTCPeerConnection()
    assert aiortc_private.last_sent_timestamp(pc.addTransceiver("audio").sender) is None
    await pc.close()


def test_data_channel_datagrams_fit_the_least_mtu():
    aiortc_private.limit_sctp_payload()
    aiortc_private.limit_sctp_payload()
    assert rtcsctptransport.USERDATA_MAX_LENGTH == 1_100


class Unprotected:
    """A DTLS transport in the state ``connected`` whose packets are as they look."""

    _state = State.CONNECTED

    def __init__(self) -> None:
        self._rx_srtp = self

    def unprotect(self, data: bytes) -> bytes:
        if data.endswith(b"forged"):
            raise pylibsrtp.Error
        return data


def short_way(known: set[int]):
    """A short way for streams of ``known``, with what it gave and what went the usual way."""
    taken, usual, streams = [], [], {source: StreamStatistics(48_000) for source in known}
    receive = aiortc_private._short_way(
        Unprotected(), streams, {111: None}, lambda data, _addr: usual.append(data), lambda *packet: taken.append(packet)
    )
    return receive, taken, usual, streams


def test_the_short_way_reads_a_packet_as_aiortc_does():
    receive, taken, usual, streams = short_way({9})
    extensions = HeaderExtensionsMap()
    extensions.configure(
        RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid")])
    )
    packet = RtpPacket(payload_type=111, marker=1, sequence_number=65_535, timestamp=2**32 - 1, ssrc=9, payload=b"opus")
    packet.csrc, packet.extensions.mid, packet.padding_size = [4, 5], "audio", 3
    for data in (packet.serialize(extensions), packet.serialize(), b"\x80\x6f\x00\x00" + bytes(7) + b"\x09" + b"x"):
        receive(data, None)
    assert taken == [(9, 65_535, 2**32 - 1, b"opus"), (9, 65_535, 2**32 - 1, b"opus"), (9, 0, 0, b"x")]
    assert usual == []
    assert streams[9].packets_received == 3


def test_what_is_not_a_known_stream_goes_the_usual_way_and_what_is_forged_nowhere():
    receive, taken, usual, _ = short_way({9})
    strange = [
        RtpPacket(payload_type=111, ssrc=8, payload=b"another source").serialize(),
        RtpPacket(payload_type=0, ssrc=9, payload=b"another codec").serialize(),
        b"\x80\xc8\x00\x06" + bytes(24),  # an RTCP sender report
        b"\x16\xfe\xfd" + bytes(20),  # DTLS
        b"\x00\x01" + bytes(18),  # STUN
        b"\x80",
    ]
    for data in strange:
        receive(data, None)
    receive(RtpPacket(payload_type=111, ssrc=9, payload=b"forged").serialize(), None)
    # Its header extension ends behind its end.
    receive(b"\x90\x6f" + bytes(9) + b"\x09" + b"\xbe\xde\xff\xff", None)
    assert usual == strange
    assert taken == []


async def test_a_connected_call_takes_its_packets_the_short_way_and_counts_them(room, kit, monkeypatch):
    _, call = await room.connect()
    receiver = call.transport._peer._audio.receiver
    long_way = []
    monkeypatch.setattr(receiver, "_handle_rtp_packet", lambda *_args, **_more: long_way.append(1))
    before = call.transport.reception().packets
    await kit.eventually(lambda: call.transport.reception().packets >= before + 25)
    assert long_way == []
    (stream,) = receiver._RTCRtpReceiver__remote_streams.values()
    assert stream.packets_received == call.transport.reception().packets


async def test_a_client_gets_packets_in_order_with_the_section_they_belong_to_and_reports_of_them(room, kit):
    client, call = await room.connect()
    receiver = client.pc.getReceivers()[0]
    await kit.eventually(lambda: receiver._RTCRtpReceiver__lsr, what="a sender report")
    sequences = [packet.sequence for packet in client.packets]
    assert [(b - a) & 0xFFFF for a, b in pairwise(sequences)] == [1] * (len(sequences) - 1)
    steps = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(client.packets)]
    assert steps
    assert all(step and step % 960 == 0 for step in steps)
    sender = call.transport._peer._audio.sender
    assert sender._RTCRtpSender__packet_count >= len(client.packets)
    assert call.transport._peer.track.position_of(client.packets[0].timestamp) == 0


async def test_sending_refuses_a_sender_that_changed():
    with pytest.raises(aiortc_private.UntestedVersion):
        aiortc_private.shorten_sending(object(), None)
