"""The loop by which moshi's own server hears many speakers, behind Parley's doors: the peer of the speech-to-text engine.

It drives the package's public classes as ``rust/moshi-server`` does: a step as soon as anybody's frame is there, always of the
whole batch, with execution masks; one frame of each speaker a step; a new speaker's slot by ``reset_streaming``; no flush. The
language model is fed as ``LMGen`` feeds it, which is the frame before. Sockets, front-ends and the link are Parley's, so that
what differs is the loop and the model's code.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from moshi.models import LMGen

from engines.kyutai.link.channel import ERROR, OPEN
from engines.kyutai.link.host import Send
from engines.kyutai.model.checkpoint import SttParts
from engines.kyutai.model.interface import FRAME_SAMPLES
from engines.kyutai.stt_records import MARKER, PCM16, PCM32, STEP, TOLD, Stepped, read_number, samples, stepped
from engines.wire.kyutai import NO_FREE_CHANNELS, EndWord, Marker, Ready, SttOut, Word, pack

PADDING, WORD_END = 3, 0
_FRAME_S = 0.08


@dataclass
class _Speaker:
    slot: int
    extensions: list[str] | None
    audio: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    frames: deque[np.ndarray] = field(default_factory=deque)
    taken: int = 0
    steps: int = 0
    word: list[int] = field(default_factory=list)
    begun: int = 0


class MoshiSttEngine:
    """An ``Engine`` of the host. ``parts``: a model as moshi loads it, that nobody else steps."""

    def __init__(self, parts: SttParts, slots: int, send: Send) -> None:
        self.delay = parts.delay
        self.slots = slots
        self._parts = parts
        self._send = send
        self._gen = LMGen(parts.lm, temp=0.0, temp_text=0.0)
        self._device = parts.lm.text_linear.weight.device
        self._speakers: dict[str, _Speaker] = {}
        self._fresh: set[int] = set()
        self._markers: list[tuple[int, str, int]] = []
        self._step = 0
        with torch.no_grad():
            self._gen.streaming_forever(slots)
            parts.mimi.streaming_forever(slots)
        for _ in range(3):
            self.step(np.zeros((slots, FRAME_SAMPLES), np.float32), np.ones(slots, np.bool_))

    @property
    def streaming(self) -> list[Any]:
        """The modules that hold state for each slot."""
        return [self._gen, self._parts.mimi]

    def heard(self, session: str, kind: int, payload: bytes) -> None:
        if kind == OPEN:
            free = set(range(self.slots)) - {one.slot for one in self._speakers.values()}
            if not free:
                self._send(session, ERROR, NO_FREE_CHANNELS.encode())
                return
            self._speakers[session] = _Speaker(min(free), json.loads(payload).get("extensions"))
            self._fresh.add(min(free))
            self._tell(session, Ready(self._speakers[session].extensions))
        elif (one := self._speakers.get(session)) is None:
            return
        elif kind in (PCM16, PCM32):
            one.audio = np.concatenate([one.audio, samples(kind, payload)])
            whole = len(one.audio) // FRAME_SAMPLES * FRAME_SAMPLES
            one.frames.extend(one.audio[:whole].reshape(-1, FRAME_SAMPLES))
            one.audio = one.audio[whole:]
        elif kind == MARKER:
            self._markers.append((self._step + self.delay + len(one.frames), session, read_number(payload)))

    def left(self, session: str) -> None:
        self._speakers.pop(session, None)

    def answer(self, question: str) -> bytes:
        return json.dumps({"slots": self.slots, "slots_used": len(self._speakers)}).encode() if question == "status" else b""

    def tick(self) -> float | None:
        now = [(session, one) for session, one in self._speakers.items() if one.frames]
        if not now:
            return None
        pcm, mask = np.zeros((self.slots, FRAME_SAMPLES), np.float32), np.zeros(self.slots, np.bool_)
        for _, one in now:
            pcm[one.slot] = one.frames.popleft()
            mask[one.slot] = True
        tokens, pauses = self.step(pcm, mask)
        self._step += 1
        for session, one in now:
            one.taken += FRAME_SAMPLES
            one.steps += 1
            self._wrote(session, one, int(tokens[one.slot]))
            waiting = len(one.frames) * FRAME_SAMPLES + len(one.audio)
            told = Stepped(one.taken, one.steps, waiting, tuple(pauses[one.slot].tolist()))
            self._send(session, STEP, stepped(told))
        for due, session, number in self._markers:
            if due <= self._step:
                self._tell(session, Marker(number))
        self._markers = [one for one in self._markers if one[0] > self._step]
        return 0.0

    @torch.no_grad()
    def step(self, pcm: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``pcm``: ``[slots, 1920]``; ``mask``: who steps. Returns tokens ``[slots]`` and pauses ``[slots, heads]``."""
        mimi = self._parts.mimi
        if self._fresh:
            new = torch.tensor([slot in self._fresh for slot in range(self.slots)], device=self._device)
            self._gen.reset_streaming(reset_mask=new)
            mimi.reset_streaming(reset_mask=new)
            self._fresh.clear()
        stepping = torch.from_numpy(mask).to(self._device)
        self._gen.set_exec_mask(stepping)
        mimi.set_exec_mask(stepping)
        codes = mimi.encode(torch.from_numpy(pcm).to(self._device)[:, None])
        out: Any = self._gen.step_with_extra_heads(codes)
        tokens, heads = out
        told = torch.stack([head[:, 0, 0] for head in heads], dim=1) if heads else torch.zeros(self.slots, 0)
        return tokens[:, 0, 0].cpu().numpy(), told.float().cpu().numpy()

    def _wrote(self, session: str, one: _Speaker, token: int) -> None:
        at_s = max(0, one.steps - self.delay) * _FRAME_S
        if token > PADDING:
            one.begun = one.begun if one.word else one.steps
            one.word.append(token)
        elif token == WORD_END and one.word:
            begun_s = max(0, one.begun - self.delay) * _FRAME_S
            self._tell(session, Word(self._parts.tokenizer.decode(one.word), begun_s))
            self._tell(session, EndWord(at_s))
            one.word = []

    def _tell(self, session: str, message: SttOut) -> None:
        self._send(session, TOLD, pack(message))
