"""The engines' image and the profile ``gpu`` agree with the engines, the settings and the budget of the card."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.engine_manager.launch import launches, with_addresses
from pipeline.settings.load import load_settings
from pipeline.settings.tree import Settings
from tests.deploy.test_deploy import substituted

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "engines" / "Dockerfile").read_text(encoding="utf-8")
RUN = ROOT / "deploy" / "engines" / "run.py"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    return {name: service for name, service in compose["services"].items() if "gpu" in service["profiles"]}


def settings_of(services: dict[str, Any]) -> Settings:
    env = substituted(services["parley-gpu"]["environment"], {"PARLEY_AUTH__TOKEN": "t" * 24})
    return load_settings(env={k: str(v) for k, v in env.items()}, dotenv=None)


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line.removeprefix("!").rstrip("/") for line in ignore if line.startswith("!")]
    copied = [source for line in DOCKERFILE.splitlines() if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert len(copied) >= 5
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source.rstrip("/") == a or source.startswith(f"{a}/") for a in allowed), source
    assert re.search(r"^USER (?!0|root)\d+:\d+$", DOCKERFILE, re.M)


def test_parley_finds_each_engine_where_it_listens(services: dict[str, Any]) -> None:
    settings = settings_of(services)
    for name, url in (("stt", settings.stt.kyutai.url), ("tts", settings.tts.kyutai.url)):
        own = yaml.safe_load((ROOT / "configs" / "engines" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert url == f"ws://{own['host']}:{own['port']}"
        assert services[name]["command"] == [name]
    llm = services["llm"]["command"]
    assert settings.llm.vllm.url == "http://127.0.0.1:8000"
    assert {"--host=127.0.0.1", "--port=8000"} <= set(llm)
    assert all(service["network_mode"] == "host" for service in services.values())


def test_the_containers_hold_what_the_configuration_launches(services: dict[str, Any]) -> None:
    """The profile and configs/gpu.yaml are the same system."""
    configured = load_settings(ROOT / "configs" / "gpu.yaml", env={}, dotenv=None)
    llm = configured.engines["llm"]
    command = [substituted(argument, {}) for argument in services["llm"]["command"]]
    assert f"--model={llm.model}" in command
    assert f"--gpu-memory-utilization={llm.gpu_share}" in command
    assert f"--max-model-len={llm.values['max_model_len']}" in command
    assert f"--max-num-seqs={llm.values['max_num_seqs']}" in command
    wanted = next(line for line in (ROOT / "requirements" / "vllm.txt").read_text().splitlines() if line.startswith("vllm=="))
    assert services["llm"]["image"].endswith(f":v{wanted.removeprefix('vllm==')}")
    assert settings_of(services).engines == {}, "in containers nothing is launched"
    assert launches(with_addresses(settings_of(services))) == []


def test_engines_start_one_after_the_other_and_parley_last(services: dict[str, Any]) -> None:
    after = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    assert after == {"llm": set(), "stt": {"llm"}, "tts": {"stt"}, "parley-gpu": {"llm", "stt", "tts"}}
    for name in ("llm", "stt", "tts"):
        assert services[name]["healthcheck"]["start_period"] == "30m"
        assert services[name]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
        assert "models:/models" in services[name]["volumes"]


def prepared(tmp_path: Path, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``run.py NAME`` with a module in the engine's place that shows what it is given."""
    root = tmp_path / "app"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "engines").symlink_to(ROOT / "configs" / "engines")
    (root / "engines" / "kyutai").mkdir(parents=True)
    show = "import sys, pathlib; print(sys.argv[1:3]); print(pathlib.Path(sys.argv[3]).read_text())"
    (root / "engines" / "kyutai" / "__main__.py").write_text(show)
    text = RUN.read_text().replace('Path("/tmp/engine.yaml")', f'Path("{tmp_path}/engine.yaml")')
    (root / "run.py").write_text(text)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ENGINE_")}
    return subprocess.run(
        [sys.executable, "run.py", name], cwd=root, env={**clean, **env}, capture_output=True, text=True, timeout=60
    )


def test_an_engines_file_is_made_ready(tmp_path: Path) -> None:
    done = prepared(tmp_path, "tts", ENGINE_SLOTS="4", ENGINE_HOST="0.0.0.0", ENGINE_N_Q="")
    assert done.returncode == 0, done.stderr
    first, rest = done.stdout.split("\n", 1)
    assert first == "['tts', '--config']"
    given = yaml.safe_load(rest)
    own = yaml.safe_load((ROOT / "configs" / "engines" / "tts.yaml").read_text(encoding="utf-8"))
    assert given == {**own, "slots": 4, "host": "0.0.0.0"}


def test_an_unknown_engine_is_one_line(tmp_path: Path) -> None:
    done = prepared(tmp_path, "llm")
    assert (done.returncode, done.stderr) == (2, "llm: there is no such engine; there are: stt, tts\n")


def test_the_check_of_the_container_asks_the_engine(tmp_path: Path) -> None:
    class Engine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    (tmp_path / "engine.yaml").write_text(f"port: {server.server_port}\n")
    try:
        assert prepared(tmp_path / "a", "health").returncode != 0, "it has not been started"
        assert answer(tmp_path, "health") == 0
        assert answer(tmp_path, "ready") == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert answer(tmp_path, "health") == 1


def answer(tmp_path: Path, what: str) -> int:
    text = RUN.read_text().replace('Path("/tmp/engine.yaml")', f'Path("{tmp_path}/engine.yaml")')
    return subprocess.run([sys.executable, "-c", text, what], capture_output=True, timeout=60).returncode


def test_every_key_of_the_engines_files_is_one_of_the_engines() -> None:
    from engines.kyutai.settings import SttSettings, TtsSettings

    for name, kind in (("stt", SttSettings), ("tts", TtsSettings)):
        own = yaml.safe_load((ROOT / "configs" / "engines" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert kind.model_validate(own).slots == own["slots"]
