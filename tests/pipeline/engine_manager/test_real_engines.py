"""Parley's own speech engines on tiny weights, started as the settings launch them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipeline.engine_manager.launch import launches, with_addresses
from pipeline.engine_manager.manager import EngineManager
from pipeline.settings.load import load_settings

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-engines-test" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="the engines' environment was left out (ENGINES=0)")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NO_TORCH_COMPILE": "1"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("stt", "tts"):
        command = [str(PYTHON), "-m", f"tests.engines.tiny_{kind}", str(folder / kind)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, check=True, capture_output=True, timeout=300)
    return folder


async def test_the_engines_are_launched_by_the_settings_and_come_back_when_they_die(models: Path, tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text("model: none\nslots: 2\ndevice: cpu\ndtype: float32\nfront_ends: 1\n")
    env = "{PYTHONPATH: '{root}', OMP_NUM_THREADS: '1', NO_TORCH_COMPILE: '1'}"
    lines = [f"data_dir: {tmp_path}/data", "stt: {engine: kyutai}", "tts: {engine: kyutai}", "engines:"]
    for kind in ("stt", "tts"):
        command = f"['{PYTHON}', -m, engines.kyutai, {kind}, --config, '{{config}}']"
        launch = f"{{command: {command}, config: {tmp_path}/engine.yaml, env: {env}}}"
        lines.append(f"  {kind}: {{url: 'http://127.0.0.1:0', model: {models}/{kind}, launch: {launch}}}")
    (tmp_path / "own.yaml").write_text("\n".join(lines))
    settings = with_addresses(load_settings(tmp_path / "own.yaml", env={}, dotenv=None))
    manager = EngineManager(launches(settings))
    try:
        await manager.start()
        assert manager.missing() is None
        assert settings.stt.kyutai.url.startswith("ws://127.0.0.1:")
        keepers = [psutil.Process(s.pid) for s in manager.statuses()]
        everything = [child for keeper in keepers for child in (keeper, *keeper.children(recursive=True))]
        assert len(everything) >= 6, "a keeper, an engine and its front-end, twice"
        (engine,) = keepers[1].children()
        engine.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 120
        while not (manager.statuses()[1].restarts == 1 and manager.ready):
            assert time.monotonic() < deadline, manager.missing()
            await asyncio.sleep(0.1)
        assert manager.statuses()[0].restarts == 0
        everything += [child for s in manager.statuses() for child in psutil.Process(s.pid).children(recursive=True)]
    finally:
        await manager.close()
    _, alive = psutil.wait_procs(everything, timeout=20)
    assert not alive
