"""What ``check`` looks at of the engines that are processes of their own: programs, ports, memory of the card, weights."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.engine_manager.cache import lies, wanted
from pipeline.engine_manager.cards import read_cards
from pipeline.engine_manager.gpu import needs_of, verdicts
from pipeline.engine_manager.launch import check_port, launch, models_dir, used, with_addresses
from pipeline.settings.load import SettingsError
from pipeline.settings.processes import EngineSettings
from pipeline.settings.tree import Settings
from web.cli.finding import Finding


def engine_findings(settings: Settings) -> Iterator[Finding]:
    """A row for each engine, one for each card, and one for the weights that are not there. None without such engines."""
    placed = with_addresses(settings)
    for name, engine in used(placed).items():
        yield _engine(name, engine, placed)
    for part in (_memory, _weights):
        try:
            yield from part(settings)
        except SettingsError as e:
            yield Finding("engines", "problem", str(e), "docs/gpu.md")


def _engine(name: str, engine: EngineSettings, settings: Settings) -> Finding:
    if engine.launch is None:
        return Finding(f"engine {name}", "ok", f"somebody else runs it at {engine.url}")
    try:
        # Nothing is written: the engine's own file is made when it is started.
        made = launch(name, engine, settings, os.environ, write=False)
        check_port(name, *made.address)
    except SettingsError as e:
        return Finding(f"engine {name}", "problem", str(e), "docs/gpu.md")
    return Finding(f"engine {name}", "ok", f"{made.command[0]}, to listen at {made.url}")


def _memory(settings: Settings) -> Iterator[Finding]:
    if not needs_of(settings):
        return
    cards, reason = read_cards()
    if not cards:
        yield Finding("GPU", "problem", f"{reason}; the engines of this configuration compute on one", "docs/gpu.md")
    for verdict in verdicts(settings, cards):
        for problem in verdict.problems:
            yield Finding("GPU memory", "problem", problem, "docs/gpu.md")
        for note in verdict.notes:
            yield Finding("GPU memory", "note", note, "docs/gpu.md")
        if not verdict.problems and "=" in verdict.summary:
            yield Finding("GPU memory", "ok", verdict.summary)


def _weights(settings: Settings) -> Iterator[Finding]:
    models = models_dir(settings)
    for weights in wanted(settings):
        how, size = lies(weights, models)
        name = f"weights of {weights.owner}"
        if how == "there":
            yield Finding(name, "ok", f"{weights.repo}, {size / 1e9:.1f} GB")
        else:
            hint = "run_agent.py models download, or the engine fetches it when it is first started"
            yield Finding(name, "note", f"{weights.repo} is {how} under {models}", hint)
