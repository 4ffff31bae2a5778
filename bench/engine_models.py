"""``python -m bench.engine_models SHAPE FOLDER``: checkpoints with random weights, in the file format of the real ones, for the
engines' own environment. What a step costs hangs on shapes, not on what the weights are.

========  ==============================================================================================================
shape     stt, tts
========  ==============================================================================================================
``full``  those of stt-1b-en_fr and tts-1.6b-en_fr, in bfloat16: 2 and 4 GB
``deep``  the same layers, codebooks, heads and Mimi layers, so the same operations, in narrow widths and short contexts:
          what a CPU can serve. They are those of the tests.
========  ==============================================================================================================
"""

from __future__ import annotations

import json
import os
import random
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import sentencepiece
import torch
from moshi.models import loaders
from safetensors.torch import save_file

from tests.engines import tiny_stt, tiny_tts

CONTEXT = 64
"""Frames, of the deep shape: 5 s."""
VOICE_DIM, VOICE_FRAMES = 512, 125
_TEXT_CARD = 8000
_WIDE = {"dim": 2048, "num_heads": 16, "card": 2048, "text_card": _TEXT_CARD}
FULL_STT = {**_WIDE, "context": 750}
FULL_TTS = {
    **_WIDE,
    "context": 500,
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_dim_feedforward": 3072,
    "depformer_low_rank_embeddings": 128,
    "depformer_weights_per_step_schedule": [0, 1, 2, 3, 4, 5, 6, 7, *[8] * 8, *[9] * 8, *[10] * 8],
    "delays": [0, 0, *[2] * 31],
}


def write(shape: str, folder: Path) -> None:
    """``folder/stt`` and ``folder/tts``.

    :raises ValueError: for another shape
    """
    deep = {"layers": 16, "codebooks": 32, "mimi_layers": 8}
    if shape == "deep":
        tiny_stt.write_tiny_stt(folder / "stt", delay_s=0.5, context=CONTEXT, **deep)
        tiny_tts.write_tiny_tts(folder / "tts", depth_layers=4, context=CONTEXT, **deep)
    elif shape == "full":
        write_full_stt(folder / "stt")
        write_full_tts(folder / "tts")
    else:
        raise ValueError(f"shape: deep or full, not {shape}")


def write_full_stt(folder: Path) -> None:
    lm = tiny_stt.lm_config(layers=16, codebooks=32) | FULL_STT
    about = {"model_type": "stt", "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0}}
    _write(folder, lm, about)


def write_full_tts(folder: Path) -> None:
    lm = tiny_tts.lm_config(layers=16, depth_layers=4, codebooks=32) | FULL_TTS
    lm["conditioners"]["speaker_wavs"]["tensor"]["dim"] = VOICE_DIM
    for name in ("control", "cfg"):
        lm["conditioners"][name]["lut"]["dim"] = 16
    about = {
        "model_type": "tts",
        "model_id": {"sig": tiny_tts.SIGNATURE, "epoch": tiny_tts.EPOCH},
        "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
    }
    _write(folder, lm, about)
    (folder / "voices").mkdir()
    voice = {"speaker_wavs": torch.randn(1, VOICE_DIM, VOICE_FRAMES)}
    save_file(voice, folder / "voices" / f"ada.wav{tiny_tts.VOICE_SUFFIX}")


def _write(folder: Path, lm: dict[str, Any], about: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    names = {"moshi_name": "model.safetensors", "mimi_name": "mimi.safetensors", "tokenizer_name": "tokenizer.model"}
    generation = {"lm_gen_config": {"temp": 0.6, "temp_text": 0.6}}
    (folder / "config.json").write_text(json.dumps(lm | names | about | generation, indent=1))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.no_grad():
        model = loaders.get_moshi_lm(None, dict(lm), device=device, dtype=torch.bfloat16)
        for tensor in model.state_dict().values():
            if tensor.ndim >= 2:
                tensor.normal_(std=1.0 / tensor.shape[-1] ** 0.5)
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors"
        )
        del model
        mimi = loaders.get_mimi(None, num_codebooks=32)
        state = mimi.state_dict()
        for name, tensor in state.items():
            if name.endswith("embedding_sum"):
                tensor.normal_()
            elif name.endswith(("cluster_usage", "_initialized")):
                tensor.fill_(1)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "mimi.safetensors")
    (folder / "tokenizer.model").write_bytes(_tokenizer())


def _tokenizer() -> bytes:
    """Of as many pieces as the real ones have, of words that there are not."""
    draw = random.Random(0)
    words = [
        "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(draw.randint(1, 5))) for _ in range(40_000)
    ]
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(words[i : i + 10]) for i in range(0, len(words), 10)),
        model_writer=model,
        vocab_size=_TEXT_CARD,
        model_type="bpe",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        minloglevel=2,
    )
    return model.getvalue()


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
