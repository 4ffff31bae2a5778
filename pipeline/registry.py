"""Which engine stands behind each name of the settings. An engine's module is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engine import Engine
from pipeline.settings.tree import Settings

Maker = Callable[[Settings], Engine]


class UnknownEngine(ValueError):
    """The settings name an engine that does not exist; the text says which do."""


def _pocketsphinx(settings: Settings) -> Engine:
    from pipeline.stt.pocketsphinx import PocketsphinxEngine

    return PocketsphinxEngine(settings.stt.pocketsphinx)


def _scripted(settings: Settings) -> Engine:
    from pipeline.llm.scripted import ScriptedEngine

    return ScriptedEngine(settings.tutor)


def _espeak(settings: Settings) -> Engine:
    from pipeline.tts.espeak import EspeakEngine

    return EspeakEngine(settings.tts.espeak)


ENGINES: dict[str, dict[str, Maker]] = {
    "stt": {"pocketsphinx": _pocketsphinx},
    "llm": {"scripted": _scripted},
    "tts": {"espeak": _espeak},
}


def chosen(settings: Settings) -> dict[str, str]:
    """The engine's name for each stage."""
    return {"stt": settings.stt.engine, "llm": settings.llm.engine, "tts": settings.tts.engine}


def make_engines(settings: Settings, *, skip: frozenset[str] = frozenset()) -> dict[str, Engine]:
    """The engines that ``settings`` choose, by stage, but for the stages in ``skip``.

    Raises:
        UnknownEngine: naming the setting and the engines there are.
    """
    engines: dict[str, Engine] = {}
    for stage, name in chosen(settings).items():
        if stage in skip:
            continue
        maker = ENGINES[stage].get(name)
        if maker is None:
            raise UnknownEngine(f"{stage}.engine: unknown engine {name!r}; there are: {', '.join(sorted(ENGINES[stage]))}")
        engines[stage] = maker(settings)
    return engines
