"""The files of their own that engines are given when they are launched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.engine_manager.cache import wanted
from pipeline.engine_manager.launch import launches, models_dir, with_addresses
from pipeline.settings.load import ROOT, SettingsError, load_settings
from pipeline.settings.tree import Settings

LAUNCH = "{command: ['{python}', '{config}'], config: FILE}"
OWN = f"tts: {{engine: kyutai}}\nengines: {{tts: {{url: 'http://127.0.0.1:0', launch: {LAUNCH}}}}}"


def settings(folder: Path, file: Path, text: str = OWN) -> Settings:
    (folder / "own.yaml").write_text(text.replace("FILE", str(file)))
    env = {"PARLEY_DATA_DIR": str(folder / "data")}
    return with_addresses(load_settings(folder / "own.yaml", env=env, dotenv=None))


def test_a_repository_of_voices_is_wanted_and_becomes_its_folder_where_it_was_downloaded(tmp_path: Path) -> None:
    made = settings(tmp_path, ROOT / "configs" / "engines" / "tts.yaml")
    assert [weights.repo for weights in wanted(made)] == ["kyutai/tts-1.6b-en_fr", "kyutai/tts-voices"]
    (launch,) = launches(made)
    own = Path(launch.command[1])
    assert yaml.safe_load(own.read_text())["voices"] == "hf://kyutai/tts-voices", "the engine fetches it"
    assert launch.env["HF_HUB_CACHE"] == str(models_dir(made))
    assert models_dir(made).is_dir()
    folder = models_dir(made) / "models--kyutai--tts-voices" / "snapshots" / "main"
    (folder / "expresso").mkdir(parents=True)
    (folder / "expresso" / "a.safetensors").write_bytes(b"")
    launches(made)
    assert yaml.safe_load(own.read_text())["voices"] == str(folder)


def test_a_folder_for_models_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = f"{OWN}\nmodels: {{cache_dir: '{tmp_path}/file/models'}}"
    with pytest.raises(SettingsError, match=r"file/models: cannot be made: not a directory"):
        launches(settings(tmp_path, ROOT / "configs" / "engines" / "tts.yaml", text))
