"""What a call tells its client, as events of the Realtime API: turns of the user, and responses. Pure but for ids.

One ``Narrator`` per session. ``tell`` takes the messages of ``pipeline.messages`` in the order in which they leave, ``audio``
the voice between them. A reply of the call is a response with one message; functions that are asked for are further items.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.brief import AnswerEnd
from pipeline.transports.codecs import Codec
from web.doors.realtime import events as ev
from web.doors.realtime.config import Config
from web.doors.realtime.items import Item, Items
from web.doors.realtime.usage import usage

Reason = Literal["turn_detected", "client_cancelled", "max_output_tokens"]
Status = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
FUNCTIONS, SETTLED, TRUNCATED, ENDED = "realtime_functions", "realtime_settled", "realtime_truncated", "realtime_ended"
"""Types of messages that the door itself puts among those of the call."""
LOOKBACK_MS = 400
"""A voice began about so long before the turn that it began."""


@dataclass(slots=True, eq=False)
class Response:
    """A response that is being made."""

    id: str = field(default_factory=lambda: ev.new_id("resp"))
    spoken: bool = True
    metadata: dict[str, str] | None = None
    max_output_tokens: Any = "inf"
    output: list[Item] = field(default_factory=list)
    message: Item | None = None
    text: str = ""
    heard: str | None = None
    begun: bool = False
    """Whether the call has begun to answer."""
    reason: Reason | None = None
    failed: str | None = None
    sounding_from_ms: float | None = None
    """Over WebRTC, how much audio of the user had come when it began to sound; ``None`` while it is silent."""
    sounded: bool = False
    """Whether any of it was heard so far."""
    aside: bool = False
    """Whether it is no part of the conversation."""
    sources: Sequence[Item] | None = None
    """What it answers, where that is not the conversation."""
    end: AnswerEnd | None = None
    """What the model said of its end."""


class Narrator:
    """Tells one client of its call.

    Args:
        items: The conversation.
        config: Gives the configuration in force.
        webrtc: Whether the voice goes another way, and is only told of.
        rate_limits: Gives what the client has left of its allowance.
        spoken_ms: Gives how much audio of the user has come so far.
    """

    def __init__(
        self,
        items: Items,
        config: Callable[[], Config],
        *,
        webrtc: bool,
        rate_limits: Callable[[], list[dict[str, Any]]],
        spoken_ms: Callable[[], float],
    ) -> None:
        self.conversation_id = ev.new_id("conv")
        self.codec = Codec("pcm16", 24_000)
        self.active: Response | None = None
        self.next_reason: Reason | None = None
        """Why the response that is interrupted next was: the client said so, or else somebody spoke."""
        self.on_user_item: Callable[[Item, str], None] | None = None
        """Told of each spoken turn of the user, with its words."""
        self.own_turns: list[str] = []
        """Turns that the client typed: it knows them."""
        self._items = items
        self._config = config
        self._webrtc = webrtc
        self._rate_limits = rate_limits
        self._spoken_ms = spoken_ms
        self._replies = 0
        self._turn: Item | None = None
        self._turn_from_ms = 0.0
        self._last_turn: Item | None = None
        self._last_words: str | None = None
        self._end: AnswerEnd | None = None
        self._silent_from_ms = 0.0
        self.sounded = False
        """Whether the client has had any of the assistant's voice."""

    @property
    def user_speaks(self) -> bool:
        """Whether the user has the turn."""
        return self._turn is not None

    # What the call says

    def tell(self, message: dict[str, Any]) -> list[ev.ServerEvent]:
        """A message of the call, or of the door itself."""
        match message["type"]:
            case "speaking" if message["who"] == "learner":
                return self._user_speaks() if message["active"] else self._user_stopped()
            case "speaking":
                return self._sounding(message["active"])
            case "transcript" if message["is_final"]:
                return self._user_said(message["text"])
            case "ai_text":
                return self._words(message["text"], whole=message["is_complete"])
            case "interrupted":
                return self._interrupted(message["text"])
            case "turn_complete":
                return self._reply_over()
            case "error":
                return self._error(message["message"])
            case "realtime_functions":
                return self._functions(message["calls"])
            case "realtime_settled":
                return self._settled(message["response_id"])
            case "realtime_truncated":
                return self._truncated(message["item"], message["text"], message["audio_end_ms"])
            case "realtime_ended":
                self._end = message["end"]
                return []
            case _:
                return []

    def audio(self, pcm16: bytes) -> list[ev.ServerEvent]:
        """A piece of the assistant's voice, at the rate of the output's format."""
        response = self.active
        if response is None or response.message is None or response.reason is not None:
            return []
        response.message.audio_ms += len(pcm16) / 2 / self.codec.rate_hz * 1000
        self.sounded = True
        if self._webrtc:
            return []
        delta = base64.b64encode(self.codec.encode(pcm16)).decode()
        return [ev.AudioDelta(delta=delta, **self._where(response, response.message))]

    def begin(self, response: Response) -> list[ev.ServerEvent]:
        """A response begins, because the client asked for it or because a turn is answered."""
        self.active = response
        return self._created(response)

    def _created(self, response: Response) -> list[ev.ServerEvent]:
        return [
            ev.ResponseCreated(response=self._wire(response, "in_progress")),
            ev.RateLimits(rate_limits=self._rate_limits()),
        ]

    def committed(self, item: Item) -> list[ev.ServerEvent]:
        """The user's audio has become ``item``."""
        before = self._items.add(item)
        wire = item.to_wire()
        return [
            ev.Committed(previous_item_id=before, item_id=item.id),
            ev.ItemAdded(previous_item_id=before, item=wire),
            ev.ItemDone(previous_item_id=before, item=wire),
        ]

    def transcribed(self, item: Item, text: str, audio_ms: float) -> list[ev.ServerEvent]:
        """The words of ``item`` are known."""
        if self._config().transcription is None:
            return []
        item.content[0]["transcript"] = text
        usage = {"type": "duration", "seconds": round(audio_ms / 1000, 2)}
        deltas = [ev.TranscriptionDelta(item_id=item.id, delta=text)] if text else []
        return [*deltas, ev.TranscriptionCompleted(item_id=item.id, transcript=text, usage=usage)]

    def timed_out(self, item: Item) -> list[ev.ServerEvent]:
        """The user has been silent for too long; ``item`` is that silence."""
        start_ms, end_ms = self._silent_from_ms, self._spoken_ms()
        item.audio_ms = max(0.0, end_ms - start_ms)
        triggered = ev.TimeoutTriggered(audio_start_ms=round(start_ms), audio_end_ms=round(end_ms), item_id=item.id)
        return [triggered, *self.committed(item), *self.transcribed(item, "", item.audio_ms)]

    # Responses beside the call, each told of by whoever makes it

    def begin_aside(self, response: Response) -> list[ev.ServerEvent]:
        """A written response begins that is no part of the conversation; others may be under way."""
        response.begun = True
        return self._created(response)

    def aside_words(self, response: Response, text: str) -> list[ev.ServerEvent]:
        """Words of it."""
        told = self._begin_message(response) if response.message is None else []
        return told + self._delta(response, text)

    def aside_over(self, response: Response, calls: Sequence[Item] = ()) -> list[ev.ServerEvent]:
        """It is over; ``calls`` are the functions that it asks for."""
        told: list[ev.ServerEvent] = []
        if response.failed is not None:
            detail = ev.ErrorDetail(type="server_error", code="server_error", message=response.failed)
            told.append(ev.ErrorEvent(error=detail))
        return [*told, *self._calls(response, calls), *self._done(response)]

    # The user

    def _user_speaks(self) -> list[ev.ServerEvent]:
        told: list[ev.ServerEvent] = []
        if self._turn is None:
            self._turn = Item(content=[{"type": "input_audio", "audio": None, "transcript": None}])
            self._turn_from_ms = max(0.0, self._spoken_ms() - LOOKBACK_MS)
            told.append(ev.SpeechStarted(audio_start_ms=round(self._turn_from_ms), item_id=self._turn.id))
        if self.active is not None and not self.active.begun and self._config().interrupts:
            # What was asked for is not answered any more: the pipeline forgets it when somebody speaks.
            self.active.reason = "turn_detected"
            told += self._done(self.active)
        return told

    def _user_stopped(self) -> list[ev.ServerEvent]:
        turn, self._turn = self._turn, None
        if turn is None:
            return []
        turn.audio_ms = max(0.0, self._spoken_ms() - self._turn_from_ms)
        self._last_turn, self._last_words = turn, None
        stopped = ev.SpeechStopped(audio_end_ms=round(self._spoken_ms()), item_id=turn.id)
        return [stopped, *self.committed(turn)]

    def _user_said(self, text: str) -> list[ev.ServerEvent]:
        if text in self.own_turns:
            self.own_turns.remove(text)
            return []
        told = self._user_stopped()
        turn, before = self._last_turn, self._last_words
        if turn is None or (before is not None and not (before and text.startswith(before))):
            return told  # words that belong to no turn
        self._last_words = text
        if text and self.on_user_item is not None:
            self.on_user_item(turn, text)
        return [*told, *self.transcribed(turn, text, turn.audio_ms)]

    # Responses

    def _words(self, text: str, *, whole: bool) -> list[ev.ServerEvent]:
        told: list[ev.ServerEvent] = []
        response = self.active
        if response is None:
            if whole and not text:
                return []
            response = Response(spoken=self._config().spoken, max_output_tokens=self._config().max_output_tokens)
            told += self.begin(response)
        response.begun = True
        if whole:
            response.text = text
            return told
        if response.message is None:
            told += self._begin_message(response)
        return told + self._delta(response, text)

    def _delta(self, response: Response, text: str) -> list[ev.ServerEvent]:
        assert response.message is not None
        response.text += text
        kind = ev.TranscriptDelta if response.spoken else ev.TextDelta
        return [kind(delta=text, **self._where(response, response.message))]

    def _begin_message(self, response: Response) -> list[ev.ServerEvent]:
        part = {"type": "output_audio", "transcript": ""} if response.spoken else {"type": "output_text", "text": ""}
        item = response.message = Item(role="assistant", status="in_progress", reply=self._replies)
        told = self._add_output(response, item, item.to_wire())
        item.content = [part]
        shown = {"type": "audio", "transcript": ""} if response.spoken else {"type": "text", "text": ""}
        return [*told, ev.ContentPartAdded(part=shown, **self._where(response, item))]

    def _add_output(self, response: Response, item: Item, wire: ev.Json) -> list[ev.ServerEvent]:
        """A new item of the response, shown as ``wire``."""
        response.output.append(item)
        told: list[ev.ServerEvent] = [
            ev.OutputItemAdded(response_id=response.id, output_index=len(response.output) - 1, item=wire)
        ]
        if not response.aside:
            told.append(ev.ItemAdded(previous_item_id=self._items.add(item), item=wire))
        return told

    def _end_output(self, response: Response, item: Item) -> list[ev.ServerEvent]:
        """The item is complete."""
        wire, told = item.to_wire(), list[ev.ServerEvent]()
        if not response.aside:
            before = self._items.before(item) if item in self._items else None
            told.append(ev.ItemDone(previous_item_id=before, item=wire))
        index = response.output.index(item)
        return [*told, ev.OutputItemDone(response_id=response.id, output_index=index, item=wire)]

    def _sounding(self, active: bool) -> list[ev.ServerEvent]:
        response = self.active
        if not self._webrtc or response is None or active == (response.sounding_from_ms is not None):
            return []
        if not active:
            self._hushed(response)
            return []  # that it has ended for good is known with the response's end
        response.sounding_from_ms = self._spoken_ms()
        if response.sounded:
            return []
        response.sounded = self.sounded = True
        return [ev.OutputStarted(response_id=response.id)]

    def _hushed(self, response: Response) -> None:
        """Its voice is silent: over WebRTC, where the user's audio never pauses, that audio tells how long it was not."""
        since, response.sounding_from_ms = response.sounding_from_ms, None
        if since is not None and response.message is not None:
            response.message.audio_ms += self._spoken_ms() - since

    def _interrupted(self, heard: str) -> list[ev.ServerEvent]:
        response = self.active
        if response is None:
            return []
        response.heard = heard
        response.reason, self.next_reason = self.next_reason or "turn_detected", None
        if self._webrtc and response.sounded:
            response.sounded = False
            return [ev.OutputCleared(response_id=response.id)]
        return []

    def _reply_over(self) -> list[ev.ServerEvent]:
        self._replies += 1
        response = self.active
        return self._done(response) if response is not None and response.begun else []

    def _error(self, text: str) -> list[ev.ServerEvent]:
        if self.active is not None:
            self.active.failed = text
        detail = ev.ErrorDetail(type="server_error", code="server_error", message=text)
        told: list[ev.ServerEvent] = [ev.ErrorEvent(error=detail)]
        if self.active is not None and not self.active.begun:
            told += self._done(self.active)
        return told

    def _functions(self, calls: Sequence[Item]) -> list[ev.ServerEvent]:
        told: list[ev.ServerEvent] = []
        response = self.active
        if response is None:
            response = Response(spoken=self._config().spoken, max_output_tokens=self._config().max_output_tokens)
            told += self.begin(response)
        response.begun = True
        return told + self._calls(response, calls)

    def _calls(self, response: Response, calls: Sequence[Item]) -> list[ev.ServerEvent]:
        told: list[ev.ServerEvent] = []
        for item in calls:
            item.status = "in_progress"
            told += self._add_output(response, item, {**item.to_wire(), "arguments": ""})
            item.status = "completed"
            call_id, name, arguments = (item.fields[k] for k in ("call_id", "name", "arguments"))
            index = response.output.index(item)
            where: dict[str, Any] = {"response_id": response.id, "item_id": item.id, "output_index": index, "call_id": call_id}
            told += [
                ev.ArgumentsDelta(delta=arguments, **where),
                ev.ArgumentsDone(name=name, arguments=arguments, **where),
                *self._end_output(response, item),
            ]
        return told

    def _settled(self, response_id: str) -> list[ev.ServerEvent]:
        """All that a cancelled response could still say has been said."""
        response = self.active
        if response is None or response.id != response_id:
            return []
        response.reason = response.reason or "client_cancelled"
        return self._done(response)

    def _truncated(self, item: Item, text: str, audio_end_ms: int) -> list[ev.ServerEvent]:
        item.status = "incomplete"
        if item.content:
            item.content = [{"type": item.content[0]["type"], "transcript": text}]
        return [ev.ItemTruncated(item_id=item.id, content_index=0, audio_end_ms=audio_end_ms)]

    def reply_count(self, count: int) -> None:
        """So many replies of the session are over."""
        self._replies = count

    def _done(self, response: Response) -> list[ev.ServerEvent]:
        if response is self.active:
            self.active = None
            response.end, self._end = response.end or self._end, None
            self._silent_from_ms = self._spoken_ms()
        self._hushed(response)
        told: list[ev.ServerEvent] = []
        status: Status = "failed" if response.failed else "cancelled" if response.reason is not None else "completed"
        if status == "completed" and response.end is not None and response.end.cut:
            status, response.reason = "incomplete", "max_output_tokens"
        cut = response.reason is not None
        item = response.message
        if item is not None:
            text = response.heard if cut and response.heard is not None else response.text
            item.status = "incomplete" if cut else "completed"
            part = {"type": "output_audio", "transcript": text} if response.spoken else {"type": "output_text", "text": text}
            item.content = [part]
            where = self._where(response, item)
            if response.spoken:
                told += [ev.AudioDone(**where), ev.TranscriptDone(transcript=text, **where)]
                shown = {"type": "audio", "transcript": text}
            else:
                told.append(ev.TextDone(text=text, **where))
                shown = {"type": "text", "text": text}
            told += [ev.ContentPartDone(part=shown, **where), *self._end_output(response, item)]
        told.append(ev.ResponseDone(response=self._wire(response, status)))
        if response.sounded:
            told.append(ev.OutputStopped(response_id=response.id))
        return told

    def _where(self, response: Response, item: Item) -> dict[str, Any]:
        return {"response_id": response.id, "item_id": item.id, "output_index": response.output.index(item), "content_index": 0}

    def _wire(self, response: Response, status: Status) -> dict[str, Any]:
        config = self._config()
        details: dict[str, Any] | None = None
        if status in ("cancelled", "incomplete"):
            details = {"type": status, "reason": response.reason}
        elif status == "failed":
            details = {"type": "failed", "error": {"type": "server_error", "code": "server_error", "message": response.failed}}
        return {
            "object": "realtime.response",
            "id": response.id,
            "conversation_id": None if response.aside else self.conversation_id,
            "status": status,
            "status_details": details,
            "output": [i.to_wire() for i in response.output],
            "output_modalities": ["audio"] if response.spoken else ["text"],
            "max_output_tokens": response.max_output_tokens,
            "audio": {"output": {"format": config.output_format.model_dump(), "voice": config.voice}},
            "metadata": response.metadata,
            "usage": None if status == "in_progress" else self._usage(response),
        }

    def _usage(self, response: Response) -> dict[str, Any]:
        answered = response.sources
        if answered is None:
            answered = [i for i in self._items if i not in response.output]
        return usage(answered, response.output, response.end)
