"""``run_agent.py models``: the weights that a configuration wants, as they lie on the disk, and their download."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pipeline.engine_manager.cache import Weights, lies, wanted
from pipeline.engine_manager.download import DownloadFailed, download, python_with_hub
from pipeline.engine_manager.launch import models_dir
from pipeline.log import setup_logging
from pipeline.settings.load import load_settings
from pipeline.settings.tree import LogSettings

LINE_EVERY_S = 5.0
"""Between two lines of progress where nobody watches a terminal."""


def show(config: Path | None) -> int:
    """Print what is there; exit code 1 where something is missing."""
    models, wants = _wants(config)
    if not wants:
        print("this configuration needs no weights from elsewhere")
        return 0
    print(f"under {models}:")
    states = [(weights, *lies(weights, models)) for weights in wants]
    for weights, how, size in states:
        files = f" ({', '.join(weights.files)})" if weights.files else ""
        print(f"  {how:<10} {size / 1e9:6.2f} GB  {weights.repo}{files}, for {weights.owner}")
    return 0 if all(how == "there" for _, how, _ in states) else 1


def fetch(config: Path | None) -> int:
    """Download what is missing; exit code 1 where something could not be had. Whatever is there already costs a look."""
    models, wants = _wants(config)
    if not wants:
        print("this configuration needs no weights from elsewhere")
        return 0
    try:
        python = python_with_hub()
    except DownloadFailed as e:
        print(f"parley: {e}", file=sys.stderr)
        return 1
    failed = 0
    for weights in wants:
        try:
            _fetch(weights, models, python)
        except DownloadFailed as e:
            failed += 1
            print(f"parley: {e}", file=sys.stderr)
    return 1 if failed else 0


def _wants(config: Path | None) -> tuple[Path, list[Weights]]:
    setup_logging(LogSettings(level="WARNING"))
    settings = load_settings(config)
    return models_dir(settings), wanted(settings)


def _fetch(weights: Weights, models: Path, python: str) -> None:
    console = Console()
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(weights.repo)
            download(weights, models, lambda done, total, _: bars.update(task, completed=done, total=total), python=python)
    else:
        told_at = time.monotonic()

        def told(done: int, total: int, file: str) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= LINE_EVERY_S:
                told_at = time.monotonic()
                print(f"{weights.repo}: {done / 1e9:.2f} of {total / 1e9:.2f} GB ({file})", flush=True)

        download(weights, models, told, python=python)
    print(f"{weights.repo}: there, {lies(weights, models)[1] / 1e9:.2f} GB", flush=True)
