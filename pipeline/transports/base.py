"""What a call asks of a transport, whichever door it came through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from pipecat.processors.frame_processor import FrameProcessor

from pipeline.messages import ClientMessage, ServerMessage
from pipeline.transports.timing import CaptureClock, PlayoutLedger

CommandHandler = Callable[[ClientMessage], Awaitable[None]]
LostHandler = Callable[[str], Awaitable[None]]


class CallTransport(Protocol):
    """Media and messages of one connection of one client."""

    door: str
    """Which door it came through, as the record and the metrics name it."""
    speaks_rtvi: bool
    """Whether the client expects RTVI; then the call adds pipecat's RTVI processor and ``send`` uses its server messages."""
    capture: CaptureClock
    """Fed by the transport with every packet's arrival. An ``InputAudioRawFrame`` carries its end position, in seconds of media
    time, as ``frame.metadata["capture_end_s"]``."""
    playout: PlayoutLedger
    """Fed by the transport with every chunk that leaves and every playout report of the client."""
    on_command: CommandHandler | None
    """Set by the call: receives every client message but ``ping`` and ``playout``, which the transport handles itself."""
    on_lost: LostHandler | None
    """Set by the call: called once with a reason when the client is gone (closed, or silent for the detach time)."""
    lost_reason: str | None
    """Why the client is gone, once it is: a client may go before the call has set ``on_lost``."""
    on_ready: Callable[[], Awaitable[None]] | None
    """Set by the call: called once when the client can hear (media connected, and RTVI ready where it speaks it)."""

    def input(self) -> FrameProcessor:
        """The processor that stands first in the pipeline."""
        ...

    def output(self) -> FrameProcessor:
        """The processor that sends audio. It clears all unsent audio on an ``InterruptionFrame``."""
        ...

    def hold(self) -> None:
        """Let no more of the tutor's voice be heard, at once and without losing a sample of it; twice is once."""
        ...

    def resume(self) -> None:
        """Go on with the very next sample after ``hold``. An ``InterruptionFrame`` drops what was held and ends the hold."""
        ...

    async def send(self, message: ServerMessage) -> None:
        """Send a message now. Never raises for a client that is gone."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection after what was sent has left. Safe to call twice."""
        ...
