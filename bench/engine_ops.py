"""``python -m bench.engine_ops FOLDER``: operations of a step and of an admission, and memory of a slot, ours and moshi's, as
JSON; for the engines' own environment. ``FOLDER``: what ``bench.engine_models`` wrote. Operations are counted on a CPU, where
nothing is captured; ``--device cuda`` is for the memory.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import torch
from moshi.utils.compile import no_compile

from bench.peers.moshi_stt import MoshiSttEngine
from bench.peers.moshi_tts import MoshiTtsEngine
from engines.kyutai.model.checkpoint import load_stt
from engines.kyutai.model.opcount import Ops, moshi_stt_ops, stt_ops
from engines.kyutai.model.stt import BatchedStt
from engines.kyutai.model.tts import BatchedTts
from engines.kyutai.model.tts_checkpoint import load_tts
from engines.kyutai.model.tts_opcount import moshi_tts_ops, tts_ops
from engines.kyutai.model.voices import voice_names
from engines.kyutai.schedule.buckets import Buckets

SLOTS = 4
CFG = 2.0


def operations(folder: Path) -> dict[str, Any]:
    """Counts of both sides, on a CPU."""
    stt, tts = folder / "stt", folder / "tts"
    parts = load_tts(tts)
    voices = voice_names(tts / "voices", parts.voice_suffix)
    model = BatchedTts(parts, Buckets([SLOTS]), voices=voices, default_voice=min(voices), cfg_coef=CFG)
    codebooks = model.n_q
    our_tts = tts_ops(model, parts.tokenizer.encode("hello"))
    their_tts = moshi_tts_ops(tts, f"voices/{min(voices)}", slots=SLOTS, n_q=codebooks, cfg_coef=CFG)
    our_stt, their_stt = stt_ops(BatchedStt(load_stt(stt), Buckets([SLOTS]))), moshi_stt_ops(load_stt(stt), SLOTS)
    found: dict[str, Any] = {}
    for side, hears, speaks in (("ours", our_stt, our_tts), ("moshi", their_stt, their_tts)):
        found[side] = {
            "stt_step": _row(hears.step),
            "stt_admission": _row(hears.admission),
            "tts_step": _row(speaks.step),
            "tts_text_step": _row(speaks.text),
            "tts_admission": _row(speaks.admission),
        }
        if hears.swap is not None:
            found[side]["stt_swap"] = _row(hears.swap)
    return found


def memory(folder: Path, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Bytes of state of one slot, of both sides, in this type."""
    stt, tts = folder / "stt", folder / "tts"
    parts = load_tts(tts, device=device, dtype=dtype)
    voices = voice_names(tts / "voices", parts.voice_suffix)
    speaking = BatchedTts(parts, Buckets([SLOTS]), voices=voices, default_voice=min(voices), cfg_coef=CFG)
    hearing = BatchedStt(load_stt(stt, device=device, dtype=dtype), Buckets([SLOTS]))
    ours = {"stt": hearing.slot_bytes, "tts": speaking.slot_bytes, "voice": speaking.voice_bytes}
    del parts, speaking, hearing
    with no_compile():
        their_stt = MoshiSttEngine(load_stt(stt, device=device, dtype=dtype), SLOTS, lambda *_: None)
        hears = sum(_state_bytes(module) for module in their_stt.streaming)
        del their_stt
        their_tts = MoshiTtsEngine(tts, SLOTS, lambda *_: None, device=device, dtype=dtype, cfg=CFG)
        speaks = sum(_state_bytes(module) for module in their_tts.streaming)
    return {"ours": ours, "moshi": {"stt": hears // SLOTS, "tts": speaks // SLOTS, "voice": 0}}


def _state_bytes(module: Any) -> int:
    """Of all tensors in the streaming states of a module and of those below it, each counted once."""
    seen: dict[int, int] = {}

    def look(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            seen[value.data_ptr()] = max(seen.get(value.data_ptr(), 0), value.nbytes)
        elif isinstance(value, dict):
            for one in value.values():
                look(one)
        elif isinstance(value, list | tuple):
            for one in value:
                look(one)
        elif hasattr(value, "__dict__") and not isinstance(value, torch.nn.Module) and id(value) not in done:
            done.add(id(value))
            look(vars(value))

    done: set[int] = set()
    for _, one in module.named_modules():
        state = getattr(one, "_streaming_state", None)
        if state is not None:
            look(state)
    inner = getattr(module, "lm_model", None)  # which the generator keeps out of its own modules
    if inner is not None:
        for one in inner.modules():
            look(getattr(one, "_streaming_state", None))
    return sum(seen.values())


def _row(ops: Ops) -> dict[str, int]:
    return {"operations": ops.total, "launches": ops.launches, "waits": ops.waits}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--what", choices=["operations", "memory"], required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    dtype = torch.float32 if chosen.device == "cpu" else torch.bfloat16
    print(json.dumps(operations(chosen.folder) if chosen.what == "operations" else memory(chosen.folder, chosen.device, dtype)))
