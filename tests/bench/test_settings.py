"""The settings file that several benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench import settings
from bench.settings import SETTINGS_FILE, bench_settings, settings_hash
from pipeline.settings.load import SettingsError
from pipeline.settings.tree import Settings


def test_the_file_is_read_over_the_defaults_and_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_VAD__STOP_S", "1.5")
    found = bench_settings()
    written = yaml.safe_load(SETTINGS_FILE.read_text(encoding="utf-8"))
    assert {name: found.model_dump()[section][name] for section in written for name in written[section]} == {
        name: value for section in written.values() for name, value in section.items()
    }
    assert found.vad == Settings().vad
    assert found.webrtc == Settings().webrtc


def test_a_bench_may_set_what_is_its_own() -> None:
    assert bench_settings(tutor={"greet": False}).tutor.greet is False
    assert bench_settings(tutor={"greet": False}).turns == bench_settings().turns


def test_the_hash_changes_with_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_hash()
    assert len(before) == 64
    other = tmp_path / "settings.yaml"
    other.write_text("turns:\n  patience: 1.7\n")
    monkeypatch.setattr(settings, "SETTINGS_FILE", other)
    settings_hash.cache_clear()
    try:
        assert settings_hash() != before
    finally:
        settings_hash.cache_clear()


def test_a_wrong_key_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "settings.yaml"
    other.write_text("turns:\n  patiense: 1.7\n")
    monkeypatch.setattr(settings, "SETTINGS_FILE", other)
    with pytest.raises(SettingsError, match="patiense"):
        bench_settings()
