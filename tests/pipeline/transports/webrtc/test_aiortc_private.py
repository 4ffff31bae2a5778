"""The private fields that the adapter relies on are still where it looks for them."""

from __future__ import annotations

import pytest
from aiortc import RTCPeerConnection, rtcsctptransport
from aiortc.rtp import RtpPacket

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
