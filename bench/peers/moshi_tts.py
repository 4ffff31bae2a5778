"""The loop by which moshi's own server speaks to many listeners, behind Parley's doors: the peer of the text-to-speech engine.

It drives the package's public classes in the way of ``rust/moshi-server/tts.py``: everybody who has words enough steps, as fast
as it goes; the whole batch is computed in every step, with execution masks; of three steps, up to two are for those who are
not yet at their audio, in which the depth transformer is left out; the state machine of the text runs on the host, in the
middle of the step; an admission computes the voice's keys and values in every layer and resets the slot. Sockets, front-ends
and the link are Parley's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from moshi.models import LMGen
from moshi.models.tts import Entry, State, TTSModel
from moshi.modules.transformer import StreamingMultiheadAttention
from torch import Tensor

from engines.kyutai.link.channel import ERROR
from engines.kyutai.link.host import Send
from engines.kyutai.model.checkpoint import open_checkpoint
from engines.kyutai.model.interface import FRAME_SAMPLES
from engines.kyutai.model.voices import voice_names
from engines.kyutai.tts_records import Done, Ended, Frame, Open, Opened, Unwanted, WordBegun, Words, at_engine, to_front
from engines.kyutai.tts_text import described
from engines.wire.kyutai import NO_FREE_CHANNELS

TEXT_STEPS_BETWEEN = 2
PADDING_BETWEEN = 1
_IDLE_S = 0.001


@dataclass
class _Listener:
    slot: int
    state: State
    offset: int = 0
    frames: int = 0
    ended: bool = False
    begun: int = 0


class MoshiTtsEngine:
    """An ``Engine`` of the host. ``folder``: a checkpoint; all speak with the first voice in its ``voices``."""

    def __init__(self, folder: Path, slots: int, send: Send, *, device: str, dtype: torch.dtype, cfg: float) -> None:
        self.slots = slots
        self._send = send
        info = open_checkpoint(folder)
        assert info.lm_config is not None
        made = TTSModel.from_checkpoint_info(info, n_q=info.lm_config["dep_q"], temp=0.6, device=device, dtype=dtype)
        self._model = made
        self.codebooks = made.lm.dep_q
        lm = made.lm
        assert lm.condition_provider is not None
        assert lm.fuser is not None
        voice = min(voice_names(folder / "voices", made.voice_suffix).items())[1]
        attributes = made.make_condition_attributes([voice], cfg_coef=cfg)
        conditions = lm.condition_provider.prepare_and_provide([attributes] * slots)
        source = lm.fuser.get_cross(lm.condition_provider.prepare_and_provide([attributes]))
        assert source is not None
        self._source = source.to(lm.dtype)
        self._crossing = [m for m in lm.modules() if isinstance(m, StreamingMultiheadAttention) and m.cross_attention]
        self._gen = LMGen(
            lm,
            temp=made.temp,
            temp_text=made.temp,
            condition_tensors=conditions,
            on_text_hook=self._on_text,
            on_audio_hook=self._on_audio,
            support_out_of_sync=True,
        )
        self._text = described(made.tokenizer.serialized_model_proto())
        self._listeners: dict[str, _Listener] = {}
        self._admitted: list[int] = []
        self._now: dict[int, _Listener] = {}
        self._text_steps = TEXT_STEPS_BETWEEN
        zero = made.machine.token_ids.zero
        self._missing = torch.full((slots, lm.n_q - lm.dep_q, 1), zero, dtype=torch.long, device=device)
        self._no_audio = torch.full((slots, lm.dep_q, 1), zero, dtype=torch.long, device=device)
        self._device = torch.device(device)
        everyone = torch.ones(slots, dtype=torch.bool, device=device)
        with torch.no_grad():
            self._gen.streaming_forever(slots)
            made.mimi.streaming_forever(slots)
        for only_text in (False, True, False):
            self.forward(everyone, everyone, only_text)

    @property
    def streaming(self) -> list[Any]:
        """The modules that hold state for each slot."""
        return [self._gen, self._model.mimi]

    def heard(self, session: str, kind: int, payload: bytes) -> None:
        ask = at_engine(kind, payload)
        if isinstance(ask, Open):
            free = set(range(self.slots)) - {one.slot for one in self._listeners.values()}
            if not free:
                self._send(session, ERROR, NO_FREE_CHANNELS.encode())
                return
            self._listeners[session] = _Listener(min(free), self._model.machine.new_state([]))
            self._admitted.append(min(free))
            self._send(session, *to_front(Opened()))
        elif (one := self._listeners.get(session)) is None:
            return
        elif isinstance(ask, Words):
            for tokens in ask.tokens:
                one.state.entries.append(Entry(tokens, "", padding=max(0, PADDING_BETWEEN + len(tokens) - 1)))
        elif isinstance(ask, Ended):
            one.ended = True
        elif isinstance(ask, Unwanted):
            self.left(session)

    def left(self, session: str) -> None:
        self._listeners.pop(session, None)

    def answer(self, question: str) -> bytes:
        if question == "text":
            return self._text
        return json.dumps({"slots": self.slots, "slots_used": len(self._listeners)}).encode() if question == "status" else b""

    def tick(self) -> float | None:
        active = {session: one for session, one in self._listeners.items() if self._can_step(one)}
        early = {session: one for session, one in active.items() if one.offset < self._model.delay_steps}
        only_text = bool(early) and (self._text_steps > 0 or len(early) == len(active))
        self._admit()
        if not active:
            return _IDLE_S if self._listeners else None
        if only_text:
            self._text_steps -= 1
            active = early
        else:
            self._text_steps = TEXT_STEPS_BETWEEN
        heard = {one.slot for one in active.values() if one.offset - self._gen.max_delay >= self._model.delay_steps}
        pcm = self.forward(self._mask({one.slot for one in active.values()}), self._mask(heard), only_text, active)
        for session, one in active.items():
            one.offset += 1
            if pcm is not None and one.slot in heard:
                one.frames += 1
                self._send(session, *to_front(Frame(pcm[one.slot])))
            for _ in range(one.begun):
                self._send(session, *to_front(WordBegun(one.offset - 1)))
            end = one.state.end_step
            last = self._model.delay_steps + self._model.final_padding + self._gen.max_delay
            if one.ended and end is not None and one.offset >= end + last:
                self._send(session, *to_front(Done(one.frames)))
                self.left(session)
        return 0.0

    def _can_step(self, one: _Listener) -> bool:
        ahead = self._model.machine.second_stream_ahead
        return one.ended or len(one.state.entries) > ahead

    @torch.no_grad()
    def _admit(self) -> None:
        if not self._admitted:
            return
        slots = torch.tensor(self._admitted, device=self._device)
        for attention in self._crossing:
            source = self._source.expand(len(slots), -1, -1)
            keys, values = attention._compute_cross_attention(source, source)
            state: Any = attention._streaming_state
            state.k_cross.index_copy_(0, slots, keys)
            state.v_cross.index_copy_(0, slots, values)
        new = self._mask(set(self._admitted))
        self._gen.reset_streaming(reset_mask=new)
        self._model.mimi.reset_streaming(reset_mask=new)
        self._admitted.clear()

    @torch.no_grad()
    def forward(
        self, stepping: Tensor, heard: Tensor, only_text: bool, active: dict[str, _Listener] | None = None
    ) -> np.ndarray | None:
        """Audio ``[slots, 1920]``, or ``None`` of a step of text alone."""
        self._now = {one.slot: one for one in (active or {}).values()}
        self._gen.set_exec_mask(stepping)
        self._model.mimi.set_exec_mask(heard)
        frame = self._gen.step(self._missing, depformer_replace_tokens=self._no_audio if only_text else None)
        if only_text:
            return None
        assert frame is not None
        pcm = self._model.mimi.decode(frame[:, 1:].clamp_(min=0)).clamp_(-0.99, 0.99)
        return pcm[:, 0, :FRAME_SAMPLES].float().cpu().numpy()

    def _mask(self, slots: set[int]) -> Tensor:
        return torch.tensor([slot in slots for slot in range(self.slots)], dtype=torch.bool, device=self._device)

    def _on_text(self, tokens: Tensor) -> None:
        wanted = tokens.tolist()
        for slot, one in self._now.items():
            wanted[slot], took = self._model.machine.process(one.offset, one.state, wanted[slot])
            one.begun = int(took)
        tokens[:] = torch.tensor(wanted, dtype=torch.long, device=tokens.device)

    def _on_audio(self, tokens: Tensor) -> None:
        state: Any = self._gen._streaming_state
        delays = self._gen.delays_cuda[1 : 1 + self._model.lm.dep_q]
        tokens.masked_fill_(state.offsets[:, None] < delays + self._model.delay_steps, self._model.machine.token_ids.zero)
