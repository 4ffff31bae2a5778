"""How a call takes turns: pipecat's aggregators and strategies, made as the session's settings say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.turns.user_start import BaseUserTurnStartStrategy, VADUserTurnStartStrategy
from pipecat.turns.user_stop import (
    BaseUserTurnStopStrategy,
    SpeechTimeoutUserTurnStopStrategy,
    TurnAnalyzerUserTurnStopStrategy,
)
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from agent.record import Level
from pipeline.pipecat_private import SharedSileroVAD
from pipeline.settings.tree import TurnSettings
from pipeline.speculation import HeldReply, Speculation
from pipeline.transports.base import CallTransport
from pipeline.turn_start import VerdictTurnStart
from pipeline.turns.barge import Parameters as BargeInParameters
from pipeline.turns.detector import Parameters

if TYPE_CHECKING:
    from pipeline.session import Session

PATIENCE: Mapping[Level, float] = {"beginner": 1.25, "intermediate": 1.0, "advanced": 0.9}
"""What waiting times are multiplied by: our own rule, beginners pause for longer."""


def turn_settings(session: Session) -> TurnSettings:
    """Those of the session, which its client may have asked for, or else the server's."""
    return session.call_state.turns or session.services.settings.turns


def make_speculation(session: Session, llm: FrameProcessor) -> tuple[HeldReply | None, Speculation | None]:
    """What begins answers before a turn is over, and the gate that holds them; ``None`` where that is not wanted."""
    services, turns, state = session.services, turn_settings(session), session.call_state
    # What nobody may want an answer to is not answered on suspicion either.
    if turns.end != "patient" or not turns.speculate or not state.answers or not state.interruptible:
        return None, None
    gate = HeldReply()
    return gate, Speculation(session.context, llm, gate, may=lambda: not services.headroom.low)


def make_start(
    session: Session, transport: CallTransport, vad: SharedSileroVAD, interrupt: Callable[[], Awaitable[bool]]
) -> BaseUserTurnStartStrategy:
    """What gives the learner the turn; ``interrupt`` stops the tutor."""
    turns, interrupts = turn_settings(session), session.call_state.interruptible
    if turns.barge_in == "stock":
        return VADUserTurnStartStrategy(enable_interruptions=interrupts)
    return VerdictTurnStart(
        vad,
        transport,
        BargeInParameters(verdict_s=turns.verdict_s),
        interrupt=interrupt,
        say_again=turns.end == "stock",
        interrupts=interrupts,
    )


def make_aggregators(
    session: Session, vad: SharedSileroVAD, start: BaseUserTurnStartStrategy, speculation: Speculation | None
) -> tuple[FrameProcessor, FrameProcessor]:
    """The user's aggregator, which holds the voice detector and decides on turns, and the assistant's."""
    turns = turn_settings(session)
    params = LLMUserAggregatorParams(
        vad_analyzer=vad,
        # Only the voice starts a turn: words that come late belong to the turn before.
        user_turn_strategies=UserTurnStrategies(start=[start], stop=[_make_stop(session, turns, vad, speculation)]),
        user_turn_stop_timeout=turns.stop_timeout_s,
        empty_user_turn=None,
    )
    pair = LLMContextAggregatorPair(session.context, user_params=params)
    return pair.user(), pair.assistant()


def _make_stop(
    session: Session, turns: TurnSettings, vad: SharedSileroVAD, speculation: Speculation | None
) -> BaseUserTurnStopStrategy:
    models = session.services.models
    if turns.end == "stock":
        if turns.smart_turn:
            return TurnAnalyzerUserTurnStopStrategy(turn_analyzer=models.smart_turn(turns))
        return SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=turns.silence_s)
    # Here, so that a server without it does not load the recogniser's language model in this process.
    from pipeline.turn_stop import PatientTurnStop

    stop = PatientTurnStop(
        models.smart_turn(turns),
        Parameters(patience=turns.patience * PATIENCE[session.record.level], max_guesses=turns.max_guesses),
        vad=vad,
        speculation=speculation,
        expected=lambda: session.call_state.expected,
        pace=session.pace,
    )
    session.call_state.on_pause = stop.pause_expected
    return stop
