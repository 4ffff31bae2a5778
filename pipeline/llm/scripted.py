"""The scripted tutor behind the interface of an LLM: a context goes in, text streams out."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any, Literal

from loguru import logger
from pipecat.frames.frames import Frame, LLMContextFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from agent.scripted import ScriptedTutor, chunks
from agent.tutor import Tutor
from pipeline.engine import CallState, EngineState, EngineStatus
from pipeline.lessons import offered_lessons
from pipeline.llm.conversation import conversation
from pipeline.options import OptionName
from pipeline.settings.tree import Settings, TutorSettings


class ScriptedLLMService(LLMService):
    """Answers every context with the scripted tutor's reply, word by word."""

    def __init__(self, tutor: Tutor, call: CallState, **kwargs: Any) -> None:
        # A script has none of an LLM's parameters; pipecat wants that said of each.
        nothing: dict[str, Any] = dict.fromkeys(f.name for f in fields(LLMSettings) if f.name != "extra")
        super().__init__(settings=LLMSettings(**nothing), **kwargs)
        self._tutor = tutor
        self._call = call

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer an ``LLMContextFrame``; pass everything else on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        reply = self._tutor.respond(conversation(frame.context.messages), lesson=self._call.lesson, level=self._call.level)
        if self._call.on_reply is not None:
            self._call.on_reply(reply)
        await self.push_frame(LLMFullResponseStartFrame())
        for chunk in chunks(reply.text):
            await self.push_frame(LLMTextFrame(chunk))
        await self.push_frame(LLMFullResponseEndFrame())


class ScriptedEngine:
    """The scripted tutor for the whole process; it holds no state of a call."""

    name = "scripted"
    stage: Literal["llm"] = "llm"
    honours: frozenset[OptionName] = frozenset()
    """None: a script has no other words, and no more or fewer of them."""

    def __init__(self, settings: TutorSettings) -> None:
        self._settings = settings
        self._tutor: Tutor | None = None
        self._state: EngineState = "unloaded"
        self._lessons: list[str] = []

    async def load(self) -> None:
        """Read the lessons."""
        self._state = "loading"
        lessons = await asyncio.to_thread(offered_lessons, self._settings)
        self._lessons = sorted(lessons)
        self._tutor = ScriptedTutor(lessons)
        self._state = "ready"
        logger.debug("scripted tutor: {} lessons", len(lessons))

    async def close(self) -> None:
        """Forget the lessons."""
        self._tutor, self._lessons = None, []
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """Which lessons it knows."""
        return EngineStatus(self.name, self.stage, self._state, {"lessons": self._lessons})

    def admit(self) -> None:
        """It never runs out."""

    def create(self, call: CallState) -> ScriptedLLMService:
        """The tutor of one call."""
        assert self._tutor is not None, "the scripted tutor is not loaded"
        return ScriptedLLMService(self._tutor, call)


def make_engine(settings: Settings) -> ScriptedEngine:
    """The engine as ``settings`` want it."""
    return ScriptedEngine(settings.tutor)
