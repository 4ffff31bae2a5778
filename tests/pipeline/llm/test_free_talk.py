"""Free talk is offered where the tutor can talk about anything, and only there."""

from __future__ import annotations

import pytest

from agent.tutor import FREE_TALK
from pipeline.lessons import call_lessons, offered_lessons
from pipeline.settings.load import SettingsError, load_settings
from pipeline.settings.tree import Settings

MIND = {"PARLEY_LLM__ENGINE": "vllm", "PARLEY_LLM__VLLM__URL": "http://127.0.0.1:8000"}
FIRST = {"PARLEY_TUTOR__LESSON": FREE_TALK}


def test_offered_last_and_only_without_a_script() -> None:
    scripted, free = call_lessons(Settings()), call_lessons(Settings.model_validate({"llm": {"engine": "vllm"}}))
    assert list(scripted) == list(offered_lessons(Settings().tutor))
    assert list(free) == [*scripted, FREE_TALK]


def test_call_may_begin_with_it_only_without_a_script() -> None:
    assert load_settings(env={**MIND, **FIRST}, dotenv=None).tutor.lesson == FREE_TALK
    with pytest.raises(SettingsError, match=r"PARLEY_TUTOR__LESSON: must be one of:"):
        load_settings(env=FIRST, dotenv=None)
