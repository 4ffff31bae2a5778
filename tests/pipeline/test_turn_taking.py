"""Which strategies a call has, as the settings of its session say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy, TurnAnalyzerUserTurnStopStrategy

from bench.fakes import fake_engines
from pipeline.session import Session
from pipeline.sessions import SessionManager
from pipeline.settings.tree import Settings, TurnSettings
from pipeline.transports.websocket import WebSocketTransport
from pipeline.turn_start import VerdictTurnStart
from pipeline.turn_stop import PatientTurnStop
from pipeline.turn_taking import make_aggregators, make_speculation, make_start, turn_settings


class Sink:
    async def send_json(self, data: dict[str, Any]) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    manager = SessionManager(Settings(data_dir=tmp_path), engines=fake_engines())
    await manager.start()
    yield await manager.create(door="websocket")
    await manager.close()


async def stopped() -> bool:
    return True


def strategies(session: Session) -> tuple[Any, Any]:
    """What starts and what stops the learner's turns."""
    models = session.services.models
    vad = models.vad(session.services.settings.vad)
    start = make_start(session, WebSocketTransport(Sink(), extras=True), vad, stopped)
    user, _ = make_aggregators(session, vad, start, None)
    (stop,) = user._params.user_turn_strategies.stop  # type: ignore[attr-defined]
    return start, stop


@pytest.mark.parametrize(
    ("turns", "start", "stop"),
    [
        (
            TurnSettings(end="stock", barge_in="stock", smart_turn=False),
            VADUserTurnStartStrategy,
            SpeechTimeoutUserTurnStopStrategy,
        ),
        (
            TurnSettings(end="stock", barge_in="stock", smart_turn=True),
            VADUserTurnStartStrategy,
            TurnAnalyzerUserTurnStopStrategy,
        ),
        (TurnSettings(end="patient", barge_in="verdict"), VerdictTurnStart, PatientTurnStop),
        (TurnSettings(end="stock", barge_in="verdict", smart_turn=False), VerdictTurnStart, SpeechTimeoutUserTurnStopStrategy),
    ],
)
async def test_the_strategies_are_those_of_the_settings(session: Session, turns: TurnSettings, start: type, stop: type) -> None:
    session.call_state.turns = turns
    assert [type(strategy) for strategy in strategies(session)] == [start, stop]


async def test_a_session_may_have_other_turns_than_the_server(session: Session) -> None:
    assert turn_settings(session) is session.services.settings.turns
    session.call_state.turns = TurnSettings(stop_timeout_s=9.0)
    assert turn_settings(session).stop_timeout_s == 9.0


async def test_the_recognisers_pauses_are_told_to_the_patient(session: Session) -> None:
    session.call_state.turns = TurnSettings(end="stock", barge_in="stock", smart_turn=False)
    strategies(session)
    assert session.call_state.on_pause is None
    session.call_state.turns = TurnSettings(end="patient")
    _, stop = strategies(session)
    assert session.call_state.on_pause == stop.pause_expected


@pytest.mark.parametrize(
    ("turns", "state", "speculates"),
    [
        ({"end": "patient", "speculate": True}, {}, True),
        ({"end": "patient", "speculate": False}, {}, False),
        ({"end": "stock", "speculate": True}, {}, False),
        ({"end": "patient", "speculate": True}, {"answers": False}, False),
        ({"end": "patient", "speculate": True}, {"interruptible": False}, False),
    ],
)
async def test_only_what_is_sure_to_want_an_answer_is_answered_early(
    session: Session, turns: dict[str, Any], state: dict[str, bool], speculates: bool
) -> None:
    session.call_state.turns = TurnSettings(**turns)
    for name, value in state.items():
        setattr(session.call_state, name, value)
    llm: Any = session.services.engines["llm"].create(session.call_state)
    gate, speculation = make_speculation(session, llm)
    assert (gate is not None, speculation is not None) == (speculates, speculates)
