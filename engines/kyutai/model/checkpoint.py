"""Where the models come from: a folder, or a repository on the Hugging Face hub, in the file format of moshi, read by moshi."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from moshi.models.loaders import MIMI_NAME, MOSHI_NAME, TEXT_TOKENIZER_NAME, CheckpointInfo

from engines.kyutai.model.interface import FRAME_RATE_HZ, FRAME_SAMPLES, SAMPLE_RATE_HZ


def open_checkpoint(model: str | Path) -> CheckpointInfo:
    """``model``: a folder with ``config.json`` and the files that it names, or the name of a repository.

    :raises ValueError: where the folder lacks a file, or its ``config.json`` is none; where the repository cannot be had
    """
    folder = Path(model)
    if not folder.is_dir():
        try:
            return CheckpointInfo.from_hf_repo(str(model))
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"model: {model} is no folder, and cannot be had from the hub: {reason}") from error
    config = folder / "config.json"
    try:
        named = json.loads(config.read_text())
        paths = {
            "moshi_weights": folder / named.get("moshi_name", MOSHI_NAME),
            "mimi_weights": folder / named.get("mimi_name", MIMI_NAME),
            "tokenizer": folder / named.get("tokenizer_name", TEXT_TOKENIZER_NAME),
        }
        if named.get("mimi_config_name"):
            paths["mimi_config_path"] = folder / named["mimi_config_name"]
        if named.get("lora_name"):
            paths["lora_weights"] = folder / named["lora_name"]
    except FileNotFoundError as error:
        raise ValueError(f"model: {folder} has no config.json") from error
    except (ValueError, AttributeError) as error:
        raise ValueError(f"model: {config} cannot be read: {error}") from error
    for path in paths.values():
        if not path.is_file():
            raise ValueError(f"model: {config} names {path.name}, which is not there")
    return CheckpointInfo.from_hf_repo(str(folder), config_path=config, **paths)


@dataclass(frozen=True)
class SttParts:
    """A speech-to-text model as moshi loads it. ``delay``: frames by which its words come later than they were said.
    ``prefix``: frames of silence that it wants to hear first."""

    mimi: Any
    lm: Any
    tokenizer: Any
    delay: int
    prefix: int


def load_stt(model: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> SttParts:
    """Seconds of the model's own config become frames as in Kyutai's scripts: upwards. Mimi computes in float32 whatever
    ``dtype`` says, as in moshi.

    :raises ValueError: where the checkpoint is of another kind
    """
    info = open_checkpoint(model)
    if info.model_type != "stt" or info.lm_config is None or info.lm_config.get("dep_q") != 0:
        raise ValueError(f"model: {model} is no speech-to-text model")
    mimi = info.get_mimi(device=device)
    if mimi.sample_rate != SAMPLE_RATE_HZ or mimi.frame_size != FRAME_SAMPLES:
        raise ValueError(f"model: {model} has {mimi.frame_size} samples a frame at {mimi.sample_rate} Hz")
    return SttParts(
        mimi=mimi,
        lm=info.get_moshi(device=device, dtype=dtype),
        tokenizer=info.get_text_tokenizer(),
        delay=math.ceil(info.stt_config.get("audio_delay_seconds", 0.5) * FRAME_RATE_HZ),
        prefix=math.ceil(info.stt_config.get("audio_silence_prefix_seconds", 0.0) * FRAME_RATE_HZ),
    )
