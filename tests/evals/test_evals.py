"""The scripted conversations: valid for pipecat's loader, and held with a tutor from end to end."""

from __future__ import annotations

import asyncio
import json
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipecat.evals.scenario import EvalScenarioFile, EvalScriptScenario
from pipecat.evals.suite import EvalManifest, EvalSuite

from agent.lessons import load_lessons
from agent.record import LEVELS
from agent.tutor import FREE_TALK
from evals.__main__ import SUITE, judged
from evals.judge import judge
from tests.pipeline.llm.fake_vllm import MODEL, Script, serving

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "evals" / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_file_is_valid_and_says_what_it_judges(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        file = EvalScenarioFile.load(path)
    assert file.name == path.stem
    for scenario in file:
        assert scenario.judge["factory"] == "evals.judge.judge"
        if isinstance(scenario, EvalScriptScenario):
            last = scenario.turns[-1].expect
            assert any(e.eval or e.text_contains or e.text_excludes for e in last), scenario.name


def test_suite_holds_every_file_and_enough_of_them() -> None:
    runs = EvalManifest.load(SUITE).runs
    assert {run.scenario_path for run in runs} == set(FILES)
    assert all(run.loaded is not None for run in runs)
    assert len({run.scenario for run in runs}) >= 12


def test_tutors_of_the_suite_are_such_as_there_are() -> None:
    bodies = [entry["runner_body"]["data"] for entry in yaml.safe_load(SUITE.read_text(encoding="utf-8"))["suite"]]
    assert {body["level"] for body in bodies} == set(LEVELS)
    assert {body["lesson"] for body in bodies} <= {*load_lessons(), FREE_TALK}


async def test_judge_is_the_first_model_of_its_server() -> None:
    async with serving() as server:
        service = await asyncio.to_thread(judge, {"url": server.url})
        assert service._settings.model == MODEL
        assert judge({"url": server.url, "model": "other"})._settings.model == "other"


async def test_conversation_is_held_and_judged_by_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness, the tutor's process and a server: what is asked for comes, and what is wrong is noticed."""
    (tmp_path / "talk.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "talk",
                "scenarios": [
                    {
                        "name": name,
                        "turns": [
                            {"expect": [{"event": "llm_response", "text_contains": "Welcome"}]},
                            {
                                "user": "I like tea.",
                                "expect": [{"event": "llm_response", "text_contains": wanted, "within_ms": 8000}],
                            },
                        ],
                    }
                    for name, wanted in (("good", "You like tea"), ("bad", "You like coffee"))
                ],
            }
        )
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    body = {"level": "advanced", "lesson": "ordering_food"}
    suite_file = tmp_path / "suite.yaml"
    suite_file.write_text(
        yaml.safe_dump(
            {
                "base_port": port,
                "concurrency": 1,
                "scenarios_dir": ".",
                "suite": [{"bot": "talk.yaml", "scenarios": ["talk"], "runner_body": {"data": body}}],
            }
        )
    )

    def answer(request: dict[str, Any]) -> str:
        return "You like tea, I hear." if "tea" in request["messages"][-1]["content"] else "Welcome to the lesson."

    async with serving() as server:
        server.script = Script(answer=answer)
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("PARLEY_LLM__ENGINE", "vllm")
        monkeypatch.setenv("PARLEY_LLM__VLLM__URL", server.url)
        suite = EvalSuite(EvalManifest.load(suite_file, spawn="{python} -m evals.tutor --port {port}"))
        failed = await judged(suite, tmp_path)
        assert [run.scenario for run in failed] == ["talk/bad"], [(r.error, r.result) for r in suite.runs]
        lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
        assert len([json.loads(line) for line in lines]) == 2
        system = server.requests[0]["messages"][0]["content"]
        assert "(CEFR C1 to C2)" in system
        assert load_lessons()["ordering_food"].goal in system
        assert server.requests[1]["messages"][-1]["content"] == "<learner>I like tea.</learner>"
