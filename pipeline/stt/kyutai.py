"""Kyutai's speech to text on a server of its own, as an engine of the process."""

from __future__ import annotations

import time
from typing import Literal

from loguru import logger
from pipecat.processors.frame_processor import FrameProcessor

from pipeline.engine import AtCapacity, CallState, Engine, EngineState, EngineStatus
from pipeline.options import OptionName
from pipeline.registry import make_engine as make_other_engine
from pipeline.settings.tree import KyutaiSTTSettings, Settings
from pipeline.stt.kyutai_link import AtFullCapacity, ConnectionFailed, probe, stream_url
from pipeline.stt.kyutai_shared import FULL_FOR_S, Shared
from pipeline.stt.kyutai_stage import KyutaiSTTService


class KyutaiEngine:
    """A server at ``settings.url``, and the engine that recognises where it does not: ``spare``, which is loaded beside it."""

    name = "kyutai"
    stage: Literal["stt"] = "stt"
    honours: frozenset[OptionName] = frozenset()

    def __init__(self, settings: KyutaiSTTSettings, spare: Engine | None) -> None:
        """Raises ``ValueError`` where the settings give no usable address."""
        if not settings.url:
            raise ValueError("stt.kyutai.url: the address of the speech server is missing, such as ws://127.0.0.1:8090")
        try:
            url = stream_url(settings.url)
        except ValueError as e:
            raise ValueError(f"stt.kyutai.url: {e}") from None
        self._settings = settings
        self._state: EngineState = "unloaded"
        self._error: str | None = None
        self._extensions: frozenset[str] | None = None
        self._shared = Shared(url, settings, spare)

    async def load(self) -> None:
        """Load the spare engine, and connect once. A server that is not there is an error only where nobody can stand in."""
        self._state, self._error = "loading", None
        spare = self._shared.spare
        try:
            if spare is not None:
                await spare.load()
            await self._probe()
        except BaseException as e:
            self._state, self._error = "failed", str(e) or type(e).__name__
            raise
        self._state = "ready"

    async def _probe(self) -> None:
        try:
            self._extensions = await probe(self._shared.url, self._shared.key, self._settings.connect_timeout_s)
        except AtFullCapacity:
            self._shared.full_at = time.monotonic()
            logger.warning("speech to text at {} has no free slot now", self._settings.url)
        except ConnectionFailed as e:
            self._error = f"speech to text at {self._settings.url}: {e}"
            if self._shared.spare is None:
                raise RuntimeError(self._error) from e
            logger.warning("{}; {} stands in until it answers", self._error, self._shared.spare.name)

    async def close(self) -> None:
        """Release the spare engine."""
        if self._shared.spare is not None:
            await self._shared.spare.close()
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """The server, what it can do, and how calls have fared with it."""
        shared = self._shared
        up = sum(stage.link_state == "up" for stage in shared.stages)
        detail = {
            "url": self._settings.url,
            "extensions": sorted(self._extensions) if self._extensions is not None else None,
            "calls": len(shared.stages),
            "connected": up,
            "connections": shared.connections,
            "finals": shared.finals,
            "fallback": shared.spare.name if shared.spare is not None else None,
            "fallback_finals": shared.spare_finals,
            "noise_dropped": shared.noise_dropped,
        }
        if self._error is not None and not up:
            detail["error"] = self._error
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """Raise ``AtCapacity`` where the server had no free slot just now and nobody stands in."""
        if self._state != "ready":
            raise AtCapacity(f"the recogniser is {self._state}")
        if self._shared.spare is None and self._shared.is_full:
            raise AtCapacity("the recogniser has no free slot", FULL_FOR_S)

    def create(self, call: CallState) -> FrameProcessor:
        """The STT stage of one call."""
        return KyutaiSTTService(self._shared, call)


def make_engine(settings: Settings) -> KyutaiEngine:
    """The engine as ``settings`` want it.

    Raises:
        ValueError: the address is missing or none, or the fallback cannot be had; the text says what to do.
    """
    own = settings.stt.kyutai
    if own.fallback == "none":
        return KyutaiEngine(own, None)
    try:
        spare = make_other_engine("stt", own.fallback, settings)
    except (ValueError, ImportError) as e:
        reason = str(e).removeprefix("stt.engine: ")
        raise ValueError(f"stt.kyutai.fallback: {reason}; pocketsphinx is always there, and none goes without") from e
    return KyutaiEngine(own, spare)
