"""``python -m evals.server``: hold conversations with a running server over its RTVI door, in pipecat's harness.

It is what ``pipecat eval run`` does, without that command's own requirements: the scenarios are pipecat's, and the whole server
is in it, from the door to the voices.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

from loguru import logger
from pipecat.evals.results import EvalScriptResult, EvalSimulationResult
from pipecat.evals.scenario import EvalScenarioFile
from pipecat.evals.session import EvalSession, EvalSessionParams

CALLS = Path(__file__).resolve().parent / "calls"


def door(url: str, *, level: str | None = None, lesson: str | None = None, token: str | None = None) -> str:
    """The address of the RTVI door of the server at ``url`` (http or https), with what the call is to be."""
    parts = urlsplit(url)
    query = urlencode({k: v for k, v in {"level": level, "lesson": lesson, "token": token}.items() if v is not None})
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/ws/rtvi", query, ""))


async def hold(path: Path, url: str, folder: Path) -> list[EvalScriptResult | EvalSimulationResult]:
    """Hold every conversation of a file with the server whose RTVI door is at ``url``; what came of them.

    Traces, and in speech a recording of both voices, are left in ``folder``.
    """
    results = []
    for scenario in EvalScenarioFile.load(path):
        name = scenario.name.replace("/", "_")
        record = str(folder / f"{name}.wav") if scenario.bot_audio else None
        params = EvalSessionParams(record_path=record, cache_dir=str(folder))
        result = await EvalSession.from_scenario(scenario, url, params=params).run()
        (folder / f"{name}.log").write_text("\n".join(result.debug_log or []) + "\n", encoding="utf-8")
        results.append(result)
        print(f"{'pass' if result.passed else 'FAIL'}  {scenario.name}", flush=True)
        for failure in getattr(result, "failures", None) or []:
            print(f"      {failure.event_name}: {' '.join(failure.reason.split())}", flush=True)
        if error := getattr(result, "error", None):
            print(f"      {error}", flush=True)
    return results


def main() -> None:
    """Exit with 1 where a conversation failed."""
    parser = argparse.ArgumentParser(prog="python -m evals.server", description=__doc__)
    parser.add_argument("scenarios", nargs="*", type=Path, help="files of scenarios; by default those of evals/calls")
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="where the server is")
    parser.add_argument("--token", help="the server's token, where it has one")
    parser.add_argument("--level", default="beginner", help="of the learner")
    parser.add_argument("--lesson", default="introductions", help="what the call is about")
    parser.add_argument("--logs", type=Path, help="where traces and recordings are left")
    wanted = parser.parse_args()
    logger.remove()
    folder = wanted.logs or Path(tempfile.mkdtemp(prefix="parley-evals-"))
    folder.mkdir(parents=True, exist_ok=True)
    url = door(wanted.url, level=wanted.level, lesson=wanted.lesson, token=wanted.token)

    async def all_files() -> list[EvalScriptResult | EvalSimulationResult]:
        return [r for path in wanted.scenarios or sorted(CALLS.glob("*.yaml")) for r in await hold(path, url, folder)]

    results = asyncio.run(all_files())
    failed = sum(not r.passed for r in results)
    print(f"{len(results) - failed} of {len(results)} passed; logs are in {folder}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
