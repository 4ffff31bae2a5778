"""What an engine is to a call: loaded once per process, admitting calls, and making one pipeline stage for each call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipecat.processors.frame_processor import FrameProcessor

from agent.record import Level
from pipeline.brief import AnswerEnd, Brief, FunctionCall
from pipeline.options import CallOptions, OptionName

if TYPE_CHECKING:
    from pipeline.settings.tree import TurnSettings, VADSettings

Stage = Literal["stt", "llm", "tts"]
EngineState = Literal["unloaded", "loading", "ready", "failed"]


class AtCapacity(RuntimeError):
    """The engine takes no further call now; ``retry_after_s`` is when it is worth asking again."""

    def __init__(self, message: str, retry_after_s: float = 10.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotLoaded(AtCapacity):
    """An engine that every call needs is unloaded, or failed to load: no call can begin until somebody loads it."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What an engine says of itself."""

    name: str
    stage: Literal["stt", "llm", "tts"]
    state: EngineState
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class CallState:
    """What a stage may need to know of its call while it runs; the session owns it and changes it."""

    session_id: str
    level: Level
    lesson: str
    expected: list[str] = field(default_factory=list)
    """Replies that the learner is expected to give to the tutor's last line; empty where anything may be said."""
    careful: list[str] = field(default_factory=list)
    """Further ones that must not be taken by mistake: learners' errors, and goodbyes."""
    options: CallOptions = field(default_factory=CallOptions)
    """What the learner has set. An engine that honours an option reads it here when an answer begins."""
    on_reply: Callable[[Any], None] | None = None
    """Called with the ``agent.tutor.TutorReply`` as soon as a scripted tutor has chosen it."""
    on_pause: Callable[[float], None] | None = None
    """Called by a recogniser that can tell from what it hears whether the learner will pause, while a turn is open: the
    probability, 0 to 1, that the voice is silent for the next 2 s. Others never call it."""
    brief: Brief | None = None
    """What the client wants in place of the tutor; only for an LLM whose engine can follow it (its ``briefs``)."""
    on_function_calls: Callable[[Sequence[FunctionCall]], None] | None = None
    """Called by an LLM that asks for functions of the brief to be run, before its answer ends."""
    on_answer_end: Callable[[AnswerEnd], None] | None = None
    """Called by an LLM whose server says how an answer of the brief or of the tutor ended, before it ends."""
    answers: bool = True
    """Whether each turn of the learner is answered by itself; otherwise only when the client asks (``Call.respond``)."""
    interruptible: bool = True
    """Whether the learner's voice can stop the tutor's. If not, a turn that ends while the tutor answers is not answered."""
    turns: TurnSettings | None = None
    """Turn-taking of this session, where its client chose another than the settings'."""
    vad: VADSettings | None = None
    """The same for voice detection."""


class Engine(Protocol):
    """One engine of one stage, for the whole process."""

    @property
    def name(self) -> str:
        """The engine's name in the settings."""
        ...

    @property
    def stage(self) -> Literal["stt", "llm", "tts"]:
        """Which stage of a call it makes."""
        ...

    @property
    def honours(self) -> frozenset[OptionName]:
        """The options of a call (``CallState.options``) that change what it does."""
        ...

    async def load(self) -> None:
        """Load and warm up what calls share: before the process is ready, and again after ``close``.

        Must not block the loop > 20 ms. One that fails raises; ``close`` is then called.
        """
        ...

    async def close(self) -> None:
        """Release everything that ``load`` took: processes, threads, memory. Safe to call twice, and without a ``load``."""
        ...

    def status(self) -> EngineStatus:
        """The engine's state now."""
        ...

    def admit(self) -> None:
        """Raise ``AtCapacity`` where one more call would not be served well."""
        ...

    def create(self, call: CallState) -> FrameProcessor:
        """The stage for one call: a pipecat STT, LLM or TTS service. Cheap: what is heavy belongs to ``load``."""
        ...


class SimpleEngine:
    """An engine whose calls share nothing: ``make`` builds the stage for each call, and has imported before what it needs."""

    def __init__(
        self,
        name: str,
        stage: Stage,
        make: Callable[[CallState], FrameProcessor],
        *,
        honours: Collection[OptionName] = (),
    ) -> None:
        self.name = name
        self.stage: Stage = stage
        self.honours: frozenset[OptionName] = frozenset(honours)
        self._make = make
        self._state: EngineState = "unloaded"

    async def load(self) -> None:
        """Nothing to load."""
        self._state = "ready"

    async def close(self) -> None:
        """Nothing to release."""
        self._state = "unloaded"

    def status(self) -> EngineStatus:
        """Its state alone."""
        return EngineStatus(self.name, self.stage, self._state)

    def admit(self) -> None:
        """It never runs out."""

    def create(self, call: CallState) -> FrameProcessor:
        """The stage for one call."""
        return self._make(call)
