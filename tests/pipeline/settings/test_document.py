"""The written configuration agrees with the tree."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.settings.describe import keys
from pipeline.settings.document import render_markdown, render_yaml
from pipeline.settings.tree import Settings

ROOT = Path(__file__).resolve().parents[3]


def test_files_are_current() -> None:
    hint = "run `make docs`"
    assert (ROOT / "configs" / "embedded.yaml").read_text(encoding="utf-8") == render_yaml(), hint
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == render_markdown(), hint


def test_yaml_reads_back_as_the_defaults() -> None:
    assert Settings.model_validate(yaml.safe_load(render_yaml())) == Settings()


@pytest.mark.parametrize("key", list(keys()), ids=lambda key: key.dotted)
def test_every_key_is_described(key: object) -> None:
    from pipeline.settings.describe import Key

    assert isinstance(key, Key)
    if "ice_servers" in key.path[:-1]:
        return  # Items of a list are described by their list.
    assert key.field.description or (key.section and key.section.__doc__), f"{key.dotted} has no description"


def test_every_key_is_in_the_page() -> None:
    page = render_markdown()
    missing = [
        k.dotted for k in keys() if k.section is None and "ice_servers" not in k.path[:-1] and f"`{k.path[-1]}`" not in page
    ]
    assert not missing
