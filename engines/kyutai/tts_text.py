"""Text to be said: its words, and the tokens of each. Pure but for the tokenizer.

The rules are those of moshi-server (``rust/moshi-server/src/tts_preprocess.rs``): words end at white space; signs that the
model does not know are left out; ``<break time="0.5s"/>`` is a pause, which is a word of padding tokens; the first word of a
stream begins with the token that says who speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgpack

from engines.kyutai.text import PADDING

SPEAKER = 1
"""The token of the main speaker, before its first word."""
LONGEST_PAUSE_S = 10.0
_FRAMES_PER_S = 12.5
_BREAK = re.compile(r'<break\s+time="([0-9.]+)s"\s*/>')
_SIGNS = str.maketrans({"’": "'", "–": "", ":": " ", "(": "", ")": ""})


class Splitter:
    """Of one stream. ``encode``: the tokens of a word."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self._spoken = False

    def __call__(self, text: str) -> list[tuple[str, list[int]]]:
        """The words of ``text``, each with its tokens. What is cut in two by the end of ``text`` is two words."""
        return list(self._words(text))

    def _words(self, text: str) -> Iterator[tuple[str, list[int]]]:
        # Every second part is the length of a pause.
        for i, part in enumerate(_BREAK.split(text)):
            if i % 2:
                yield from _pause(part)
                continue
            for word in part.translate(_SIGNS).split():
                tokens = list(self._encode(word))
                if not self._spoken:
                    self._spoken = True
                    tokens.insert(0, SPEAKER)
                yield word, tokens


def _pause(length: str) -> Iterator[tuple[str, list[int]]]:
    try:
        seconds = float(length)
    except ValueError:
        # Such as 1.2.3; it is not said either.
        return
    if seconds > 0.0:
        frames = max(1, int(min(seconds, LONGEST_PAUSE_S) * _FRAMES_PER_S))
        yield f'<break time="{seconds:.2f}s">', [PADDING] * frames


def described(tokenizer: bytes) -> bytes:
    """What a front-end has to know of the model's text. ``tokenizer``: the content of the file, as sentencepiece has it."""
    return bytes(msgpack.packb({"tokenizer": tokenizer}))


def splitting(description: bytes) -> Callable[[], Splitter]:
    """Makes a splitter for each stream, out of what ``described`` gave."""
    from sentencepiece import SentencePieceProcessor

    tokenizer = SentencePieceProcessor(model_proto=msgpack.unpackb(description)["tokenizer"])
    return lambda: Splitter(tokenizer.encode)
