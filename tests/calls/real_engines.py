"""The three engines of configs/gpu.yaml on tiny random weights, launched by a server from a file of settings."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.running_server import ROOT, RunningServer

BIN = ROOT / ".venv-engines-test" / "bin"
OFFLINE = {"OMP_NUM_THREADS": "1", "NO_TORCH_COMPILE": "1", "HF_HUB_OFFLINE": "1"}
SLOTS = 2
MODEL_LEN = 32_768
_VALUE = re.compile(r"^(kyutai_\w+)(?:\{([^}]*)\})? (\S+)$", re.M)


def write_models(folder: Path) -> None:
    """Writes ``stt``, ``tts`` and ``qwen`` into ``folder``, in the file formats of the real ones."""
    for name, *arguments in (("stt",), ("tts",), ("qwen", "speakable")):
        command = [str(BIN / "python"), "-m", f"tests.engines.tiny_{name}", str(folder / name), *arguments]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **OFFLINE}, check=True, capture_output=True, timeout=300)


def write_settings(folder: Path, models: Path) -> Path:
    """A file of settings like configs/gpu.yaml; returns it."""
    common = {"model": "none", "slots": SLOTS, "device": "cpu", "dtype": "float32", "front_ends": 1}
    (folder / "stt.yaml").write_text(yaml.safe_dump(common))
    (folder / "tts.yaml").write_text(yaml.safe_dump(common | {"default_voice": "ben.wav", "wait": 0}))

    def speech(kind: str) -> dict[str, Any]:
        command = [str(BIN / "python"), "-m", "engines.kyutai", kind, "--config", "{config}"]
        env = {**OFFLINE, "PYTHONPATH": "{root}"}
        launch = {"command": command, "config": str(folder / f"{kind}.yaml"), "env": env}
        return {"url": "http://127.0.0.1:0", "model": str(models / kind), "launch": launch}

    serve = [str(BIN / "transformers"), "serve", "{model}", "--device", "cpu", "--host", "{host}", "--port", "{port}"]
    mind = {
        "url": "http://127.0.0.1:0",
        "ready": "/health",
        "model": str(models / "qwen"),
        "launch": {"command": serve, "env": OFFLINE},
    }
    settings = {
        "stt": {"engine": "kyutai", "kyutai": {"fallback": "pocketsphinx"}, "pocketsphinx": {"workers": 1}},
        # A token of this model is a letter.
        "llm": {
            "engine": "vllm",
            "max_model_len": MODEL_LEN,
            "vllm": {"dialect": "plain", "model": str(models / "qwen")},
        },
        "tts": {"engine": "kyutai"},
        "options": {"max_tokens": {"default": 60, "max": 12_000}},
        "silence": {"ask_after_s": 0},
        # What is tested is not how fast four processes share this machine.
        "faults": {"stt_timeout_s": 20, "llm_timeout_s": 20, "llm_gap_timeout_s": 20, "tts_timeout_s": 20},
        "engines": {"llm": mind, "stt": speech("stt"), "tts": speech("tts")},
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return file


class Engines:
    """What the engines of a running server say of themselves."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server

    def processes(self) -> dict[str, dict[str, Any]]:
        """By name, as ``/status`` has them."""
        return {process["name"]: process for process in self.server.get("/status")["processes"]}

    def stage(self, stage: str) -> dict[str, Any]:
        """The detail of a stage's engine, as ``/status`` has it."""
        return next(engine["detail"] for engine in self.server.get("/status")["engines"] if engine["stage"] == stage)

    def process(self, name: str) -> psutil.Process:
        """The engine itself, behind its keeper."""
        (engine,) = psutil.Process(self.processes()[name]["pid"]).children()
        return engine

    def metric(self, name: str, metric: str, **labels: str) -> float:
        """The sum of a metric's values over all labels but those that are given, from the engine itself."""
        text = httpx.get(f"{self.processes()[name]['url']}/metrics", timeout=20, trust_env=False).text
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(float(m[3]) for m in _VALUE.finditer(text) if m[1] == metric and wanted <= set((m[2] or "").split(",")))
