"""Engines that the server starts as processes: what the routes say of them, and that they end with the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline.engine_manager.launch import launches, with_addresses
from pipeline.settings.load import SettingsError
from tests.web.test_rest import assert_problem
from web.app import create_app

LITTLE = str(Path(__file__).parents[1] / "pipeline" / "engine_manager" / "little_engine.py")


def little(*options: str, **more: Any) -> dict[str, Any]:
    command = ["{python}", LITTLE, "{port}", *options]
    return {"url": "http://127.0.0.1:0", "launch": {"command": command, "stop_timeout_s": 3, **more}}


def processes(body: dict[str, Any]) -> dict[str, str]:
    return {p["name"]: p["state"] for p in body["processes"]}


async def test_an_engine_is_started_waited_for_unloaded_and_loaded_again(serve, tmp_path):
    server = await serve(
        ready=False, tts={"engine": "kyutai"}, processes={"tts": little("load_s=2"), "side": {**little(gpu=1), "gpu_gb": 4.9}}
    )
    async with server.http() as http:
        first = (await http.get("/status")).json()
        assert set(processes(first)) == {"tts", "side"}
        assert first["ready"] is False
        problem = assert_problem(await http.get("/ready"), 503, "loading")
        assert "engine tts is st" in problem["detail"]
        await server.until(lambda: server.state.ready, "both are ready")
        status = (await http.get("/status")).json()
        assert processes(status) == {"tts": "ready", "side": "ready"}
        tts = status["processes"][0]
        assert tts["url"].startswith("http://127.0.0.1:")
        assert not tts["url"].endswith(":0")
        assert tts["restarts"] == 0
        assert (await http.get("/ready")).status_code == 200
        shown = (await http.get("/gpu")).json()["engines"]
        assert shown == [{"name": "side", "gpu": 1, "memory_gb": 4.9, "state": "ready"}]

        unloaded = (await http.post("/models/unload", json={"engine": "tts"})).json()
        assert processes(unloaded) == {"tts": "stopped", "side": "ready"}
        assert not psutil.pid_exists(tts["pid"])
        assert_problem(await http.get("/ready"), 503, "unloaded")
        loaded = (await http.post("/models/load", json={"engine": "tts"})).json()
        assert processes(loaded) == {"tts": "ready", "side": "ready"}
        assert loaded["ready"] is True
        pids = [p["pid"] for p in loaded["processes"]]
    await server.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_an_engine_that_cannot_load_is_told_and_tried_again_on_demand(serve, tmp_path):
    tried = tmp_path / "tried"
    code = f"import pathlib, sys; p = pathlib.Path({str(tried)!r}); p.open('a').write('.'); sys.exit('Error: no weights')"
    bad = {"url": "http://127.0.0.1:0", "launch": {"command": ["{python}", "-c", code]}}
    server = await serve(ready=False, processes={"side": bad})
    await server.until(lambda: server.state.load_error, "it is given up")
    async with server.http() as http:
        detail = assert_problem(await http.get("/ready"), 503, "load-failed")["detail"]
        assert detail == "loading failed: engine side: it ended with exit code 1: Error: no weights"
        assert tried.read_text() == "..."
        failed = assert_problem(await http.post("/models/load"), 503, "load-failed")
        assert failed["detail"] == "side: it ended with exit code 1: Error: no weights"
        assert tried.read_text() == "......"


async def test_without_preload_nothing_is_started_until_it_is_asked_for(serve):
    server = await serve(ready=False, models={"preload": False}, processes={"side": little()})
    await server.until(lambda: server.state.sessions.missing(), "the server has started")
    async with server.http() as http:
        assert processes((await http.get("/status")).json()) == {"side": "stopped"}
        assert_problem(await http.post("/session"), 503, "unloaded")
        assert (await http.post("/models/load")).json()["ready"] is True
        assert (await http.get("/ready")).status_code == 200


def test_a_command_that_is_not_there_keeps_the_server_from_starting_with_one_line(make_settings):
    engine = {"url": "http://127.0.0.1:0", "launch": {"command": ["{engines_python}x", "-m", "engines.kyutai"]}}
    with pytest.raises(SettingsError) as raised:
        create_app(make_settings(engines={"side": engine}))
    assert "engines.side.launch.command: '" in str(raised.value)
    assert "is no program of this machine; `make engines` installs the speech engines" in str(raised.value)


def test_what_a_stage_is_told_and_what_an_engine_gets(make_settings, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("slots: 4\nmodel: default/model\n")
    command = ["{python}", "--config", "{config}", "--share={gpu_share}", "{slots}", "{models_dir}"]
    stt = {
        "url": "http://127.0.0.1:0",
        "model": "kyutai/other",
        "values": {"slots": 9},
        "gpu_share": 0.3,
        "launch": {"command": command, "config": str(own), "gpu": 1, "env": {"A": "b"}},
    }
    elsewhere = {"url": "http://10.0.0.1:8089"}
    wanted = make_settings(
        stt={"engine": "kyutai"}, tts={"engine": "kyutai"}, engines={"stt": stt, "tts": elsewhere, "llm": little()}
    )
    settings = with_addresses(wanted)
    assert settings.tts.kyutai.url == "ws://10.0.0.1:8089"
    assert wanted.stt.kyutai.url == "", "what was read stays as it was"
    (one,) = launches(settings, {"PATH": "/bin", "PARLEY_AUTH__TOKEN": "secret", "HF_TOKEN": "kept"})
    assert one.name == "stt", "the scripted tutor needs no llm"
    host, port = one.address
    assert settings.stt.kyutai.url == f"ws://127.0.0.1:{port}"
    models = tmp_path / "data" / "models"
    file = tmp_path / "data" / "engines" / "stt.yaml"
    assert one.command == (sys.executable, "--config", str(file), "--share=0.3", "9", str(models))
    assert yaml.safe_load(file.read_text()) == {"slots": 9, "model": "kyutai/other", "host": host, "port": port}
    assert one.env == {
        "PATH": "/bin",
        "HF_TOKEN": "kept",
        "HF_HUB_CACHE": str(models),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "1",
        "A": "b",
    }


def test_a_stage_with_an_address_of_its_own_needs_no_engine_of_ours(make_settings):
    own = {"engine": "kyutai", "kyutai": {"url": "ws://10.0.0.1:1"}}
    settings = with_addresses(make_settings(tts=own, engines={"tts": little()}))
    assert launches(settings) == []
    assert settings.tts.kyutai.url == "ws://10.0.0.1:1"


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"launch": {"command": ["{python}", "{modell}"]}}, "nothing is known for {modell}; set engines.side.values.modell"),
        ({"launch": {"command": ["{python}", "{model}"]}}, "nothing is known for {model}; set engines.side.model"),
        ({"launch": {"command": ["{python}"], "config": "nowhere.yaml"}}, "launch.config: nowhere.yaml cannot be read"),
    ],
)
def test_what_is_missing_for_a_command_is_named(make_settings, engine, said):
    settings = make_settings(engines={"side": {"url": "http://127.0.0.1:0", **engine}})
    with pytest.raises(SettingsError) as raised:
        launches(with_addresses(settings))
    assert said in str(raised.value)
