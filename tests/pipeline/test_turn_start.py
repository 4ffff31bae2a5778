"""A voice over the tutor's, as the strategy tells pipecat of it; a list of what it was told stands for the transport."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pipecat.frames.frames import BotStartedSpeakingFrame, VADUserStartedSpeakingFrame

from pipeline.pipecat_private import SharedSileroVAD, WindowListener
from pipeline.transports.base import CallTransport
from pipeline.turn_start import VerdictTurnStart
from pipeline.turns.barge import Parameters

WINDOW_S = 0.032
LOUD = b"\x00\x20" * 512


class Told:
    """What a strategy asks of its transport, and of the pipeline."""

    def __init__(self, *, interrupts: bool) -> None:
        self.asked: list[str] = []
        self.turns: asyncio.Queue[bool] = asyncio.Queue()
        self.listeners: list[WindowListener] = []
        vad = SimpleNamespace(on_window=self.listeners.append)
        transport = SimpleNamespace(
            playout=SimpleNamespace(on_played=None),
            hold=lambda: self.asked.append("hold"),
            resume=lambda: self.asked.append("resume"),
        )
        self.start = VerdictTurnStart(
            cast(SharedSileroVAD, vad),
            cast(CallTransport, transport),
            Parameters(verdict_s=0.3),
            interrupt=self._interrupt,
            say_again=False,
            interrupts=interrupts,
        )
        self.start.add_event_handler("on_user_turn_started", self._started)

    async def _interrupt(self) -> bool:
        self.asked.append("interrupt")
        return True

    async def _started(self, _strategy: Any, params: Any) -> None:
        self.turns.put_nowait(params.enable_interruptions)

    async def speak(self, windows: int) -> None:
        for _ in range(windows):
            self.listeners[0](0.95, LOUD)
            await asyncio.sleep(WINDOW_S)


@pytest.mark.parametrize("interrupts", [True, False])
async def test_a_voice_that_wants_the_turn_gets_it_and_holds_the_tutor_only_where_it_may(interrupts: bool) -> None:
    told = Told(interrupts=interrupts)
    await told.start.process_frame(BotStartedSpeakingFrame())
    await told.speak(6)
    await told.start.process_frame(VADUserStartedSpeakingFrame(start_secs=0.2))
    await told.speak(10)
    assert await asyncio.wait_for(told.turns.get(), 10) is interrupts
    assert told.asked == (["hold"] if interrupts else [])
    await told.start.cleanup()


@pytest.mark.parametrize("interrupts", [True, False])
async def test_a_cough_gets_no_turn_and_holds_the_tutor_only_where_it_may(interrupts: bool) -> None:
    told = Told(interrupts=interrupts)
    await told.start.process_frame(BotStartedSpeakingFrame())
    await told.speak(4)
    await asyncio.sleep(0.8)
    assert told.turns.empty()
    assert told.asked == (["hold", "resume"] if interrupts else [])
    await told.start.cleanup()
