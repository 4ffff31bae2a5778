"""The tutor on a server that speaks OpenAI's chat completions: vLLM, or any other that does (llama.cpp, Ollama, …)."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

from loguru import logger

from agent.lessons import Lesson
from pipeline.brief import Followed
from pipeline.engine import CallState, EngineState, EngineStatus
from pipeline.lessons import offered_lessons
from pipeline.llm.chat import ChatFailed, ChatSource, FallbackChat
from pipeline.llm.openai_chat import OpenAIChat
from pipeline.llm.tutor_service import TutorLLMService, TutorTerms, first_messages
from pipeline.llm.worker_chat import WorkerChat
from pipeline.options import OptionName
from pipeline.settings.tree import Settings

DEFAULT_MODEL_LEN = 4096


class VLLMEngine:
    """One server for the whole process. Where ``llm.fallback`` allows, a model of one's own stands beside it."""

    name = "vllm"
    stage: Literal["llm"] = "llm"
    honours: frozenset[OptionName] = frozenset(("temperature", "max_tokens"))
    briefs: frozenset[Followed] = frozenset(("instructions", "tools"))

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source: ChatSource | None = None
        self._fallback: FallbackChat | None = None
        self._state: EngineState = "unloaded"
        self._model = ""
        self._model_len = settings.llm.max_model_len or DEFAULT_MODEL_LEN
        self._worker_len: int | None = None
        self._lessons: dict[str, Lesson] = {}

    async def load(self) -> None:
        """Look for the server and its model; load the fallback, if there is to be one.

        Raises:
            ValueError: the settings name no server, or a model that it does not have.
            ChatFailed: the server is absent, and there is no fallback.
        """
        wanted = self._settings.llm
        if not wanted.vllm.url:
            raise ValueError("llm.vllm.url: names no server")
        self._state = "loading"
        try:
            self._lessons = await asyncio.to_thread(offered_lessons, self._settings.tutor)
            server = self._server()
            self._source = server
            if wanted.fallback == "transformers":
                worker = WorkerChat(wanted.transformers)
                self._source = self._fallback = FallbackChat(server, worker, time.monotonic)
                await worker.load()
                await worker.warm(first_messages(self._settings.tutor, self._lessons))
                self._worker_len = worker.max_model_len
            try:
                await self._find_model(server)
            except ChatFailed as e:
                if self._fallback is None or not e.absent:
                    raise
                logger.warning("{}; llm.fallback answers until it is there", e)
        except BaseException:
            self._state = "failed"
            raise
        self._state = "ready"

    def _server(self) -> OpenAIChat:
        wanted = self._settings.llm.vllm
        return OpenAIChat(
            wanted.url,
            key=wanted.key.get_secret_value() if wanted.key is not None else None,
            model=wanted.model,
            dialect=wanted.dialect,
            thinking=wanted.thinking,
            connect_timeout_s=wanted.connect_timeout_s,
            read_timeout_s=wanted.read_timeout_s,
        )

    async def _find_model(self, server: OpenAIChat) -> None:
        try:
            listed = await server.models()
        except ChatFailed as e:
            # Some servers have no list, or a broken one; whoever names the model can do without.
            if e.absent or not self._settings.llm.vllm.model:
                raise
            listed = {self._settings.llm.vllm.model: None}
        name = self._settings.llm.vllm.model or next(iter(listed), "")
        if name not in listed and self._settings.llm.vllm.dialect == "vllm":
            raise ValueError(f"llm.vllm.model: {server.url} has no {name!r}; it has: {', '.join(listed) or 'none'}")
        server.model = self._model = name
        self._model_len = self._settings.llm.max_model_len or listed.get(name) or DEFAULT_MODEL_LEN
        if self._worker_len is not None:
            self._model_len = min(self._model_len, self._worker_len)

    async def close(self) -> None:
        """Close the connections, and the fallback's process."""
        source, self._source, self._fallback = self._source, None, None
        self._state = "unloaded"
        if source is not None:
            await source.close()

    def status(self) -> EngineStatus:
        """The model, and whether the fallback stands in for it."""
        detail: dict[str, Any] = {"url": self._settings.llm.vllm.url, "model": self._model, "max_model_len": self._model_len}
        if self._fallback is not None:
            detail["on_fallback"] = self._fallback.on_fallback
        return EngineStatus(self.name, self.stage, self._state, detail)

    def admit(self) -> None:
        """The server queues what is too much for it."""

    def create(self, call: CallState) -> TutorLLMService:
        """The tutor of one call."""
        assert self._source is not None, "the language model is not loaded"
        wanted = self._settings.llm
        terms = TutorTerms(self._lessons, self._model_len, wanted.top_p, tuple(wanted.stop), wanted.corrections)
        return TutorLLMService(self._source, terms, call)


def make_engine(settings: Settings) -> VLLMEngine:
    """The engine as ``settings`` want it."""
    return VLLMEngine(settings)
