"""Responses that a client asks for, cancels, and is told the functions of: what is done for them in the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loguru import logger

from pipeline.brief import AnswerEnd, Brief, FunctionCall
from pipeline.call import Call
from pipeline.stt.recognition import RecogniserError
from web.doors.realtime import config as cf
from web.doors.realtime import events as ev
from web.doors.realtime.asides import Asides
from web.doors.realtime.new_items import Made, calls_made
from web.doors.realtime.responses import ENDED, FUNCTIONS, SETTLED, Response

if TYPE_CHECKING:
    from web.doors.realtime.session import RealtimeSession


class Answering:
    """The responses of one session, its owner."""

    def __init__(self, owner: RealtimeSession) -> None:
        self._owner = owner
        self.asides = Asides(owner)

    async def cancel(self, response_id: str | None) -> None:
        """End the response of that id, or the one that the conversation waits for; raises ``ApiError``."""
        active, aside = self._owner.narrator.active, self.asides.find(response_id)
        if aside is not None:
            await self.asides.cancel(aside)
        elif active is None or response_id not in (None, active.id):
            raise ev.ApiError("Cancellation failed: no active response found.", code="response_cancel_not_active")
        else:
            await self.stop(active)

    async def respond(self, wanted: ev.ResponseOptions) -> None:
        """Begin a response; raises ``ApiError``."""
        modalities = wanted.output_modalities or self._owner.config.output_modalities
        response = Response(
            spoken="audio" in modalities,
            metadata=wanted.metadata,
            max_output_tokens=wanted.max_output_tokens or self._owner.config.max_output_tokens,
            aside=wanted.conversation == "none",
        )
        beside = response.aside and not response.spoken
        active = self._owner.narrator.active
        if active is not None and not beside:
            raise ev.ApiError(
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        changes = cf.response_changes(self._owner.config, wanted, self._owner.can)
        made = self.asides.input_of(wanted.input) if wanted.input is not None else None
        response.sources = [item for item, _, _ in made] if made is not None else None
        self._owner.check_work()
        if beside:
            self.asides.check()
            self.asides.expect(response)
            await self._owner.emit(self._owner.narrator.begin_aside(response))
            self._owner.queue(lambda: self._ask_aside(response, changes, made))
            return
        await self._owner.emit(self._owner.narrator.begin(response))
        self._owner.queue(lambda: self._ask(response, changes, made))

    async def _ask_aside(self, response: Response, changes: dict[str, Any], made: Sequence[Made] | None) -> None:
        try:
            said = await self._said(made)
        except RecogniserError as e:
            await self.asides.fail(response, str(e))
            return
        brief = self._owner.config.brief(**changes, said=said) or Brief()
        await self.asides.start(response, brief, self._owner.max_tokens(brief, changes))

    async def _ask(self, response: Response, changes: dict[str, Any], made: Sequence[Made] | None = None) -> None:
        try:
            said = await self._said(made)
        except RecogniserError as e:
            self._owner.line.post({"type": "error", "message": str(e)})
            return
        call = self._owner.session.call
        if self._owner.narrator.active is not response or response.reason is not None:
            return
        if call is None:
            self._owner.line.post({"type": "error", "message": "the call has ended"})
            return
        self._owner.configure(**changes, said=said)
        await call.speak(response.spoken)
        await call.respond()

    async def _said(self, made: Sequence[Made] | None) -> tuple[dict[str, Any], ...] | None:
        """What is to be answered in place of the conversation, if anything is; raises ``RecogniserError``."""
        if made is None:
            return None
        try:
            return await self.asides.messages_of(made)
        except RecogniserError:
            raise
        except Exception as e:
            # Whatever it was: a response that was begun has to end.
            logger.opt(exception=e).error("speech in a response's input could not be recognised")
            raise RecogniserError("the speech could not be recognised") from e

    async def stop(self, response: Response | None) -> None:
        """Interrupt the assistant, as the client wants."""
        call = self._owner.session.call
        if response is None or call is None:
            return
        if response.begun:
            self._owner.narrator.next_reason = "client_cancelled"
        else:
            response.reason = "client_cancelled"
        await call.interrupt()
        self._owner.line.post({"type": SETTLED, "response_id": response.id})

    def functions_called(self, calls: Sequence[FunctionCall]) -> None:
        """The model asks for functions to be run, with an answer that may yet turn out to be none."""
        call = self._owner.session.call
        if call is not None:
            call.when_said(lambda: self._take_calls(call, calls))

    def _take_calls(self, call: Call, calls: Sequence[FunctionCall]) -> None:
        made = calls_made(calls)
        active = self._owner.narrator.active
        for item in made if active is None or not active.aside else ():
            self._owner.session.context.add_message(item.message)  # type: ignore[arg-type]
        call.acted()
        self._owner.line.post({"type": FUNCTIONS, "calls": made})

    def answer_ended(self, end: AnswerEnd) -> None:
        """The model has said how its answer ended."""
        call = self._owner.session.call
        if call is not None:
            call.when_said(lambda: self._owner.line.post({"type": ENDED, "end": end}))
