"""The settings that the benchmarks of latency, turns and barge-in share, and their hash, which stands in each result."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.settings.load import load_settings, masked
from pipeline.settings.tree import Settings

SETTINGS_FILE = Path(__file__).with_name("settings.yaml")
HASHED = ("turns", "vad", "webrtc")
"""The sections that decide when a turn begins and ends, and when it is heard."""


def bench_settings(**sections: Any) -> Settings:
    """``bench/settings.yaml`` over the defaults, and ``sections`` over that; the environment has no say.

    Raises:
        SettingsError: naming the file, the key, and what is allowed.
    """
    return load_settings(SETTINGS_FILE, env={}, overrides=sections, dotenv=None)


@cache
def settings_hash() -> str:
    """SHA-256 of the resolved sections ``HASHED`` and the level, in hexadecimal: results with the same one can be compared."""
    settings = masked(bench_settings())
    hashed = {name: settings[name] for name in HASHED} | {"level": settings["tutor"]["level"]}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
