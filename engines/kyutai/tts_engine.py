"""The text-to-speech engine as its process makes it: moshi's weights behind the service, records in and records out."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from engines.kyutai.link.channel import ERROR
from engines.kyutai.link.host import Send
from engines.kyutai.schedule.buckets import Buckets
from engines.kyutai.schedule.slots import NoFreeChannels, Session
from engines.kyutai.settings import TtsSettings
from engines.kyutai.tts_metrics import TtsMetrics
from engines.kyutai.tts_records import Ended, Failed, Open, Opened, OwnVoice, Unwanted, Words, at_engine, to_front
from engines.kyutai.tts_service import VOICES_NAMED, Refused, TtsService
from engines.kyutai.tts_text import described
from engines.wire.kyutai import TTS_PATH

_SEEDS = 1 << 63
log = logging.getLogger(__name__)


class TtsEngine:
    """``send``: says something to a session's front-end. ``registry``: where the service's metrics are. ``text``: what a
    front-end has to know of the model's text (``tts_text.described``). ``voices``: the names of all, the default first.
    ``seed``: of sessions that bring none; ``None``: another each time."""

    def __init__(
        self,
        service: TtsService,
        send: Send,
        registry: CollectorRegistry,
        *,
        text: bytes = b"",
        voices: Sequence[str] = (),
        seed: int | None = None,
    ) -> None:
        self._service = service
        self._send = send
        self._seed = seed
        self._answers: dict[str, Callable[[], bytes]] = {
            "metrics": lambda: generate_latest(registry),
            "status": lambda: json.dumps(service.status()).encode(),
            "text": lambda: text,
            "voices": lambda: json.dumps({"default": next(iter(voices), None), "voices": sorted(set(voices))}).encode(),
        }

    def heard(self, session: Session, kind: int, payload: bytes) -> None:
        """A record of a session came."""
        try:
            match at_engine(kind, payload):
                case Open(voice=voice, seed=seed):
                    seeds = (seed, self._seed, secrets.randbelow(_SEEDS))
                    self._service.opened(session, voice, next(one for one in seeds if one is not None))
                    self._send(session, *to_front(Opened()))
                case OwnVoice(embedding=embedding):
                    self._service.voiced(session, embedding)
                case Words(tokens=tokens):
                    self._service.words(session, tokens)
                case Ended():
                    self._service.ended(session)
                case Unwanted():
                    self._service.cancelled(session)
        except (NoFreeChannels, Refused) as e:
            self._send(session, ERROR, str(e).encode())

    def left(self, session: Session) -> None:
        """The session's client went."""
        self._service.cancelled(session)

    def tick(self) -> float | None:
        """One step at most. Returns how long nothing is to be done."""
        ticked = self._service.tick()
        for session, event in ticked.events:
            if isinstance(event, Failed):
                log.warning("session %s: %s", session, event.message)
            self._send(session, *to_front(event))
        return ticked.wait_s

    def answer(self, question: str) -> bytes:
        """``metrics`` as Prometheus reads them, ``status``, ``voices``, or ``text``; anything else is not known."""
        return self._answers.get(question, lambda: b"")()


def load(settings: TtsSettings, send: Send) -> tuple[TtsEngine, dict[str, Any]]:
    """The engine, warm, and what it says of itself when it is asked.

    :raises ValueError: where the checkpoint or its voices are not what the engine needs
    """
    import torch

    from engines.kyutai.model.tts import BatchedTts
    from engines.kyutai.model.tts_checkpoint import load_tts
    from engines.kyutai.model.voices import voice_folder, voice_names

    parts = load_tts(settings.model, device=settings.device, dtype=getattr(torch, settings.dtype))
    folder = voice_folder(settings.voices or str(Path(settings.model) / "voices"), parts.voice_suffix)
    names = voice_names(folder, parts.voice_suffix)
    if not names:
        raise ValueError(f"voices: there is no *{parts.voice_suffix} in {folder}")
    default = settings.default_voice or min(names)
    if default not in names:
        examples = ", ".join(sorted(names)[:VOICES_NAMED])
        raise ValueError(f"default_voice: there is no {default} in {folder}; there are: {examples}")
    model = BatchedTts(
        parts,
        Buckets(settings.sizes),
        voices=names,
        default_voice=default,
        n_q=settings.n_q,
        temp=settings.temp,
        cfg_coef=settings.cfg_coef,
        wait=settings.wait,
        voice_places=settings.voice_places,
    )
    registry = CollectorRegistry()
    service = TtsService(
        model, clock=time.monotonic, metrics=TtsMetrics(registry), voices=names, ahead=model.ahead, queue=settings.queue
    )
    service.warm(parts.tokenizer.encode("hello"))
    text = described(parts.tokenizer.serialized_model_proto())
    engine = TtsEngine(service, send, registry, text=text, voices=[default, *names], seed=settings.seed)
    return engine, {"type": "py", "path": TTS_PATH, "lm": settings.model, "n_q": model.n_q}
