"""``python -m bench NAME [--quick] [--json FILE]``: every claim of speed, one command each, beside a peer in the same run."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.machine import describe, split_cores
from pipeline.log import import_quietly
from web.talk.errors import TalkError

BENCHES = {
    "latency": "bench.latency",
    "connections": "bench.connections",
    "load": "bench.load",
    "faults": "bench.faults",
    "net": "bench.net",
    "guided": "bench.guided",
    "grammar": "bench.grammar",
    "turns": "bench.turns",
    "barge": "bench.barge",
    "engine": "bench.engine",
    "narrowband": "bench.narrowband",
    "abuse": "bench.abuse",
}
"""Modules with ``async def run(quick, server_cores)``, which gives figures, peer, ratios and, where it judges, checks."""


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark, print its result; 1 where one of its own checks fails."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHES), metavar="NAME", help=" or ".join(sorted(BENCHES)))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; the same peer, speech and settings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result, with every single turn, to FILE")
    parser.add_argument(
        "--spoken", action="store_true", help="grammar: also what the recogniser heard of learners and of flite"
    )
    parser.add_argument("--set", type=Path, metavar="FILE", help="grammar: sentences of another set, M2 or JSON lines")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="engine: where the models run; cpu where nothing is said")
    options = parser.parse_args(arguments)
    if options.spoken and options.name != "grammar":
        parser.error(f"--spoken belongs to grammar, not to {options.name}")
    if options.set is not None and options.name != "grammar":
        parser.error(f"--set belongs to grammar, not to {options.name}")
    if options.device is not None and options.name != "engine":
        parser.error(f"--device belongs to engine, not to {options.name}")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: the folder does not exist")

    machine = describe()  # before the run: its own load is not the machine's
    server_cores, client_cores = split_cores(sorted(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, set(client_cores))
    machine["server_cores"], machine["client_cores"] = len(server_cores), len(client_cores)
    import_quietly()
    try:
        extra: dict[str, Any] = {"spoken": True} if options.spoken else {}
        extra |= {"other_set": options.set} if options.set is not None else {}
        extra |= {"device": options.device} if options.device is not None else {}
        found = _run(importlib.import_module(BENCHES[options.name]).run(options.quick, server_cores, **extra))
    except KeyboardInterrupt:
        return 130
    except (TalkError, RuntimeError, OSError) as e:
        print(f"bench {options.name}: {str(e) or repr(e)}", file=sys.stderr)
        return 1
    result = {"bench": options.name, "quick": options.quick, **found, "machine": machine}
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary(result), indent=1))
    failed = [name for name, entry in result.get("checks", {}).items() if not entry["ok"]]
    for name in failed:
        entry = result["checks"][name]
        print(f"bench {options.name}: {name} is {entry['value']}, the limit is {entry['limit']}", file=sys.stderr)
    return 1 if failed else 0


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """``result`` without the single turns."""
    kept = (
        "bench",
        "quick",
        "settings_hash",
        "figures",
        "peer",
        "ratios",
        "ratios_ci95",
        "checks",
        "input",
        "machine",
    )
    return {key: result[key] for key in kept if key in result}


def _run(work: Any) -> dict[str, Any]:
    try:
        import uvloop
    except ImportError:
        return dict(asyncio.run(work))
    return dict(uvloop.run(work))


if __name__ == "__main__":
    raise SystemExit(main())
