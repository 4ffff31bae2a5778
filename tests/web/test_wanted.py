"""What a client asks for in the address of its socket, and what it gets where that cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.fakes import fake_engines
from pipeline.engine import AtCapacity
from pipeline.sessions import SessionManager
from pipeline.settings.tree import OptionSettings, Settings
from web.doors.wanted import Wanted

RANGES = OptionSettings()


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[SessionManager]:
    settings = Settings(data_dir=tmp_path)
    settings.limits.max_calls = 1
    manager = SessionManager(settings, engines=fake_engines())
    await manager.start()
    yield manager
    await manager.close()


def test_an_empty_address_wants_what_is_usual() -> None:
    wanted = Wanted({}, RANGES)
    assert (wanted.level, wanted.lesson, wanted.record, wanted.options) == (None, None, True, {})


@pytest.mark.parametrize(("text", "record"), [("0", False), ("False", False), ("no", False), ("1", True), ("later", True)])
def test_a_recording_can_be_declined(text: str, record: bool) -> None:
    assert Wanted({"record": text}, RANGES).record is record


async def test_a_session_is_as_it_is_wanted(sessions: SessionManager) -> None:
    wanted = Wanted({"level": "advanced", "lesson": "directions", "speech_rate": "0.9"}, RANGES)
    session = await wanted.create(sessions, "rtvi")
    assert (session.record.level, session.record.lesson, session.record.door) == ("advanced", "directions", "rtvi")
    assert session.call_state.options.speech_rate == 0.9
    assert wanted.notices == []


async def test_what_there_is_not_is_told_and_the_usual_given(sessions: SessionManager) -> None:
    wanted = Wanted({"level": "x" * 500, "lesson": "there is none", "speech_rate": "fast"}, RANGES)
    assert wanted.notices == [], "a session that is taken up again is as it was"
    session = await wanted.create(sessions, "websocket")
    level, rate, lesson = wanted.notices
    assert level.startswith("level: 'xxx")
    assert len(level) < 150
    assert rate.startswith("speech_rate")
    assert lesson.startswith("lesson: ")
    assert "there is none" in lesson
    usual = Settings()
    assert (session.record.level, session.record.lesson) == (usual.tutor.level, usual.tutor.lesson)


async def test_there_may_be_no_place(sessions: SessionManager) -> None:
    await Wanted({}, RANGES).create(sessions, "websocket")
    with pytest.raises(AtCapacity):
        await Wanted({"lesson": "there is none"}, RANGES).create(sessions, "websocket")
