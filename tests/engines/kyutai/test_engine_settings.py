"""The settings of an engine: what they become, and that each error is one line that says what is allowed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from engines.kyutai.link.host import listeners
from engines.kyutai.settings import SettingsError, SttSettings, TtsSettings, read_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "engine.yaml"
    path.write_text(text)
    return path


def test_slots_make_their_own_buckets(tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, "model: m\nslots: 48"), SttSettings).sizes == [1, 2, 4, 8, 16, 32, 48]
    assert read_settings(written(tmp_path, "model: m\nslots: 1"), SttSettings).sizes == [1]
    many = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 150]
    assert read_settings(written(tmp_path, "model: m\nslots: 150"), SttSettings).sizes == many
    assert read_settings(written(tmp_path, "model: m\nslots: 8\nbuckets: [8, 2, 2]"), TtsSettings).sizes == [2, 8]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slots: 4", "model: Field required"),
        ("model: m\nslot: 4", "slot: there is no such setting; there are: model, "),
        ("model: m\nslots: many", "slots: Input should be a valid integer"),
        ("model: m\nslots: 8\nbuckets: [2, 4]", r"buckets: sizes from 1 to slots \(8\)"),
        ("model: m\ndevice: tpu", "device: "),
        ("model: m\nkeys: [1]", r"keys\.0: "),
        ("- model", "a map of settings is wanted"),
        ("model: [", "not YAML, line 1"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=f"^{path}: .*{says}") as error:
        read_settings(path, SttSettings)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: No such file"):
        read_settings(tmp_path / "none.yaml", SttSettings)


def test_the_page_of_the_engines_has_every_setting() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "engines.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {*SttSettings.model_fields, *TtsSettings.model_fields} <= listed


def run(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engines.kyutai", "stt", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_ends_with_the_line(tmp_path: Path) -> None:
    done = run(written(tmp_path, "model: m\nslots: 0"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "slots: " in done.stderr


def test_a_port_in_use_ends_it_too(tmp_path: Path) -> None:
    (taken,) = listeners("127.0.0.1", 0, 1)
    port = taken.getsockname()[1]
    done = run(written(tmp_path, f"model: m\nport: {port}"))
    taken.close()
    assert done.returncode == 1
    assert done.stderr == f"127.0.0.1:{port}: Address already in use\n"
