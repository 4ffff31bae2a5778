"""A language model as the tutor of one call: pipecat's LLM stage over a ``ChatSource``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from loguru import logger
from pipecat.frames.frames import Frame, LLMContextFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.utils.errors import ErrorCategory
from pydantic import BaseModel, ConfigDict, Field

from agent.lessons import Lesson
from agent.memory import Memory, Plan
from agent.prompting import (
    MAX_CORRECTIONS,
    SUMMARY_WORDS,
    corrections_messages,
    request_messages,
    summary_messages,
    system_prompt,
)
from agent.record import Correction, Level
from agent.tutor import Message, TutorReply
from pipeline.brief import AnswerEnd, Brief, FunctionCall, briefed_messages
from pipeline.engine import CallState
from pipeline.llm.chat import ChatFailed, ChatRequest, ChatSource, whole
from pipeline.llm.conversation import conversation
from pipeline.llm.structured import BadAnswer, complete_json
from pipeline.llm.visible_text import VisibleText
from pipeline.settings.tree import TutorSettings
from pipeline.speculation import WithdrawnFrame

RESERVE_TOKENS = 64
"""Of the chat template's own."""
NOTES_TOKENS = 3 * SUMMARY_WORDS
MIN_ROOM_TOKENS = 200
"""Less than this for the conversation itself, and there is no talking."""


@dataclass(frozen=True, slots=True)
class TutorTerms:
    """What the tutors of all calls have in common.

    ``max_model_len`` is in tokens, prompt and answer; ``lessons`` by name, of which a call's is one, or else it talks freely.
    """

    lessons: Mapping[str, Lesson]
    max_model_len: int = 4096
    top_p: float = 0.9
    stop: Sequence[str] = ()
    corrections: bool = False


def first_messages(settings: TutorSettings, lessons: Mapping[str, Lesson]) -> list[Message]:
    """What most calls begin with: the prompt of the level and lesson that a call has where the learner chooses none."""
    return request_messages(system_prompt(settings.level, lessons.get(settings.lesson)), [])


class FoundCorrection(BaseModel):
    """One of ``FoundCorrections``."""

    model_config = ConfigDict(extra="forbid")

    original: str = Field(min_length=1, max_length=200)
    correction: str = Field(min_length=1, max_length=200)
    explanation: str = Field(max_length=300)


class FoundCorrections(BaseModel):
    """What a model holds to be wrong in one turn of the learner."""

    model_config = ConfigDict(extra="forbid")

    corrections: list[FoundCorrection] = Field(max_length=MAX_CORRECTIONS)


class TutorLLMService(LLMService):
    """Answers every context with a model's words, as they come.

    An interruption, and a ``WithdrawnFrame`` for a guess, cancel the answer under way; the source then stops the model.
    """

    def __init__(self, source: ChatSource, terms: TutorTerms, call: CallState, **kwargs: Any) -> None:
        # Asked for with each request, from what the learner has set; pipecat wants something said of each.
        nothing: dict[str, Any] = dict.fromkeys(f.name for f in fields(LLMSettings) if f.name != "extra")
        super().__init__(settings=LLMSettings(**nothing), **kwargs)
        self._source = source
        self._terms = terms
        self._tutored = call
        self._memory = Memory()
        self._prompts: dict[tuple[Level, str], str] = {}
        self._noting: asyncio.Task[None] | None = None
        self._correcting: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer an ``LLMContextFrame``; pass everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            await self._answer(frame.context)
            return
        if isinstance(frame, WithdrawnFrame):
            # They would be of words that are no turn.
            await self._give_up(self._correcting)
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """Stop what is asked for beside the answers."""
        await self._give_up(self._noting)
        await self._give_up(self._correcting)
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def _answer(self, context: LLMContext) -> None:
        await self._give_up(self._correcting)
        said = conversation(context.messages)
        await self.push_frame(LLMFullResponseStartFrame())
        brief, calls = self._tutored.brief, list[FunctionCall]()
        try:
            if brief is not None:
                request = self._briefed(context.messages, brief, calls.extend)
            else:
                request, plan = self._request(said)
                if plan.summarise and self._noting is None:
                    self._noting = self._spawn(self._take_notes(said, plan), "notes")
            visible, text = VisibleText(), ""
            request = replace(request, on_end=self._tutored.on_answer_end)
            async with aclosing(self._source.stream(request)) as pieces:
                async for piece in pieces:
                    text += await self._say(visible.take(piece))
                    if visible.ended:
                        break
            text += await self._say(visible.finish())
            if brief is None:
                self._replied(said, TutorReply(text.strip(), done=visible.ended))
            elif calls and self._tutored.on_function_calls is not None:
                self._tutored.on_function_calls(calls)
        except ChatFailed as e:
            # Whether to ask again is the call's to say: pipecat would write the stage off after some kinds of failure.
            await self.push_error(str(e), exception=e, category=ErrorCategory.UNKNOWN)
        await self.push_frame(LLMFullResponseEndFrame())

    async def aside(
        self,
        messages: list[Any],
        brief: Brief,
        *,
        max_tokens: int | None,
        on_calls: Callable[[Sequence[FunctionCall]], None],
        on_end: Callable[[AnswerEnd], None],
    ) -> AsyncGenerator[str, None]:
        """What the model answers to ``messages``, or to ``brief.said``, beside the call: nothing of it is said in the call.

        Args:
            messages: A conversation, in the form of OpenAI's chat completions.
            brief: Who is to answer.
            max_tokens: Longest answer; ``None``: as the call's options say.
            on_calls: Told of the functions that the model asks for.
            on_end: Told how the answer ended, where the model's server says so.

        Raises:
            ChatFailed: at any piece.
        """
        request = replace(self._briefed(messages, brief, on_calls, max_tokens), on_end=on_end)
        visible = VisibleText()
        async with aclosing(self._source.stream(request)) as pieces:
            async for piece in pieces:
                if text := visible.take(piece):
                    yield text
                if visible.ended:
                    break
        if text := visible.finish():
            yield text

    async def _say(self, text: str) -> str:
        if text:
            await self.push_frame(LLMTextFrame(text))
        return text

    def _request(self, said: list[Message]) -> tuple[ChatRequest, Plan]:
        """The request for the answer to ``said``, and what was planned for it.

        Raises:
            ChatFailed: the model can look back on too little for this lesson.
        """
        options, memory = self._tutored.options, self._memory
        system = self._system()
        room = self._terms.max_model_len - memory.tokens(system) - options.max_tokens - RESERVE_TOKENS
        if room < MIN_ROOM_TOKENS:
            raise ChatFailed(f"the model's {self._terms.max_model_len} tokens leave no room for a conversation")
        plan = memory.plan(said, room)
        messages = request_messages(system, plan.send, notes=plan.notes)
        chars = sum(len(m["content"]) for m in messages)
        request = ChatRequest(
            messages,
            options.max_tokens,
            options.temperature,
            self._terms.top_p,
            self._terms.stop,
            on_prompt_tokens=lambda tokens: memory.measured(chars, tokens),
        )
        return request, plan

    def _briefed(
        self,
        messages: list[Any],
        brief: Brief,
        on_calls: Callable[[list[FunctionCall]], None],
        max_tokens: int | None = None,
    ) -> ChatRequest:
        """The request for the answer of somebody who is what ``brief`` says.

        Raises:
            ChatFailed: the model can look back on too little for these instructions.
        """
        options, memory = self._tutored.options, self._memory
        answer_tokens = max_tokens or options.max_tokens
        said = messages if brief.said is None else brief.said
        system = brief.instructions if brief.instructions is not None else self._system()
        fixed = system + json.dumps(brief.tools)
        room = self._terms.max_model_len - memory.tokens(fixed) - answer_tokens - RESERVE_TOKENS
        if room < MIN_ROOM_TOKENS:
            raise ChatFailed(f"the model's {self._terms.max_model_len} tokens leave no room beside these instructions")
        return ChatRequest(
            cast("list[Message]", briefed_messages(system, [m for m in said if isinstance(m, dict)], 3 * room)),
            answer_tokens,
            options.temperature,
            self._terms.top_p,
            self._terms.stop,
            tools=brief.tools,
            tool_choice=brief.tool_choice,
            on_calls=on_calls,
        )

    def _system(self) -> str:
        key = (self._tutored.level, self._tutored.lesson)
        if key not in self._prompts:
            self._prompts[key] = system_prompt(self._tutored.level, self._terms.lessons.get(self._tutored.lesson))
        return self._prompts[key]

    def _replied(self, said: list[Message], reply: TutorReply) -> None:
        on_reply = self._tutored.on_reply
        if on_reply is None:
            return
        on_reply(reply)
        learner = said[-1]["content"].strip() if said and said[-1]["role"] == "user" else ""
        if self._terms.corrections and learner:
            self._correcting = self._spawn(self._correct(learner, reply, on_reply), "corrections")

    async def _correct(self, learner: str, reply: TutorReply, on_reply: Callable[[TutorReply], None]) -> None:
        try:
            found = await complete_json(self._source, corrections_messages(learner, self._tutored.level), FoundCorrections)
        except (ChatFailed, BadAnswer) as e:
            logger.warning("no corrections: {}", e)
            return
        corrections = [
            Correction(c.original, c.correction, c.explanation)
            for c in found.corrections
            if c.original.lower() in learner.lower() and c.original.lower() != c.correction.lower()
        ]
        if corrections:
            on_reply(TutorReply(reply.text, corrections=corrections, done=reply.done))

    async def _take_notes(self, said: list[Message], plan: Plan) -> None:
        try:
            request = ChatRequest(summary_messages(plan.notes, plan.summarise), NOTES_TOKENS, temperature=0.0)
            visible = VisibleText()
            notes = visible.take(await whole(self._source, request)) + visible.finish()
            if notes.strip():
                self._memory.summarised(said, plan, notes)
        except ChatFailed as e:
            logger.warning("no notes of the conversation: {}", e)
        finally:
            self._noting = None

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self.create_task(coroutine, name)
        return task

    async def _give_up(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and not task.done():
            await self.cancel_task(task)
