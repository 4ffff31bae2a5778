"""``python -m evals``: hold the scripted conversations with the language model of the settings, and have them judged."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import tempfile
from pathlib import Path

from loguru import logger
from pipecat.evals.suite import EvalManifest, EvalRun, EvalSuite

HERE = Path(__file__).resolve().parent
SUITE = HERE / "suite.yaml"


async def judged(suite: EvalSuite, folder: Path) -> list[EvalRun]:
    """Run the suite with its logs in ``folder``; the runs that failed."""
    suite.add_event_handler("on_update", _tell)
    await suite.run(folder, results_path=folder / "results.jsonl")
    return [run for run in suite.runs if run.result is None or not run.result.passed]


async def _tell(_suite: EvalSuite, run: EvalRun) -> None:
    if run.status != "done" or run.stopping:
        return
    passed = run.result is not None and run.result.passed
    print(f"{'pass' if passed else 'FAIL'}  {run.label:32} {run.scenario}", flush=True)
    for failure in getattr(run.result, "failures", None) or []:
        print(f"      {failure.event_name}: {' '.join(failure.reason.split())}", flush=True)
    if run.error:
        print(f"      {run.error}", flush=True)


def main() -> None:
    """Exit with 1 where a scenario failed."""
    parser = argparse.ArgumentParser(prog="python -m evals", description=__doc__)
    parser.add_argument("--config", type=Path, help="settings whose llm section is judged (PARLEY_… variables count, too)")
    parser.add_argument("--scenario", help="only this file, or scenario")
    parser.add_argument("--level", help="only conversations at this level, or of this lesson")
    parser.add_argument("--repeat", type=int, help="hold each conversation so many times")
    parser.add_argument("--concurrency", type=int, help="conversations at a time")
    parser.add_argument("--suite", type=Path, default=SUITE, help="another list of conversations")
    parser.add_argument("--logs", type=Path, help="where logs and results are left")
    wanted = parser.parse_args()
    spawn = "{python} -m evals.tutor --port {port}"
    if wanted.config is not None:
        spawn += f" --config {shlex.quote(str(wanted.config.resolve()))}"
    logger.remove()
    manifest = EvalManifest.load(wanted.suite, spawn=spawn, repeat=wanted.repeat, concurrency=wanted.concurrency)
    suite = EvalSuite(manifest)
    suite.filter(pattern=wanted.level, scenario=wanted.scenario)
    if not suite.runs:
        parser.error("no conversation is like that")
    folder = wanted.logs or Path(tempfile.mkdtemp(prefix="parley-evals-"))
    folder.mkdir(parents=True, exist_ok=True)
    failed = asyncio.run(judged(suite, folder))
    print(f"{len(suite.runs) - len(failed)} of {len(suite.runs)} passed; logs are in {folder}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
