"""What a recogniser heard, and why it may have heard nothing. Plain types, without any engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from agent.record import Word

Source = Literal["free", "expected"]

NOTHING_HEARD = " "
"""Text of a final without words. Stock stop strategies end a turn only after some text, and wait ``user_turn_stop_timeout``
(5 s) for it; the user aggregator drops blank text. So a blank ends the turn at once and adds nothing to the conversation."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """One utterance as recognised.

    ``text`` is empty where no word was recognised. ``words`` count their times from the utterance's first sample. Confidences
    are 0..1; what the number is differs with ``source``, see ``pipeline.stt.sphinx_decoder``. ``source`` says whether one of
    the expected replies was taken or free speech. ``audio_s`` is how much audio was decoded, ``decode_ms`` how long the decoder
    worked on it, ``final_ms`` how much of that came after the final was asked for. ``started_s`` is the position of the first
    sample in the call's audio, in seconds, where the caller knows it.
    """

    text: str
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    source: Source = "free"
    audio_s: float = 0.0
    decode_ms: float = 0.0
    final_ms: float = 0.0
    started_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The recognition as JSON-ready plain types; ``from_dict`` reads it."""
        return {
            "text": self.text,
            "words": [[w.text, w.start_s, w.end_s, w.confidence] for w in self.words],
            "confidence": self.confidence,
            "source": self.source,
            "audio_s": self.audio_s,
            "decode_ms": self.decode_ms,
            "final_ms": self.final_ms,
            "started_s": self.started_s,
            "details": self.details,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recognition:
        """The inverse of ``to_dict``."""
        return cls(**{**data, "words": tuple(Word(*w) for w in data["words"])})


class RecogniserError(RuntimeError):
    """An utterance could not be recognised; the text says why. The recogniser itself goes on."""


class Abandoned(Exception):
    """Decoding stopped half way, because the utterance was wanted no longer."""


class RecogniserBusy(RecogniserError):
    """No worker came free before the utterance's deadline."""


class RecogniserFailed(RecogniserError):
    """The utterance's worker died or hung, and so did the one that tried again."""


class UtteranceCancelled(RecogniserError):
    """The utterance was cancelled, or its pool closed, before it was recognised."""
