"""The text-to-speech service as the host of the front-ends knows an engine: records in, records out."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, generate_latest

from engines.kyutai.link.channel import ERROR
from engines.kyutai.link.host import Send
from engines.kyutai.schedule.slots import NoFreeChannels, Session
from engines.kyutai.tts_records import Ended, Failed, Open, Opened, OwnVoice, Unwanted, Words, at_engine, to_front
from engines.kyutai.tts_service import Refused, TtsService

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
            "voices": lambda: json.dumps({"default": next(iter(voices), None), "voices": sorted(voices)}).encode(),
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
