"""A call with an RTVI client over a WebSocket: the WebSocket transport with pipecat's RTVI processor in its pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pipeline.messages import Metrics, ServerMessage, TurnComplete, to_wire
from pipeline.transports.outbox import Sink
from pipeline.transports.rtvi_wire import as_rtvi, times_to_first
from pipeline.transports.websocket import WebSocketTransport

AHEAD_S = 0.1
"""How far ahead of its time the tutor's voice is sent. The client SDK's player cannot be emptied, so that what is in it will be
heard after an interruption: less than over the WebSocket door, and still enough for a network's jitter."""
READY_WITHIN_S = 10.0
"""A client that never sends its ``client-ready`` is not waited for any longer."""


class RtviTransport(WebSocketTransport):
    """A ``CallTransport`` whose sink takes whole messages of RTVI (``send_json``) and the tutor's pcm16 at 24 kHz.

    The tutor speaks first once the client was told ``bot-ready``. ``on_turn_over`` is called when a turn of the tutor's has
    ended.
    """

    speaks_rtvi = True

    def __init__(self, sink: Sink, *, max_audio_speed: float = 4.0) -> None:
        super().__init__(sink, door="rtvi", extras=True, client_holds=False, ahead_s=AHEAD_S, max_audio_speed=max_audio_speed)
        self._ready = asyncio.Event()
        self._metered = -1
        self.on_turn_over: Callable[[], None] | None = None

    async def until_ready(self) -> None:
        """Wait for the handshake."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._ready.wait()
        except TimeoutError:
            pass

    async def take_rtvi(self, message: dict[str, Any]) -> None:
        """Give a message of the client to the pipeline's RTVI processor."""
        await self._input.take_message(message)

    def post(self, message: dict[str, Any]) -> None:
        """Send a message of RTVI, in order with the audio."""
        if message.get("type") == "bot-ready":
            # They come from this side (``times_to_first``), which the pipeline does not know.
            message["data"].setdefault("capabilities", {})["metrics"] = True
            self._ready.set()
        super().post(message)

    def _queue(self, message: ServerMessage) -> None:
        self.post(as_rtvi(to_wire(message)))
        if isinstance(message, Metrics) and message.row.get("turn") != self._metered:
            times = times_to_first(message.row)
            if times is not None:
                self._metered = message.row["turn"]
                self.post(times)
        elif isinstance(message, TurnComplete) and self.on_turn_over is not None:
            self.on_turn_over()
