"""Which engine stands behind each name of the settings. An engine's module is imported only when it is chosen."""

from __future__ import annotations

import importlib

from pipeline.engine import Engine
from pipeline.settings.engines import STAGES, engine_names
from pipeline.settings.tree import Settings

EXTRAS = dict.fromkeys(("faster_whisper", "pocket_tts", "torch", "ctranslate2"), "requirements/cpu.txt")
"""Modules of optional requirements, and the file that brings them."""


class UnknownEngine(ValueError):
    """The settings name an engine that does not exist or cannot be used here; the text says which do, or what is missing."""


def chosen(settings: Settings) -> dict[str, str]:
    """The engine's name for each stage."""
    return {stage: getattr(settings, stage).engine for stage in STAGES}


def make_engines(settings: Settings, *, skip: frozenset[str] = frozenset()) -> dict[str, Engine]:
    """The engines that ``settings`` choose, by stage, but for the stages in ``skip``.

    Raises:
        UnknownEngine: naming the setting and the engines there are, or the package that is missing.
        ValueError: an engine cannot use its options.
    """
    return {stage: make_engine(stage, name, settings) for stage, name in chosen(settings).items() if stage not in skip}


def make_engine(stage: str, name: str, settings: Settings) -> Engine:
    """The engine ``name`` of ``stage``. Raises as ``make_engines`` does."""
    names = engine_names(stage)
    if name not in names:
        raise UnknownEngine(f"{stage}.engine: unknown engine {name!r}; there are: {', '.join(names)}")
    try:
        engine: Engine = importlib.import_module(f"pipeline.{stage}.{name}").make_engine(settings)
    except ModuleNotFoundError as e:
        how = f"; pip install -r {EXTRAS[e.name]} adds it" if e.name in EXTRAS else ""
        raise UnknownEngine(f"{stage}.engine: {name} needs the Python module {e.name}, which is not installed{how}") from e
    return engine
