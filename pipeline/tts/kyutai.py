"""Kyutai's text to speech on a server of its own, as an engine of the process."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from loguru import logger

from pipeline.engine import CallState, EngineState, EngineStatus, NotLoaded
from pipeline.options import OptionName
from pipeline.settings.tree import KyutaiTTSSettings, Settings
from pipeline.tts.kyutai_client import Connection, Endpoint, EngineError
from pipeline.tts.kyutai_stage import KyutaiTTSService, VoiceCounts


class KyutaiEngine:
    """``pipeline.engine.Engine`` for a server at ``settings.url``; calls share nothing but where it is."""

    name: str = "kyutai"
    stage: Literal["stt", "llm", "tts"] = "tts"
    honours: frozenset[OptionName] = frozenset()

    def __init__(self, settings: KyutaiTTSSettings) -> None:
        """Raises ``ValueError`` where the settings give no usable address."""
        key = settings.key.get_secret_value() if settings.key is not None else None
        try:
            self._endpoint = Endpoint.of(settings.url, key, settings.connect_timeout_s)
        except ValueError as e:
            raise ValueError(f"tts.kyutai.url: {e}") from None
        self._voice = settings.voice or None
        self._counts = VoiceCounts()
        self._state: EngineState = "unloaded"
        self._error: str | None = None

    async def load(self) -> None:
        """Connect once, so that a wrong address, key or voice shows now and not in the first call.

        Raises:
            EngineError: the server cannot be reached or refuses. One without a free slot is there, and no error.
        """
        self._state, self._error = "loading", None
        try:
            connection = await Connection.open(self._endpoint, self._voice)
        except EngineError as e:
            if e.full:
                logger.warning("text to speech at {} has no free slot now", self._endpoint.url)
                self._state = "ready"
                return
            self._state, self._error = "failed", f"text to speech at {self._endpoint.url}: {e}"
            raise EngineError(self._error) from None
        except asyncio.CancelledError:
            self._state = "failed"
            raise
        await connection.close(cancel=True)
        self._state = "ready"

    async def close(self) -> None:
        """Nothing is held between calls."""
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """The server, and how the replies of all calls have fared with it."""
        counts = self._counts
        detail: dict[str, Any] = {
            "url": self._endpoint.url,
            "voice": self._voice,
            "active": counts.open,
            "spoken": counts.spoken,
            "cancelled": counts.cancelled,
            "failed": counts.failed,
        }
        if counts.last_error is not None:
            detail["last_error"] = counts.last_error
        if self._error is not None:
            detail["error"] = self._error
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """Admits every call: slots are taken by replies, not by calls, and a reply that finds none is told so in the call.

        Raises:
            NotLoaded: the engine is not loaded.
        """
        if self._state != "ready":
            raise NotLoaded("text to speech is not loaded")

    def create(self, call: CallState) -> KyutaiTTSService:
        """The voice of one call."""
        return KyutaiTTSService(self._endpoint, voice=self._voice, counts=self._counts)


def make_engine(settings: Settings) -> KyutaiEngine:
    """The engine as ``settings`` want it."""
    return KyutaiEngine(settings.tts.kyutai)
