"""The speech-to-text engine as its process makes it: moshi's weights behind the service."""

from __future__ import annotations

import time
from typing import Any

from engines.kyutai.link.host import Send
from engines.kyutai.settings import SttSettings
from engines.kyutai.stt_metrics import SttMetrics
from engines.kyutai.stt_service import SttService
from engines.wire.kyutai import STT_PATH


def load(settings: SttSettings, send: Send) -> tuple[SttService, dict[str, Any]]:
    """The engine, warm, and what it says of itself when it is asked.

    :raises ValueError: where the checkpoint is not what the engine needs
    """
    import torch

    from engines.kyutai.model.checkpoint import load_stt
    from engines.kyutai.model.stt import BatchedStt
    from engines.kyutai.schedule.buckets import Buckets

    parts = load_stt(settings.model, device=settings.device, dtype=getattr(torch, settings.dtype))
    model = BatchedStt(parts, Buckets(settings.sizes))
    service = SttService(
        model,
        parts.tokenizer.decode,
        send,
        clock=time.monotonic,
        metrics=SttMetrics(),
        gather_s=settings.gather_ms / 1000,
        silent_s=settings.silent_s,
    )
    service.warm()
    about = {"type": "batched_asr", "path": STT_PATH, "lm": settings.model, "delay": model.delay, "heads": model.heads}
    return service, about
