"""One listener's stream of speech: what its messages ask of the engine, and what it is sent of what the engine makes. Pure:
no socket, no engine.

As moshi-server does (``rust/moshi-server/src/py_module.rs``), a message's text is whole words: two messages never make one.
A word is told when the next one begins or the speech is over, since only then its end is known.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from engines.kyutai.front.encodings import Encoding, Frame, message
from engines.kyutai.schedule.backlog import FRAME_S
from engines.kyutai.tts_records import Ask, Ended, OwnVoice, Unwanted, Words
from engines.wire.kyutai import Cancel, Cancelled, Eos, Error, Ready, Text, TtsIn, Voice, WireError, unpack

END_BYTE = b"\0"
"""A binary message of this one byte is as good as ``Eos``."""
MOST_TEXT = 1 << 15
"""Characters of one message: half an hour of speech."""
MOST_VOICE = 5 * 512 * 125
"""Values of an embedding: as many as five speakers have in the released model."""
_VOICE_DIMS = 3

Split = Callable[[str], list[tuple[str, list[int]]]]
"""Text to words, each with its tokens. Of one stream: the first word may have tokens that the others have not."""


class TtsStream:
    """``how``: in which format the listener hears. ``granted``: the extensions that it has; ``None`` where none was asked."""

    def __init__(self, how: Encoding, split: Split, *, granted: list[str] | None = None) -> None:
        self._how = how
        self._split = split
        self._ready = Ready(granted)
        self._granted: Collection[str] = granted or ()
        self._told: deque[str] = deque()
        self._speaking: tuple[str, float] | None = None
        self._any_words = False
        self._ended = False
        self.over = False
        """Whether the last message was given out: the connection is to be closed."""

    def opened(self) -> list[bytes]:
        """The engine has taken the stream in. Returns what is sent."""
        return self._sent(message(self._how, self._ready), self._how.header())

    def text(self, content: str) -> list[Ask]:
        """A text message came.

        :raises WireError: after the end
        """
        if self._ended:
            raise WireError("Text: it came after Eos")
        if len(content) > MOST_TEXT:
            raise WireError(f"Text: {MOST_TEXT} characters are the most in one message")
        words = self._split(content)
        if not words:
            return []
        self._any_words = True
        self._told.extend(word for word, _ in words)
        return [Words([tokens for _, tokens in words])]

    def binary(self, data: bytes) -> list[Ask]:
        """A binary message came.

        :raises WireError: where it cannot be read, or comes at the wrong time
        """
        if data == END_BYTE:
            return self._end()
        match unpack(data, TtsIn):
            case Text(text=content):
                return self.text(content)
            case Voice() as voice:
                if self._any_words:
                    raise WireError("Voice: it is wanted before any text")
                return [OwnVoice(_embedding(voice))]
            case Cancel():
                if "cancel" not in self._granted:
                    raise WireError("Cancel: the extension was not asked for")
                return [Unwanted()]
            case Eos():
                return self._end()
        raise AssertionError("unpack gives nothing else")

    def frame(self, pcm: Frame) -> list[bytes]:
        """The engine made a frame of audio. Returns what is sent, as do those below."""
        return [self._how.audio(pcm)]

    def word(self, step: int) -> list[bytes]:
        """The engine began the next word, at this step of the stream's audio."""
        start_s = step * FRAME_S
        sent = self._told_until(start_s)
        if self._told:
            self._speaking = (self._told.popleft(), start_s)
        return sent

    def done(self, frames: int) -> list[bytes]:
        """All is said, in so many frames."""
        self.over = True
        return self._told_until(frames * FRAME_S)

    def cancelled(self) -> list[bytes]:
        """The engine has let the stream go, as the listener wanted."""
        self.over = True
        return self._sent(message(self._how, Cancelled()))

    def failed(self, why: str) -> list[bytes]:
        """The stream cannot go on."""
        self.over = True
        return self._sent(message(self._how, Error(why)))

    def _end(self) -> list[Ask]:
        if self._ended:
            return []
        self._ended = True
        return [Ended()]

    def _told_until(self, stop_s: float) -> list[bytes]:
        if self._speaking is None:
            return []
        word, start_s = self._speaking
        self._speaking = None
        if not word:
            return []
        return self._sent(message(self._how, Text(word, start_s, max(start_s, stop_s))))

    @staticmethod
    def _sent(*messages: bytes | None) -> list[bytes]:
        return [one for one in messages if one is not None]


def _embedding(voice: Voice) -> npt.NDArray[np.float32]:
    shape = tuple(voice.shape)
    if not 1 <= len(shape) <= _VOICE_DIMS or min(shape) < 1 or math.prod(shape) > MOST_VOICE:
        raise WireError(f"Voice.shape: 1 to {_VOICE_DIMS} dimensions of together up to {MOST_VOICE} values are wanted")
    if math.prod(shape) != len(voice.embeddings):
        raise WireError(f"Voice.embeddings: {len(voice.embeddings)} values do not make the shape {list(shape)}")
    values = np.asarray(voice.embeddings, np.float64)
    if not np.isfinite(values).all() or np.abs(values).max() > np.finfo(np.float32).max:
        raise WireError("Voice.embeddings: finite 32-bit numbers are wanted")
    return values.astype(np.float32).reshape(shape)
