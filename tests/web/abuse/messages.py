"""What clients send that nobody asked for: strategies, from nearly right to noise."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=40)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)

good: list[dict[str, Any]] = [
    {"type": "ping"},
    {"type": "text", "text": "Hello."},
    {"type": "interrupt"},
    {"type": "set_level", "level": "beginner"},
    {"type": "set_lesson", "lesson": "introductions"},
    {"type": "set_options", "speech_rate": 1.1},
    {"type": "resume", "token": "nobody's"},
    {"type": "playout", "sample": 4_800},
    {"type": "playout", "rtp_timestamp": 960},
]
"""Every message but the one that hangs up."""


@st.composite
def twisted(draw: st.DrawFn) -> dict[str, Any]:
    """A message of the protocol with one thing wrong, or none: a field of another kind, one too many, one missing."""
    message = dict(draw(st.sampled_from(good)))
    what = draw(st.sampled_from(["nothing", "value", "field", "missing"]))
    name = draw(st.sampled_from(sorted(message)))
    if what == "value":
        message[name] = draw(values)
    elif what == "field":
        message[draw(st.text(max_size=10))] = draw(values)
    elif what == "missing":
        del message[name]
    return message


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A text message: twisted, cut short, any JSON, or no JSON at all."""
    kind = draw(st.sampled_from(["twisted", "twisted", "cut", "json", "noise", "long"]))
    if kind == "noise":
        return draw(st.text(max_size=200))
    if kind == "json":
        return json.dumps(draw(values))
    if kind == "long":
        return json.dumps({"type": "text", "text": "x" * draw(st.integers(1_990, 20_000))})
    text = json.dumps(draw(twisted()))
    return text[: draw(st.integers(0, len(text)))] if kind == "cut" else text


binaries = st.binary(max_size=700) | st.integers(0, 70_000).map(bytes)
"""Audio, half samples among it, and pieces that are too long for one."""
