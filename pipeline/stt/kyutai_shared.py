"""What the calls of one Kyutai engine share: the server's address, who stands in for it, and counters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from loguru import logger

from pipeline.engine import AtCapacity, CallState, Engine
from pipeline.settings.tree import KyutaiSTTSettings
from pipeline.stt.noise_filter import Thresholds, is_noise, level
from pipeline.stt.once import recognise_once
from pipeline.stt.recognition import RecogniserError, Recognition

FULL_FOR_S = 5.0
"""How long a server that had no free slot is taken to have none."""
_SPARE_WITHIN_S = 10.0


@dataclass(slots=True)
class Shared:
    """What the calls of one engine share: the spare recogniser, and counters."""

    url: str
    settings: KyutaiSTTSettings
    spare: Engine | None
    finals: int = 0
    spare_finals: int = 0
    noise_dropped: int = 0
    connections: int = 0
    full_at: float | None = None
    """When the server last had no free slot, monotonic; ``None`` after a connection."""
    stages: set[Any] = field(default_factory=set)
    """Those of the calls that run."""

    @property
    def is_full(self) -> bool:
        """Whether the server had no free slot just now."""
        return self.full_at is not None and time.monotonic() - self.full_at < FULL_FOR_S

    @property
    def key(self) -> str | None:
        """What the server wants to be shown."""
        return self.settings.key.get_secret_value() if self.settings.key is not None else None

    def is_noise(self, words: Sequence[str], pcm16: bytes, voiced_s: float) -> bool:
        """Whether ``words`` were read into a noise; ``pcm16`` is the sound, which lasted ``voiced_s`` seconds."""
        limits = self.settings.noise
        return limits.enabled and is_noise(
            words, level(pcm16), voiced_s, Thresholds(limits.rms, limits.peak, limits.max_duration_s)
        )

    async def ask_spare(self, call: CallState, pcm16: bytes, started_s: float) -> Recognition | None:
        """Have the spare engine recognise a stretch of speech, 16 kHz, that began at ``started_s`` of the call; ``None`` where
        it fails, too."""
        spare = self.spare
        if spare is None:
            return None
        try:
            heard = await recognise_once(spare.create(call), pcm16, within_s=_SPARE_WITHIN_S)
        except (RecogniserError, AtCapacity) as e:
            logger.warning("speech to text: {} failed, too: {}", spare.name, e)
            return None
        self.spare_finals += 1
        return replace(heard, started_s=started_s, details={**heard.details, "engine": spare.name})
