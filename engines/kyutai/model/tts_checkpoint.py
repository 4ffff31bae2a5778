"""A text-to-speech model as moshi loads it, and whether it is one that the engine can serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from moshi.models.tts import TTSModel

from engines.kyutai.model.checkpoint import open_checkpoint
from engines.kyutai.model.interface import FRAME_SAMPLES, SAMPLE_RATE_HZ


@dataclass(frozen=True)
class TtsParts:
    """``delay``: steps by which the audio is later than the text. ``ahead``: words that a second text stream is ahead, 0
    without one. ``voice_suffix``: how the files of this model's voices end. ``guidance``: values that the guidance condition
    may have, none where the model was not distilled."""

    mimi: Any
    lm: Any
    tokenizer: Any
    delay: int
    ahead: int
    voice_suffix: str
    guidance: tuple[float, ...]


def load_tts(model: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> TtsParts:
    """``model``: a folder, or the name of a repository. Mimi computes in float32 whatever ``dtype`` says, as in moshi.

    :raises ValueError: where the checkpoint is of another kind
    """
    info = open_checkpoint(model)
    if "audio_delay" not in info.tts_config or info.lm_config is None:
        raise ValueError(f"model: {model} is no text-to-speech model")
    if info.tts_config.get("multistream", False):
        raise ValueError(f"model: {model} speaks with several voices at once, which is not supported")
    made = TTSModel.from_checkpoint_info(info, n_q=info.lm_config["dep_q"], device=device, dtype=dtype)
    mimi = made.mimi
    if mimi.sample_rate != SAMPLE_RATE_HZ or mimi.frame_size != FRAME_SAMPLES:
        raise ValueError(
            f"model: {model} has frames of {mimi.frame_size} samples at {mimi.sample_rate} Hz, not {FRAME_SAMPLES}"
        )
    return TtsParts(
        mimi=mimi,
        lm=made.lm,
        tokenizer=made.tokenizer,
        delay=made.delay_steps,
        ahead=made.machine.second_stream_ahead,
        voice_suffix=made.voice_suffix,
        guidance=tuple(sorted(made.valid_cfg_conditionings)),
    )
