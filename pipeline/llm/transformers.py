"""The tutor by the transformers library, in a process of its own: no server, and as fast as the machine is."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from agent.lessons import Lesson
from pipeline.brief import Followed
from pipeline.engine import CallState, EngineState, EngineStatus
from pipeline.lessons import offered_lessons
from pipeline.llm.tutor_service import TutorLLMService, TutorTerms, first_messages
from pipeline.llm.worker_chat import WorkerChat
from pipeline.options import OptionName
from pipeline.settings.tree import Settings


class TransformersEngine:
    """One model for the whole process; calls take turns, so that two at a time are about what a laptop can do."""

    name = "transformers"
    stage: Literal["llm"] = "llm"
    honours: frozenset[OptionName] = frozenset(("temperature", "max_tokens"))
    briefs: frozenset[Followed] = frozenset(("instructions",))

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: WorkerChat | None = None
        self._state: EngineState = "unloaded"
        self._lessons: dict[str, Lesson] = {}
        self._model_len = 0

    async def load(self) -> None:
        """Start the process and load the model. Raises as ``WorkerChat.load``."""
        self._state = "loading"
        try:
            self._lessons = await asyncio.to_thread(offered_lessons, self._settings.tutor)
            self._worker = WorkerChat(self._settings.llm.transformers)
            await self._worker.load()
            await self._worker.warm(first_messages(self._settings.tutor, self._lessons))
            self._model_len = self._settings.llm.max_model_len or self._worker.max_model_len or 0
        except BaseException:
            self._state = "failed"
            raise
        self._state = "ready"

    async def close(self) -> None:
        """End the process."""
        worker, self._worker = self._worker, None
        self._state = "unloaded"
        if worker is not None:
            await worker.close()

    def status(self) -> EngineStatus:
        """The model and its process."""
        detail: dict[str, Any] = {"model": self._settings.llm.transformers.model, "max_model_len": self._model_len}
        if self._worker is not None:
            detail["pid"] = self._worker.pid
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """It takes every call, and answers them token by token in turn."""

    def create(self, call: CallState) -> TutorLLMService:
        """The tutor of one call."""
        assert self._worker is not None, "the language model is not loaded"
        wanted = self._settings.llm
        terms = TutorTerms(self._lessons, self._model_len, wanted.top_p, tuple(wanted.stop), wanted.corrections)
        return TutorLLMService(self._worker, terms, call)


def make_engine(settings: Settings) -> TransformersEngine:
    """The engine as ``settings`` want it."""
    return TransformersEngine(settings)
