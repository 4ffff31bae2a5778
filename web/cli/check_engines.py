"""What ``check`` looks at of the engines that are processes of their own: programs, ports, memory of the card, weights."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from pipeline.engine_manager.cache import lies, wanted
from pipeline.engine_manager.cards import read_cards
from pipeline.engine_manager.gpu import needs_of, verdicts
from pipeline.engine_manager.launch import STAGES, check_port, launch, models_dir, stage_section, used, with_addresses
from pipeline.settings.load import SettingsError
from pipeline.settings.processes import EngineSettings
from pipeline.settings.tree import Settings
from web.cli.finding import Finding

CONNECT_TIMEOUT_S = 2.0


def engine_findings(settings: Settings) -> Iterator[Finding]:
    """A row for each engine and each server that a stage looks for, one for each card, and one for the weights that are not
    there. None without such engines."""
    placed = with_addresses(settings)
    for name, engine in used(placed).items():
        yield _engine(name, engine, placed)
    for stage in STAGES:
        yield from _server(stage, placed)
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


def _server(stage: str, settings: Settings) -> Iterator[Finding]:
    """Whether somebody listens where a stage's engine is looked for, unless it is to be started here."""
    section = stage_section(settings, stage)
    engine = used(settings).get(stage)
    if section is None or (engine is not None and engine.launch is not None):
        return
    key = f"{stage}.{getattr(settings, stage).engine}.url"
    fallback = getattr(settings.llm if stage == "llm" else section, "fallback", "none")
    try:
        parts = urlsplit(section.url if "://" in section.url else f"//{section.url}")
        if not parts.hostname:
            raise ValueError("no host")
        port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
        socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as e:
        reason = f"{key}: {section.url or 'no address'}: {(getattr(e, 'strerror', None) or str(e) or 'no answer').lower()}"
        if fallback == "none":
            yield Finding(f"server of {stage}", "problem", reason, "start it; docs/engines.md")
        else:
            yield Finding(f"server of {stage}", "note", f"{reason}; {fallback} stands in", "start it; docs/engines.md")
    else:
        yield Finding(f"server of {stage}", "ok", f"somebody listens at {section.url}")


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
