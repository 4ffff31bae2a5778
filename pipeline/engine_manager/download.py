"""Downloads weights, with progress, in whichever Python here has huggingface_hub."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.engine_manager import fetch
from pipeline.engine_manager.cache import Weights
from pipeline.engine_manager.launch import engines_python

Told = Callable[[int, int, str], None]
"""Bytes that are there, bytes in all, and the file that is being fetched."""


class DownloadFailed(RuntimeError):
    """Weights could not be fetched; one line that names them and what to do."""


def python_with_hub() -> str:
    """A Python that has huggingface_hub.

    Raises:
        DownloadFailed: none has.
    """
    if importlib.util.find_spec("huggingface_hub") is not None:
        return sys.executable
    if Path(engines_python()).is_file():
        return engines_python()
    raise DownloadFailed(
        "downloading needs the package huggingface_hub: `make engines` installs it for the engines of configs/gpu.yaml, "
        "and pip install -r requirements/cpu.txt for those of configs/cpu.yaml"
    )


def download(
    weights: Weights, models: Path, told: Told, *, python: str | None = None, env: Mapping[str, str] | None = None
) -> Path:
    """Fetch ``weights`` into ``models`` and return the folder that holds them. Goes on with what an earlier try left.

    ``told`` is called now and then.

    Raises:
        DownloadFailed: naming the repository, and whether the hub could not be reached, or refused.
    """
    models.mkdir(parents=True, exist_ok=True)
    order = {"repo": weights.repo, "files": weights.files, "revision": weights.revision, "cache_dir": str(models)}
    command = [python or python_with_hub(), str(Path(fetch.__file__).resolve()), json.dumps(order)]
    total, folder, last = 0, None, ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(os.environ if env is None else env),
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said = _said(line)
                last = line.strip() or last
                if "error" in said:
                    raise DownloadFailed(_failure(weights, models, said["error"], said["kind"]))
                total = said.get("total", total)
                folder = said.get("folder", folder)
                if "done" in said:
                    told(said["done"], total, said["file"])
        except BaseException:
            process.terminate()
            raise
    if folder is None:
        raise DownloadFailed(f"{weights.repo}: the download ended with exit code {process.returncode}: {last[:300]}")
    return Path(folder)


def _said(line: str) -> dict[str, Any]:
    """A line of ``fetch.py``; what the library writes besides is no such line."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _failure(weights: Weights, models: Path, error: str, kind: str) -> str:
    match kind:
        case "offline":
            return (
                f"{weights.repo}: the hub cannot be reached ({error}): connect this machine, or copy the folder "
                f"{weights.folder(models)} from one that has it"
            )
        case "refused":
            return (
                f"{weights.repo}: the hub refused it ({error}): look whether the name is right and, where the repository "
                "is open to some only, set HF_TOKEN"
            )
    return f"{weights.repo}: {error}"
