"""Engines are found by the names of their files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

import pipeline.tts
from pipeline.registry import UnknownEngine, make_engines
from pipeline.settings.engines import engine_names, read_options
from pipeline.settings.load import SettingsError, load_settings
from pipeline.settings.tree import LLMSettings, Settings, STTSettings, TTSSettings

ONLY_TTS = frozenset({"stt", "llm"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files count as those of ``pipeline/tts``."""
    monkeypatch.setattr(pipeline.tts, "__path__", [*pipeline.tts.__path__, str(tmp_path)])
    return tmp_path


def test_every_default_is_an_engine() -> None:
    assert STTSettings().engine in engine_names("stt")
    assert LLMSettings().engine in engine_names("llm")
    assert TTSSettings().engine in engine_names("tts")
    assert {stage: (engine.name, engine.stage) for stage, engine in make_engines(Settings()).items()} == {
        "stt": ("pocketsphinx", "stt"),
        "llm": ("scripted", "llm"),
        "tts": ("espeak", "tts"),
    }


def test_a_file_is_an_engine_if_it_makes_one(folder: Path) -> None:
    before = engine_names("tts")
    (folder / "helper.py").write_text('"""Says that def make_engine(x) would make it one."""\n')
    assert engine_names("tts") == before
    (folder / "sung.py").write_text("raise RuntimeError('imported before it was chosen')\ndef make_engine(settings): ...\n")
    assert engine_names("tts") == sorted([*before, "sung"])
    assert load_settings(env={"PARLEY_TTS__ENGINE": "sung"}, dotenv=None).tts.engine == "sung"


def test_an_unknown_engine_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownEngine, match=r"^tts\.engine: unknown engine 'sung'; there are: .*espeak"):
        make_engines(Settings(tts=TTSSettings(engine="sung")), skip=ONLY_TTS)
    with pytest.raises(SettingsError, match=r"^PARLEY_TTS__ENGINE: must be one of: .*espeak.*, not 'sung'"):
        load_settings(env={"PARLEY_TTS__ENGINE": "sung"}, dotenv=None)


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "hummed.py").write_text("import humming.birds\ndef make_engine(settings): ...\n")
    monkeypatch.setitem(sys.modules, "humming", None)
    with pytest.raises(UnknownEngine, match=r"^tts\.engine: hummed needs the Python module humming"):
        make_engines(Settings(tts=TTSSettings(engine="hummed")), skip=ONLY_TTS)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: int
    parts: list[int] = []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "tts.options.rate: field required"),
        ({"rate": 1, "rat": 2}, "tts.options.rat: extra inputs are not permitted"),
        ({"rate": 1, "parts": [1, "x"]}, "tts.options.parts.1: input should be a valid integer"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], line: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_options(Options, options, "tts.options")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_right_options() -> None:
    assert read_options(Options, {"rate": 3}, "tts.options").rate == 3
