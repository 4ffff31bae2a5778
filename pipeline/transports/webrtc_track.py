"""The tutor's audio over WebRTC: a track that paces 20 ms Opus packets and knows what of which utterance has left."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from pipeline.messages import OUTPUT_RATE_HZ
from pipeline.transports import opus_library
from pipeline.transports.opus import ENCODER_FRAME_SAMPLES, FRAME_S, PacketEncoder, Pcm16
from pipeline.transports.rtp import OPUS_CLOCK_HZ, SentPositions
from pipeline.transports.timing import PlayoutLedger

AHEAD_SAMPLES = int(0.04 * OUTPUT_RATE_HZ)
"""How far a writer may be ahead of the packets: little, so that a barge-in cuts at once; more than a frame, so that a busy
event loop does not run it dry."""
MAX_LATE_S = 2 * FRAME_S
"""Up to this much lateness is made up for by sending sooner: a receiver's jitter buffer covers it, so nothing is heard."""
FADE_SAMPLES = int(0.005 * OUTPUT_RATE_HZ)
WRITE_TIMEOUT_S = 1.0
_SILENCE: Pcm16 = np.zeros(ENCODER_FRAME_SAMPLES, np.int16)
_VOICED_PEAK = 32  # about -60 dBFS
_FRAME_TICKS = int(FRAME_S * OPUS_CLOCK_HZ)


class Pacer:
    """When each packet is due, and which media time it carries. Pure: monotonic seconds are passed in.

    After a stall the packets that were missed are never sent in a burst: media time skips them, as real silence, so what
    follows is played without the delay that the receiver would otherwise build up.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._media = -_FRAME_TICKS

    def wait_s(self, now: float) -> float:
        """Seconds until the next packet is due; 0 when it is due or late."""
        return 0.0 if self._due is None else max(0.0, self._due - now)

    def late_s(self, now: float) -> float:
        """Seconds since the next packet was due; 0 where it is not, and for the first."""
        return 0.0 if self._due is None else max(0.0, now - self._due)

    def take(self, now: float) -> int:
        """The next packet leaves: its media time in 48 kHz ticks, from 0."""
        self._media += _FRAME_TICKS
        if self._due is None:
            self._due = now
        elif now - self._due > MAX_LATE_S:
            missed = int((now - self._due) / FRAME_S)
            self._media += missed * _FRAME_TICKS
            self._due += missed * FRAME_S
        self._due += FRAME_S
        return self._media


@dataclass(slots=True)
class _Piece:
    samples: Pcm16
    utterance: str | None


class OutputTrack(MediaStreamTrack):
    """24 kHz mono pcm16 in, Opus packets out, silence where there is nothing to say.

    It gives encoded packets, which are sent as they are: no resampling, no thread hop, and no pure-Python loudness measure over
    every frame. ``aiortc_private.shorten_sending`` takes them, or aiortc's own sender through ``recv``.

    Args:
        ledger: Told of every sample that leaves. Its rate must be 24 kHz.
        bitrate_bps: Opus bit rate.
        complexity: Opus effort, 0 to 10.
        sent_timestamp: The sender's last RTP timestamp (``aiortc_private.last_sent_timestamp``), ``None`` while there is none.
        clock: Monotonic seconds.
    """

    kind = "audio"

    def __init__(
        self,
        ledger: PlayoutLedger,
        *,
        bitrate_bps: int,
        complexity: int,
        sent_timestamp: Callable[[], int | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if ledger.rate_hz != OUTPUT_RATE_HZ:
            raise ValueError(f"the ledger counts at {ledger.rate_hz} Hz, the track sends {OUTPUT_RATE_HZ} Hz")
        self.sent_timestamp = sent_timestamp
        self._ledger = ledger
        self._encoder: PacketEncoder | None = opus_library.make_encoder(bitrate_bps, complexity)
        self._clock = clock
        self._pacer = Pacer()
        self._positions = SentPositions(OUTPUT_RATE_HZ)
        self._last_media: int | None = None
        self._origin_at: float | None = None  # when media time was 0
        self._queue: deque[_Piece] = deque()
        self._queued = 0  # samples
        self._generation = 0  # counts the calls of clear()
        self._moved = asyncio.Event()
        self._held = False
        self._fade_out = 0  # samples that still leave, ever quieter, after a hold
        self._fade_in = 0  # samples that leave ever louder after it

    async def recv(self) -> Packet[Any]:
        """The next packet, when it is due."""
        self._learn_origin()
        wait_s = self.wait_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        media, payload = self.take()
        packet = Packet(payload)
        packet.pts = media
        packet.time_base = Fraction(1, OPUS_CLOCK_HZ)
        return packet

    def wait_s(self) -> float:
        """Seconds until the next packet is due; 0 when it is due or late."""
        return self._pacer.wait_s(self._clock())

    def take(self) -> tuple[int, bytes]:
        """The packet that is due: its media time in 48 kHz ticks, from 0, and its Opus payload.

        Raises:
            MediaStreamError: the track has ended.
        """
        if self.readyState != "live":
            raise MediaStreamError
        assert self._encoder is not None  # as long as the track is live
        now = self._clock()
        self._learn_origin()
        if self._ledger.on_late is not None:
            self._ledger.on_late(self._pacer.late_s(now), now)
        media = self._pacer.take(now)
        self._positions.sent(media, self._ledger.position, ENCODER_FRAME_SAMPLES)
        if self._origin_at is None:
            self._origin_at = now - media / OPUS_CLOCK_HZ
        # By media time, which is how it is played, and not by when the timer fired.
        due_at = self._origin_at + media / OPUS_CLOCK_HZ
        frame = self._next_frame(now, due_at)
        if self._ledger.on_audio is not None:
            self._ledger.on_audio(frame.tobytes(), due_at)
        if self._ledger.on_played is not None:
            self._ledger.on_played(frame.tobytes(), due_at)
        payload = self._encoder.encode_silence() if frame is _SILENCE else self._encoder.encode(frame)
        self._last_media = media
        self._moved.set()
        return media, payload

    async def write(self, pcm: bytes, utterance: str | None) -> bool:
        """Queue pcm16 of ``utterance`` (``None``: audio that is nobody's speech); waits until at most 40 ms are ahead.

        Returns ``False`` when the audio was dropped: interrupted while it waited, the track ended, or nobody fetches packets.
        """
        samples = np.frombuffer(pcm, np.int16)
        generation = self._generation
        while self._queued and self._queued + len(samples) > AHEAD_SAMPLES:
            self._moved.clear()
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):  # unlike wait_for it makes no task of each wait
                    await self._moved.wait()
            except TimeoutError:
                if self._held:
                    continue
                return False
            if generation != self._generation or self.readyState != "live":
                return False
        if self.readyState != "live":
            return False
        self._queue.append(_Piece(samples, utterance))
        self._queued += len(samples)
        return True

    def clear(self) -> None:
        """Drop what has not left; the next 5 ms of it fade out, since a cut in mid-wave clicks. Ends a hold."""
        self._generation += 1
        self._moved.set()
        faded_already = self._held and not self._fade_out
        self._held, self._fade_out, self._fade_in = False, 0, 0
        if faded_already:
            self._queue.clear()
            self._queued = 0
        if not self._queue:
            return
        first = self._queue[0]
        samples = first.samples[:FADE_SAMPLES]
        faded = (samples * np.linspace(1.0, 0.0, len(samples), dtype=np.float32)).astype(np.int16)
        self._queue.clear()
        self._queue.append(_Piece(faded, first.utterance))
        self._queued = len(faded)

    def hold(self) -> None:
        """Send nothing but silence from the next packet on, after 5 ms in which what is due fades out; nothing is dropped."""
        if not self._held:
            self._held, self._fade_out = True, FADE_SAMPLES

    def resume(self) -> None:
        """Go on with the very next sample, fading in."""
        if self._held:
            # What had not begun to fade out goes on as if nothing had been.
            self._fade_in = FADE_SAMPLES - self._fade_out
            self._held, self._fade_out = False, 0
            self._moved.set()

    async def drain(self, timeout_s: float) -> None:
        """Wait until everything queued has left, but no longer than ``timeout_s``."""
        until = self._clock() + timeout_s
        while self._queued and self.readyState == "live" and (left_s := until - self._clock()) > 0:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), left_s)
            except TimeoutError:
                return

    def position_of(self, rtp_timestamp: int) -> int | None:
        """The ledger's position of the sample with this RTP timestamp, or ``None`` where it was never sent."""
        self._learn_origin()
        return self._positions.position_of(rtp_timestamp)

    def stop(self) -> None:
        """End the track; writers are let go."""
        super().stop()
        # Now, not when the garbage collector comes by: the encoder holds an idle thread for each core.
        self._encoder = None
        self._moved.set()

    def _learn_origin(self) -> None:
        # Asked between two packets: the sender's last timestamp belongs to the last packet that was handed out.
        if self._positions.origin is None and self._last_media is not None:
            timestamp = self.sent_timestamp()
            if timestamp is not None:
                self._positions.origin = (timestamp - self._last_media) & 0xFFFFFFFF

    def _next_frame(self, now: float, due_at: float) -> Pcm16:
        if not self._queue or (self._held and not self._fade_out):
            self._ledger.sent(ENCODER_FRAME_SAMPLES, now, speech=False, voiced=False, due_at=due_at)
            return _SILENCE
        frame = np.zeros(ENCODER_FRAME_SAMPLES, np.int16)
        filled = 0
        while self._queue and filled < len(frame) and (not self._held or self._fade_out):
            piece = self._queue[0]
            part = piece.samples[: min(len(frame) - filled, self._fade_out or len(frame))]
            if len(part) == len(piece.samples):
                self._queue.popleft()
            else:
                piece.samples = piece.samples[len(part) :]
            part = self._faded(part)
            frame[filled : filled + len(part)] = part
            filled += len(part)
            self._queued -= len(part)
            if piece.utterance is not None:
                self._ledger.begin(piece.utterance)
            voiced = bool(len(part)) and (int(part.max()) > _VOICED_PEAK or int(part.min()) < -_VOICED_PEAK)
            self._ledger.sent(len(part), now, speech=piece.utterance is not None, voiced=voiced, due_at=due_at)
        if filled < len(frame):
            self._ledger.sent(len(frame) - filled, now, speech=False, voiced=False, due_at=due_at)
        return frame

    def _faded(self, part: Pcm16) -> Pcm16:
        """``part`` as it leaves at the beginning of a hold or at its end."""
        if self._fade_out:
            gain = np.arange(self._fade_out, self._fade_out - len(part), -1, dtype=np.float32) / FADE_SAMPLES
            self._fade_out -= len(part)
        elif self._fade_in:
            gain = np.ones(len(part), np.float32)
            count = min(len(part), self._fade_in)
            begun = FADE_SAMPLES - self._fade_in
            gain[:count] = np.arange(begun, begun + count, dtype=np.float32) / FADE_SAMPLES
            self._fade_in -= count
        else:
            return part
        return (part * gain).astype(np.int16)
