"""What the engines' image runs: ``run.py stt|tts`` is one engine, ``run.py health|ready`` asks the one that runs here.

The engine's file is configs/engines/NAME.yaml; a variable ENGINE_SLOTS, ENGINE_PORT and so on goes before its key.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

PREFIX = "ENGINE_"
MADE = Path("/tmp/engine.yaml")


def settings(file: Path, env: dict[str, str]) -> dict[str, Any]:
    """The keys of ``file``, with those of the variables over them."""
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, value in env.items():
        if name.startswith(PREFIX) and value:
            content[name.removeprefix(PREFIX).lower()] = yaml.safe_load(value)
    return content


def answers(path: str) -> int:
    """0 where the engine of this container answers there."""
    port = yaml.safe_load(MADE.read_text(encoding="utf-8"))["port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=4) as answer:
            return 0 if answer.status == 200 else 1
    except OSError:
        return 1


def main(name: str) -> int:
    """Become the engine."""
    if name in ("health", "ready"):
        return answers(name)
    file = Path(__file__).parent / "configs" / "engines" / f"{name}.yaml"
    if not file.is_file():
        print(f"{name}: there is no such engine; there are: stt, tts", file=sys.stderr)
        return 2
    MADE.write_text(yaml.safe_dump(settings(file, dict(os.environ))), encoding="utf-8")
    return os.execv(sys.executable, [sys.executable, "-m", "engines.kyutai", name, "--config", str(MADE)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "stt"))
