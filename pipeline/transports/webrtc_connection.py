"""One peer connection with audio both ways and a data channel, and nothing of pipecat.

Only audio is ever negotiated: video sections of an offer are answered ``inactive``, which browsers and client-js accept without
asking again. Opus is the only codec.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.sdp import SessionDescription, candidate_from_sdp
from loguru import logger
from pydantic import BaseModel, ConfigDict, Field

from pipeline.transports import aiortc_private
from pipeline.transports.webrtc_track import OutputTrack

MAX_SDP_CHARS = 65_536
MAX_MESSAGE_CHARS = 65_536
MAX_UNSENT_BYTES = 1_000_000
_CLOSE_TIMEOUT_S = 5.0
_OPUS = re.compile(r"a=rtpmap:(\d+) opus/48000/2", re.IGNORECASE)


class BadOffer(ValueError):
    """An offer or candidate that cannot be used; its text says why and is fit for the client."""


class IceCandidate(BaseModel):
    """A trickled candidate as browsers name its parts; an empty ``candidate`` ends them."""

    model_config = ConfigDict(extra="ignore")

    candidate: str = Field(max_length=1_000)
    sdp_mid: str | None = Field(None, max_length=100)
    sdp_mline_index: int | None = Field(None, ge=0, le=100)


class Peer:
    """The server's end of one peer connection.

    Args:
        track: Sent to the client.
        ice_servers: STUN and TURN servers for this side's candidates.
        gather_timeout_s: Longest wait for their answers.
        on_packet: Each audio packet: SSRC, sequence number, timestamp, payload.
        on_message: Each data-channel message.
        on_state: Called with ``connected``, ``failed`` or ``closed``, each at most once and none after ``close``.
        on_channel: Called when the data channel is open.
    """

    def __init__(
        self,
        track: OutputTrack,
        *,
        ice_servers: Sequence[RTCIceServer],
        gather_timeout_s: float,
        on_packet: aiortc_private.PacketHandler,
        on_message: Callable[[str | bytes], None],
        on_state: Callable[[str], None],
        on_channel: Callable[[], None],
    ) -> None:
        aiortc_private.limit_sctp_payload()
        self.track = track
        self._gather_timeout_s = gather_timeout_s
        self._on_message = on_message
        self._on_state = on_state
        self._on_channel = on_channel
        self._channel: RTCDataChannel | None = None
        self._closing = False
        self._state = "new"
        # Bundled from the start: with the default policy aiortc opens sockets for every section of the offer.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=list(ice_servers), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._audio = self._pc.addTransceiver(track, direction="sendrecv")
        opus = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == "audio/opus"]
        self._audio.setCodecPreferences(opus)
        self._on_packet = on_packet
        aiortc_private.tap_audio(self._audio.receiver, on_packet)
        aiortc_private.shorten_sending(self._audio.sender, track)
        track.sent_timestamp = lambda: aiortc_private.last_sent_timestamp(self._audio.sender)
        self._pc.on("datachannel", self._take_channel)
        self._pc.on("connectionstatechange", self._state_changed)

    @property
    def connected(self) -> bool:
        """Whether media can flow."""
        return self._state == "connected" and not self._closing

    @property
    def channel_open(self) -> bool:
        """Whether messages can be sent."""
        return self._channel is not None and self._channel.readyState == "open"

    async def take_offer(self, sdp: str, kind: str) -> None:
        """Read the client's first or next offer.

        Raises:
            BadOffer: when it is no usable offer.
        """
        if kind != "offer":
            raise BadOffer(f"type must be 'offer', not {str(kind)[:20]!r}")
        if not isinstance(sdp, str) or not sdp.strip():
            raise BadOffer("sdp is empty")
        if len(sdp) > MAX_SDP_CHARS:
            raise BadOffer(f"sdp is longer than {MAX_SDP_CHARS} characters")
        if "m=audio" not in sdp:
            raise BadOffer("the offer has no audio section")
        if "opus/48000" not in sdp.lower():
            raise BadOffer("the offer has no Opus, the only audio codec here")
        try:
            _check_bundle(SessionDescription.parse(sdp))
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
        except BadOffer:
            raise
        except Exception as e:  # aiortc's parser raises whatever the text makes it trip over
            raise BadOffer(f"the offer was not understood: {_first_line(e)}") from e
        if self._audio.mid is None:
            raise BadOffer("the offer has no audio section")
        for transceiver in self._pc.getTransceivers():
            if transceiver is not self._audio:
                transceiver.direction = "inactive"

    async def answer(self) -> str:
        """The SDP answer to the last offer, with this side's candidates.

        Raises:
            BadOffer: when no answer to it is possible.
        """
        aiortc_private.limit_gathering(self._pc, self._gather_timeout_s)
        try:
            description = await self._pc.createAnswer()
            await self._pc.setLocalDescription(description)
        except Exception as e:
            raise BadOffer(f"the offer cannot be answered: {_first_line(e)}") from e
        return ask_for_fec(str(self._pc.localDescription.sdp))

    async def add_candidates(self, candidates: Sequence[IceCandidate]) -> None:
        """Add trickled candidates.

        Raises:
            BadOffer: naming one that is malformed or unusable.
        """
        parsed = []
        for item in candidates:
            text = item.candidate.removeprefix("a=").removeprefix("candidate:").strip()
            if not text:
                # Browsers end the candidates of each media section. aiortc can only end all of them, so none is ended: a
                # connection that never comes about is given up after a time anyway.
                continue
            if item.sdp_mid is None and item.sdp_mline_index is None:
                raise BadOffer("candidate without sdp_mid or sdp_mline_index")
            try:
                candidate = candidate_from_sdp(text)
                if not candidate.ip.endswith(".local"):  # browsers hide addresses behind such names
                    ip_address(candidate.ip)
            except Exception as e:
                raise BadOffer(f"bad candidate {text[:80]!r}") from e
            candidate.sdpMid = item.sdp_mid
            candidate.sdpMLineIndex = item.sdp_mline_index
            parsed.append(candidate)
        # At once, because a name ending in .local takes up to a second to resolve.
        results = await asyncio.gather(*(self._pc.addIceCandidate(c) for c in parsed), return_exceptions=True)
        for candidate, result in zip(parsed, results, strict=True):
            if isinstance(result, Exception):
                raise BadOffer(f"bad candidate at {candidate.ip[:60]!r}: {_first_line(result)}")

    def send(self, text: str) -> bool:
        """Send a message; ``False`` when the channel is not open or its reader is too far behind."""
        channel = self._channel
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > MAX_UNSENT_BYTES:
            return False
        try:
            channel.send(text)
        except Exception as e:  # it closed between the check and the call
            logger.debug(f"data channel: {e}")
            return False
        return True

    async def flush(self, timeout_s: float) -> None:
        """Wait until the audio and the messages that are queued have left, but no longer than ``timeout_s``."""
        if not self.connected:
            return
        await self.track.drain(timeout_s)
        until = asyncio.get_running_loop().time() + timeout_s
        while self.channel_open and self._channel is not None and self._channel.bufferedAmount:
            if asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End the connection and everything that belongs to it. Safe to call twice."""
        self._closing = True
        self.track.stop()
        try:
            await asyncio.wait_for(self._pc.close(), _CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.warning("a peer connection did not close in time")
        self._pc.remove_all_listeners()
        if self._channel is not None:
            self._channel.remove_all_listeners()

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            return  # one channel is enough; a second one is left alone
        self._channel = channel
        channel.on("message", self._on_channel_message)
        if channel.readyState == "open":
            self._on_channel()
        else:
            channel.on("open", self._on_channel)

    def _on_channel_message(self, message: str | bytes) -> None:
        if not self._closing:
            self._on_message(message)

    def _state_changed(self) -> None:
        state = self._pc.connectionState
        if self._closing or state == self._state or state not in ("connected", "failed", "closed"):
            return
        self._state = state
        if state == "connected":
            aiortc_private.shorten_receiving(self._audio.receiver, self._on_packet)
        self._on_state(state)


def _check_bundle(offer: SessionDescription) -> None:
    """Raise ``BadOffer`` where the offer's BUNDLE group (RFC 9143) begins with a section that is not there: aiortc would put
    nothing in the place of the transport of all others, and trip over it in a task of its own."""
    mids = {media.rtp.muxId for media in offer.media if media.kind in ("audio", "video", "application")}
    for group in offer.group:
        if group.semantic == "BUNDLE" and group.items and group.items[0] not in mids:
            raise BadOffer(f"the offer bundles with a section {str(group.items[0])[:20]!r} that it does not have")


def ask_for_fec(sdp: str) -> str:
    """``sdp`` with the wish for Opus packets that hold copies of the ones before them (in-band FEC: RFC 7587, section 6.1).

    aiortc gives Opus no parameters, and without this one browsers never send such copies, however many packets are lost.
    """
    lines = sdp.split("\r\n")
    for at in range(len(lines) - 1, -1, -1):
        found = _OPUS.fullmatch(lines[at])
        if found is not None and not any(line.startswith(f"a=fmtp:{found[1]} ") for line in lines):
            lines.insert(at + 1, f"a=fmtp:{found[1]} minptime=10;useinbandfec=1")
    return "\r\n".join(lines)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
