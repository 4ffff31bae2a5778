"""Which engines there are, and the settings of those that have no section in the tree.

An engine is one file, ``pipeline/<stage>/<name>.py``, with a function ``make_engine(settings)``. Files are only looked at here:
an engine is imported when it is chosen.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

STAGES = ("stt", "llm", "tts")
_MAKES_ENGINE = re.compile(r"^def make_engine\(", re.M)
Model = TypeVar("Model", bound=BaseModel)


def engine_names(stage: str) -> list[str]:
    """The engines of ``stage`` ("stt", "llm" or "tts"), sorted: what its ``engine`` may be set to."""
    folders = importlib.import_module(f"pipeline.{stage}").__path__
    files = [file for folder in folders for file in Path(folder).glob("*.py")]
    return sorted({file.stem for file in files if _MAKES_ENGINE.search(file.read_text(encoding="utf-8"))})


def read_options(model: type[Model], options: Mapping[str, Any], where: str) -> Model:
    """``options`` as ``model``; ``where`` is what the operator calls them, such as ``stt.options``.

    Raises:
        ValueError: one line that names the key and what is wrong with it.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, (where, *first['loc'])))}: {first['msg'].lower()}") from None
