"""Engines that are processes of their own, in the settings: what is read, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings.document import render_markdown
from pipeline.settings.load import SettingsError, load_settings


def load(tmp_path: Path, yaml: str, **env: str):
    file = tmp_path / "own.yaml"
    file.write_text(yaml)
    return load_settings(file, env=env, dotenv=None)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("{lanch: {}, url: 'http://a:1'}", "engines.stt.lanch: unknown key; did you mean 'launch'?"),
        ("{}", "engines.stt: the key 'url' is missing"),
        ("{url: 8090}", "engines.stt.url: must be text, not 8090"),
        ("{url: somewhere}", "engines.stt: url: must be an address with its port, such as http://127.0.0.1:8090"),
        ("{url: 'http://a:x'}", "engines.stt: url: must be an address with its port, such as http://127.0.0.1:8090"),
        ("{url: 'ftp://a:1'}", "engines.stt: url: must be an address with its port, such as http://127.0.0.1:8090"),
        ("{url: 'http://a:0'}", "engines.stt: url: port 0 is only for an engine with launch"),
        ("{url: 'http://a:1', ready: health}", "engines.stt: ready: must be a path, such as /ready"),
        ("{url: 'http://a:1', launch: {comand: [a]}}", "engines.stt.launch.comand: unknown key; did you mean 'command'?"),
        ("{url: 'http://a:1', launch: {command: serve}}", "engines.stt.launch.command: must be a list of text"),
        ("{url: 'http://a:1', gpu_gb: 1, gpu_share: 0.5}", "engines.stt: gpu_gb and gpu_share: allowed: one of the two"),
        ("{url: 'http://a:1', gpu_share: 2}", "engines.stt.gpu_share: must be a number above 0 and at most 1 or null, not 2"),
        ("{url: 'http://a:1', weights: [{repo: x}]}", "engines.stt: weights: 'x' is no repository; allowed: owner/name"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, f"engines:\n  stt: {yaml}\n")
    assert f"own.yaml:2: {said}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_variables_reach_into_a_named_engine(tmp_path: Path) -> None:
    yaml = "engines: {stt: {url: 'http://a:1', launch: {command: [serve]}}}"
    env = {"PARLEY_ENGINES__STT__URL": "http://b:2", "PARLEY_ENGINES__STT__LAUNCH__GPU": "1"}
    engine = load(tmp_path, yaml, **env).engines["stt"]
    assert (engine.url, engine.launch.gpu, engine.launch.command) == ("http://b:2", 1, ["serve"])
    with pytest.raises(SettingsError, match=r"PARLEY_ENGINES__STT__LAUNCH__GPU: must be a whole number"):
        load(tmp_path, yaml, PARLEY_ENGINES__STT__LAUNCH__GPU="first")
    with pytest.raises(SettingsError, match=r"PARLEY_ENGINES__STT__LAUNCH__GPUS: unknown setting"):
        load(tmp_path, yaml, PARLEY_ENGINES__STT__LAUNCH__GPUS="1")


def test_the_page_of_settings_has_a_table_for_what_stands_under_a_name() -> None:
    page = render_markdown()
    assert "## engines.NAME.launch" in page
    assert "| `command` | must be set | a list of text |" in page
