"""How many operations of PyTorch a step of text to speech takes, ours and moshi's. See ``opcount.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from moshi.models import LMGen
from moshi.models.tts import TTSModel
from moshi.modules.transformer import StreamingMultiheadAttention
from moshi.utils.compile import no_compile
from torch import Tensor

from engines.kyutai.model.checkpoint import open_checkpoint
from engines.kyutai.model.opcount import Ops, count
from engines.kyutai.model.tts import BatchedTts


@dataclass(frozen=True)
class TtsOps:
    """``text``: of a step of all slots before their audio begins. ``step``: of one with audio. ``admission``: of making one
    slot new for a voice that was spoken with before."""

    text: Ops
    step: Ops
    admission: Ops


def captured_ops(model: BatchedTts) -> Ops:
    """Of what a graph would hold of a step with audio, for the largest bucket in scattered rows."""
    return count(lambda: model._forward(model._rows[model.slots, False], True))


def tts_ops(model: BatchedTts, word: Sequence[int]) -> TtsOps:
    """Of our batched model, with all slots in use. Captured steps cannot be counted: the model must be on a CPU. ``word``: some
    text tokens.

    What an admission changes is written by the next step's one write of changes, which is counted with it."""
    batch = model.buckets.batch(range(model.slots))

    def admit() -> None:
        model.admit(0, None, 0)
        model.give(0, [list(word)] * 20)

    for slot in batch.slots:
        model.admit(slot, None, slot)
        model.give(slot, [list(word)] * 20)
    model.step(batch)
    text = count(lambda: model.step(batch))
    while not model.step(batch).has_audio.any():
        pass
    step = count(lambda: model.step(batch))

    def admitted() -> None:
        admit()
        model.prepare(batch)

    admission = count(admitted)
    for slot in batch.slots:
        model.free(slot)
    return TtsOps(text, step, admission)


@torch.no_grad()
def moshi_tts_ops(folder: Path, voice: str, *, slots: int, n_q: int, cfg_coef: float | None) -> TtsOps:
    """Of the loop of moshi-server's own Python module on the same weights (``rust/moshi-server/tts.py``), with all slots in
    use: execution masks, the language model with the hooks for text and for audio, Mimi; and its admission of one slot."""
    made = TTSModel.from_checkpoint_info(open_checkpoint(folder), n_q=n_q, temp=0.6, dtype=torch.float32)
    lm, mimi, machine = made.lm, made.mimi, made.machine
    attributes = made.make_condition_attributes([folder / f"{voice}{made.voice_suffix}"], cfg_coef=cfg_coef)
    conditions = lm.condition_provider.prepare_and_provide([attributes] * slots)
    source = lm.fuser.get_cross(lm.condition_provider.prepare_and_provide([attributes])).to(lm.dtype)
    crossing = [m for m in lm.modules() if isinstance(m, StreamingMultiheadAttention) and m.cross_attention]

    def on_text(tokens: Tensor) -> None:
        # Its state machine runs on the host, in the middle of the step.
        tokens[:] = torch.tensor(tokens.tolist(), dtype=torch.long, device=tokens.device)

    def on_audio(tokens: Tensor) -> None:
        state = gen._streaming_state
        assert state is not None
        delays = gen.delays_cuda[1 : 1 + lm.dep_q]
        tokens.masked_fill_(state.offsets[:, None] < delays + made.delay_steps, machine.token_ids.zero)

    gen = LMGen(
        lm,
        temp=0.6,
        temp_text=0.6,
        condition_tensors=conditions,
        on_text_hook=on_text,
        on_audio_hook=on_audio,
        support_out_of_sync=True,
    )
    missing = torch.full((slots, lm.n_q - lm.dep_q, 1), machine.token_ids.zero, dtype=torch.long)
    no_audio = torch.full((slots, lm.dep_q, 1), machine.token_ids.zero, dtype=torch.long)
    everyone, first = torch.ones(slots, dtype=torch.bool), torch.arange(slots) == 0

    def step(replaced: Tensor | None) -> None:
        gen.set_exec_mask(everyone)
        mimi.set_exec_mask(everyone)
        frame = gen.step(missing, depformer_replace_tokens=replaced)
        codes = frame[:, 1:].clamp_(min=0)
        if replaced is None:
            mimi.decode(codes).clamp_(-0.99, 0.99)

    def admit() -> None:
        index = torch.zeros(1, dtype=torch.long)
        for attention in crossing:
            keys, values = attention._compute_cross_attention(source, source)
            state = attention._streaming_state
            state.k_cross.index_copy_(0, index, keys)
            state.v_cross.index_copy_(0, index, values)
        gen.reset_streaming(reset_mask=first)
        mimi.reset_streaming(reset_mask=first)

    with no_compile(), mimi.streaming(slots), gen.streaming(slots):
        step(None)  # the first one also makes what later ones find
        return TtsOps(count(lambda: step(no_audio)), count(lambda: step(None)), count(admit))
