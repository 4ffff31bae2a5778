"""Variables of an earlier system: what they set, what wins over them, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings.aliases import ALIASES, notes
from pipeline.settings.describe import find
from pipeline.settings.load import SettingsError, load_settings, old_names

GPU = "stt: {engine: kyutai, kyutai: {url: 'ws://a:1'}}\nengines:\n" + "".join(
    f"  {name}: {{url: 'http://127.0.0.1:0', launch: {{command: [x]}}}}\n" for name in ("stt", "llm", "tts")
)
OLD = {
    "LLM_MODEL_NAME": "Qwen/Qwen2.5-7B-Instruct-AWQ",
    "LLM_MAX_MODEL_LEN": "4096",
    "LLM_GPU_MEMORY_UTILIZATION": "0.3",
    "ASR_MODEL_NAME": "kyutai/stt-2.6b-en",
    "ASR_SAMPLE_RATE": "24000",
    "ASR_WHISPER_FALLBACK_MODEL": "tiny.en",
    "ASR_SILENCE_RMS_THRESHOLD": "0.01",
    "ASR_SILENCE_PEAK_THRESHOLD": "0.1",
    "ASR_FILTER_NOISE_TRANSCRIPTS": "false",
    "ASR_NOISE_MAX_DURATION_S": "0.5",
    "TTS_MODEL_NAME": "/models/voice",
    "TTS_SAMPLE_RATE": "24000",
    "PRELOAD_MODELS": "false",
    "MODELS_CACHE_DIR": "/models",
    "HOST": "127.0.0.2",
    "PORT": "8123",
}


def load(tmp_path: Path, yaml: str, env: dict[str, str], dotenv: Path | None = None):
    (tmp_path / "own.yaml").write_text(yaml)
    return load_settings(tmp_path / "own.yaml", env=env, dotenv=dotenv)


def test_every_old_name_sets_what_it_used_to(tmp_path: Path) -> None:
    assert set(OLD) == {alias.name for alias in ALIASES}
    s = load(tmp_path, GPU, OLD)
    llm = s.engines["llm"]
    assert (llm.model, llm.values, llm.gpu_share) == (OLD["LLM_MODEL_NAME"], {"max_model_len": 4096}, 0.3)
    assert s.llm.max_model_len == 4096
    assert (s.engines["stt"].model, s.engines["tts"].model) == ("kyutai/stt-2.6b-en", "/models/voice")
    noise = s.stt.kyutai.noise
    assert (noise.rms, noise.peak, noise.enabled, noise.max_duration_s) == (0.01, 0.1, False, 0.5)
    assert s.stt.whisper.model == "tiny.en"
    assert (s.models.preload, s.models.cache_dir) == (False, Path("/models"))
    assert (s.server.host, s.server.port) == ("127.0.0.2", 8123)


def test_names_of_the_tree_win_wherever_they_stand(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PARLEY_SERVER__PORT=8000\nLLM_MAX_MODEL_LEN=1000\n")
    s = load(tmp_path, "server: {port: 7000}", {"PORT": "8123", "PARLEY_LLM__MAX_MODEL_LEN": "2000"}, dotenv)
    assert s.server.port == 8000
    assert s.llm.max_model_len == 2000
    assert load(tmp_path, "server: {port: 7000}", {"PORT": "8123"}).server.port == 8123, "but not those of the file"


def test_a_name_without_an_engine_to_mean_makes_none(tmp_path: Path) -> None:
    s = load(tmp_path, "", {"LLM_MODEL_NAME": "a/b", "ASR_MODEL_NAME": "a/c", "TTS_MODEL_NAME": "a/d"})
    assert s.engines == {}
    assert load(tmp_path, "stt: {engine: pocketsphinx}", {"ASR_MODEL_NAME": "x"}).stt.whisper.model != "x"


@pytest.mark.parametrize("value", ["laptop", "some.machine.example"])
def test_a_shells_host_is_not_taken(tmp_path: Path, value: str) -> None:
    assert load(tmp_path, "", {"HOST": value}).server.host == "127.0.0.1"
    assert notes({"HOST": value}, {}) == ["HOST is an old name and changes nothing: it is no address"]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PORT": "many"}, "PORT: must be a whole number from 0 to 65535, not 'many'"),
        ({"PRELOAD_MODELS": "perhaps"}, "PRELOAD_MODELS: must be true or false, not 'perhaps'"),
        (
            {"LLM_GPU_MEMORY_UTILIZATION": "35"},
            "LLM_GPU_MEMORY_UTILIZATION: must be a number above 0 and at most 1 or null, not '35'",
        ),
    ],
)
def test_a_wrong_value_names_the_variable_that_was_written(tmp_path: Path, env: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, GPU, env)
    assert str(raised.value) == said


def test_every_alias_leads_to_a_key() -> None:
    for alias in ALIASES:
        for key in alias.keys:
            assert find(tuple(key.split("."))) is not None, key


def test_what_is_said_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OLD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLM_MAX_MODEL_LEN", "4096")
    monkeypatch.setenv("TTS_SAMPLE_RATE", "24000")
    monkeypatch.setenv("PORT", "")
    (tmp_path / "own.yaml").write_text(GPU)
    assert old_names(tmp_path / "own.yaml", None) == [
        "LLM_MAX_MODEL_LEN is an old name: it was taken for llm.max_model_len and engines.llm.values.max_model_len",
        "TTS_SAMPLE_RATE is an old name and changes nothing: the engine's own rate is used",
    ]
