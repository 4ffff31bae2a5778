"""How many tokens a response took, as far as anybody counts them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.brief import AnswerEnd
from web.doors.realtime.items import Item

INPUT_TOKENS_PER_S, OUTPUT_TOKENS_PER_S = 10, 20
"""Audio tokens of a second, as OpenAI counts them."""


def usage(answered: Sequence[Item], output: Sequence[Item], end: AnswerEnd | None) -> dict[str, Any]:
    """The ``usage`` of a response.

    Tokens of text are the language model's own, or words where it counts none. It is given no audio and makes none: the user's
    and the assistant's is counted beside, at OpenAI's rates.

    Args:
        answered: The items that the response answers.
        output: Its own items.
        end: What the model said of its end.
    """
    heard_ms = sum(i.audio_ms for i in answered if i.role == "user")
    spoken_ms = sum(i.audio_ms for i in output)
    audio_in = math.ceil(heard_ms / 1000 * INPUT_TOKENS_PER_S)
    audio_out = math.ceil(spoken_ms / 1000 * OUTPUT_TOKENS_PER_S)
    counted = end or AnswerEnd()
    text_in = sum(map(_words, answered)) if counted.prompt_tokens is None else counted.prompt_tokens
    text_out = sum(map(_words, output)) if counted.answer_tokens is None else counted.answer_tokens
    cached = counted.cached_tokens or 0
    return {
        "total_tokens": text_in + audio_in + text_out + audio_out,
        "input_tokens": text_in + audio_in,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text_in,
            "audio_tokens": audio_in,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


def _words(item: Item) -> int:
    texts = [str(part.get("text") or part.get("transcript") or "") for part in item.content]
    texts += [item.fields.get("arguments", ""), item.fields.get("output", "")]
    return sum(len(t.split()) for t in texts)
