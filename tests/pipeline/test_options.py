"""The options of a call: their ranges are the operator's, and a wrong value changes nothing and is named."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from pipeline.messages import BadMessage, SetOptions, parse_client_message
from pipeline.options import OPTION_STAGES, BadOption, CallOptions, read_options
from pipeline.settings.load import SettingsError, load_settings
from pipeline.settings.tree import OptionSettings, Settings

RANGES = OptionSettings.model_validate({"speech_rate": {"min": 0.8, "max": 1.2, "default": 0.9}, "max_tokens": {"max": 300}})


def test_the_defaults_are_the_settings() -> None:
    assert CallOptions.of(RANGES) == CallOptions(temperature=0.7, max_tokens=200, speech_rate=0.9)
    assert CallOptions.of(Settings().options) == CallOptions()
    assert set(OPTION_STAGES) == set(OptionSettings.model_fields) == set(CallOptions.__dataclass_fields__)


def test_what_is_left_out_stays() -> None:
    options = CallOptions.of(RANGES).changed({"speech_rate": 1.2, "temperature": None}, RANGES)
    assert options == CallOptions(temperature=0.7, max_tokens=200, speech_rate=1.2)
    assert options.changed({"max_tokens": 20}, RANGES) == CallOptions(temperature=0.7, max_tokens=20, speech_rate=1.2)


def test_a_value_outside_its_range_is_named_with_the_range_and_nothing_is_changed() -> None:
    with pytest.raises(BadOption) as bad:
        CallOptions.of(RANGES).changed({"speech_rate": 1.21, "temperature": 0.1, "max_tokens": 301}, RANGES)
    assert str(bad.value) == (
        "max_tokens must be a whole number from 20 to 300, not 301; speech_rate must be a number from 0.8 to 1.2, not 1.21"
    )
    with pytest.raises(BadOption, match="not nan"):
        CallOptions().changed({"speech_rate": math.nan}, RANGES)


def test_an_address_gives_what_is_right_and_tells_what_is_wrong() -> None:
    texts = {"temperature": "0", "max_tokens": "1.5", "speech_rate": "fast", "level": "beginner"}
    assert read_options(texts, RANGES) == (
        {"temperature": 0.0},
        [
            "max_tokens must be a whole number from 20 to 300, not '1.5'",
            "speech_rate must be a number from 0.8 to 1.2, not 'fast'",
        ],
    )
    assert read_options({"max_tokens": "20", "speech_rate": "inf"}, RANGES) == (
        {"max_tokens": 20},
        ["speech_rate must be a number from 0.8 to 1.2, not inf"],
    )
    assert read_options({}, RANGES) == ({}, [])


def test_a_message_has_numbers_only() -> None:
    assert parse_client_message({"type": "set_options", "speech_rate": 1}) == SetOptions(speech_rate=1.0)
    for wrong in ({"speech_rate": "1"}, {"speech_rate": True}, {"max_tokens": 1.5}, {"temperature": math.nan}, {"top_p": 1}):
        with pytest.raises(BadMessage, match=f"set_options: {next(iter(wrong))}"):
            parse_client_message({"type": "set_options", **wrong})


def test_a_default_outside_its_range_is_one_line() -> None:
    with pytest.raises(ValidationError, match="the default must lie between min"):
        OptionSettings.model_validate({"temperature": {"max": 0.5}})
    with pytest.raises(SettingsError, match=r"options\.max_tokens|PARLEY_OPTIONS__MAX_TOKENS__MIN") as line:
        load_settings(env={"PARLEY_OPTIONS__MAX_TOKENS__MIN": "400"}, dotenv=None)
    assert "\n" not in str(line.value)
