"""Tests that need PyTorch run in the speech engines' own environment: ``make test`` calls it for ``tests/engines/model``."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") is not None else ["model"]
