"""``models``, and what ``check`` and ``serve`` say of engines that are processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.web.cli.test_commands import ROOT, RUN, one_line, run

LITTLE = str(ROOT / "tests" / "pipeline" / "engine_manager" / "little_engine.py")
FAKE_CARD = "#!/bin/sh\necho '0, NVIDIA GeForce RTX 4090, 24564, 400, 3, 41'\n"


def rows(done: subprocess.CompletedProcess[str], name: str) -> list[dict[str, str]]:
    return [row for row in json.loads(done.stdout)["checks"] if row["name"] == name]


def machine_with_a_card(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(FAKE_CARD)
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_the_configuration_for_a_gpu_fits_onto_a_card_of_24_gb(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "check",
        "--json",
        "--port",
        "0",
        "--config",
        str(ROOT / "configs/gpu.yaml"),
        env=machine_with_a_card(tmp_path),
    )
    (memory,) = rows(done, "GPU memory")
    assert memory["outcome"] == "ok"
    assert "llm 9.0 (share 0.35) + stt 6.1 (32 slots) + tts 4.9 (8 slots) = 20.0 of 23.8 GB" in memory["detail"]
    assert rows(done, "GPU") == []
    assert {row["detail"].split()[0] for name in ("llm", "stt", "tts") for row in rows(done, f"weights of {name}")} == {
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
        "kyutai/stt-1b-en_fr-candle",
        "kyutai/tts-1.6b-en_fr",
        "kyutai/tts-voices",
    }
    assert not (tmp_path / "data").exists(), "looking makes nothing"


def test_check_refuses_what_does_not_fit_and_says_what_to_change(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text((ROOT / "configs/gpu.yaml").read_text().replace("gpu_share: 0.35", "gpu_share: 0.6"))
    done = run(tmp_path, "check", "--json", "--config", str(config), env=machine_with_a_card(tmp_path))
    assert done.returncode == 1
    (memory,) = rows(done, "GPU memory")
    assert memory["outcome"] == "problem"
    assert "lower engines.llm.gpu_share to 0.49" in memory["detail"]


def test_check_without_a_card_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "--json", "--config", str(ROOT / "configs/gpu.yaml"), env={"PATH": str(tmp_path)})
    (card,) = rows(done, "GPU")
    assert (card["outcome"], card["detail"].split(";")[0]) == ("problem", "nvidia-smi is not installed")


def test_check_says_whether_somebody_listens_where_a_server_is_looked_for(tmp_path: Path) -> None:
    def looked(url: str, **more: str) -> tuple[str, str]:
        env = {"PARLEY_LLM__ENGINE": "vllm", "PARLEY_LLM__VLLM__URL": url, **more}
        (row,) = rows(run(tmp_path, "check", "--json", "--port", "0", env=env), "server of llm")
        return row["outcome"], row["detail"]

    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{there.getsockname()[1]}/v1"
        assert looked(url) == ("problem", f"llm.vllm.url: {url}: connection refused")
        standing_in = looked(url, PARLEY_LLM__FALLBACK="transformers")
        assert standing_in == ("note", f"llm.vllm.url: {url}: connection refused; transformers stands in")
        there.listen()
        assert looked(url) == ("ok", f"somebody listens at {url}")
    outcome, detail = looked("")
    assert (outcome, detail.partition(": no address")[0]) == ("problem", "llm.vllm.url")


def test_check_names_old_variables(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "--json", "--port", "0", env={"MODELS_CACHE_DIR": "/models"})
    assert [row["detail"] for row in rows(done, "old variable")] == [
        "MODELS_CACHE_DIR is an old name: it was taken for models.cache_dir"
    ]


def test_models_are_listed(tmp_path: Path) -> None:
    none = run(tmp_path, "models")
    assert (none.returncode, none.stdout) == (0, "this configuration needs no weights from elsewhere\n")
    some = run(tmp_path, "models", "list", "--config", str(ROOT / "configs/gpu.yaml"))
    assert some.returncode == 1, "they are not there"
    assert some.stdout.splitlines()[0] == f"under {tmp_path / 'data' / 'models'}:"
    assert re.search(r"missing +0\.00 GB  kyutai/tts-1\.6b-en_fr, for tts", some.stdout)
    assert "missing file" not in one_line(run(tmp_path, "models", "--config", "nowhere.yaml"))


@pytest.mark.skipif(sys.platform != "linux", reason="what dies with its parent, dies so on Linux")
def test_a_killed_server_leaves_no_engine_behind(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    command = json.dumps(["{python}", LITTLE, "{port}", "child=session", "load_s=1"])
    config.write_text(f"engines: {{side: {{url: 'http://127.0.0.1:0', launch: {{command: {command}}}}}}}\n")
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*RUN, "serve", "--port", "0", "--config", str(config)],
            env={**os.environ, "PARLEY_DATA_DIR": str(tmp_path / "data"), "TTS_SAMPLE_RATE": "24000"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 90
        while "engine side: ready after" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        text = log.read_text()
        assert "TTS_SAMPLE_RATE is an old name and changes nothing" in text
        url = re.search(r"engine side: starting at (\S+)", text)
        assert url is not None
        pids = [int(pid) for pid in httpx.get(f"{url[1]}/pids", trust_env=False).text.split()]
        started = psutil.Process(server.pid).children(recursive=True)
        assert set(pids) <= {child.pid for child in started}
        server.send_signal(signal.SIGKILL)
        server.wait()
        _, alive = psutil.wait_procs([child for child in started if child.pid in pids], timeout=30)
        assert not alive
    finally:
        server.kill()
