"""A whole text-to-speech checkpoint of a few thousand parameters, in the file format of the real ones.

``python -m tests.engines.tiny_tts FOLDER`` writes one: ``config.json``, the weights of the language model and of Mimi, a
tokenizer and voices. Its speech is noise, but every part of the 1.6B is there: two text streams in one, cross-attention to a
voice, conditions that are summed, a depth transformer with shared weights and low-rank embeddings, acoustic delays.

Random weights say the same token for ever where what never changes (conditions, positions) outweighs what was said, so the
embeddings are scaled up; who compares tokens should still check that they differ.
"""

from __future__ import annotations

import json
import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import sentencepiece
import torch
from moshi.models import loaders
from safetensors.torch import save_file

SIGNATURE, EPOCH = "0a1b2c3d", 7
VOICE_SUFFIX = f".{SIGNATURE}@{EPOCH}.safetensors"
VOICES = ("ada.wav", "ben.wav", "den/cleo.wav")
VOICE_DIM, VOICE_FRAMES = 8, 5
CARD = 24
TEXT_CARD = 72
FRAME_RATE_HZ = 12.5
CFG_VALUES = ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]
_SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "she goes to school and reads a book every day",
    "what would you like to talk about this morning",
    "hello there, my friend! how are you today?",
    "pack my box with five dozen liquor jugs, please.",
)


def mimi_config(*, layers: int = 2, codebooks: int = 8) -> dict[str, Any]:
    """Mimi's own ratios and rates, and few channels."""
    seanet = {
        "channels": 1,
        "dimension": 16,
        "causal": True,
        "n_filters": 2,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    }
    transformer = {
        "d_model": 16,
        "num_heads": 2,
        "num_layers": layers,
        "causal": True,
        "layer_scale": 0.5,
        "context": 20,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 32,
        "input_dimension": 16,
        "output_dimensions": [16],
    }
    quantizer = {"dimension": 8, "n_q": codebooks, "bins": CARD, "input_dimension": 16, "output_dimension": 16}
    return {
        "sample_rate": 24000,
        "channels": 1,
        "frame_rate": FRAME_RATE_HZ,
        "seanet": seanet,
        "quantizer": quantizer,
        "transformer": transformer,
    }


def lm_config(
    *, layers: int = 2, depth_layers: int = 2, codebooks: int = 8, context: int = 24, ahead: int = 2, distilled: bool = True
) -> dict[str, Any]:
    """What ``config.json`` says of the language model. ``ahead``: words that a second text stream is ahead, 0 for a model
    without one. ``distilled``: whether guidance is a condition, as in the 1.6B."""
    schedule = [min(k, max(1, codebooks - 3)) for k in range(codebooks)]
    conditioners: dict[str, Any] = {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": VOICE_DIM}},
        "control": {"type": "lut", "lut": {"n_bins": 1, "dim": 4, "tokenizer": "noop", "possible_values": ["ok"]}},
    }
    if distilled:
        cfg = {"n_bins": len(CFG_VALUES), "dim": 4, "tokenizer": "noop", "possible_values": CFG_VALUES}
        conditioners["cfg"] = {"type": "lut", "lut": cfg}
    return {
        "card": CARD,
        "n_q": codebooks,
        "dep_q": codebooks,
        "delays": [0, 0] + [2] * (codebooks - 1),
        "dim": 32,
        "text_card": TEXT_CARD,
        "existing_text_padding_id": 3,
        "num_heads": 2,
        "num_layers": layers,
        "hidden_scale": 4.125,
        "causal": True,
        "layer_scale": None,
        "context": context,
        "max_period": 10000,
        "gating": "silu",
        "norm": "rms_norm_f32",
        "positional_embedding": "rope",
        "depformer_dim": 16,
        "depformer_dim_feedforward": 48,
        "depformer_num_heads": 2,
        "depformer_num_layers": depth_layers,
        "depformer_layer_scale": None,
        "depformer_multi_linear": True,
        "depformer_context": codebooks,
        "depformer_max_period": 10000,
        "depformer_gating": "silu",
        "depformer_pos_emb": "none",
        "depformer_weights_per_step": True,
        "depformer_weights_per_step_schedule": schedule,
        "depformer_low_rank_embeddings": 8,
        "demux_second_stream": ahead > 0,
        "text_card_out": 5,
        "cross_attention": True,
        "conditioners": conditioners,
        "fuser": {
            "cross_attention_pos_emb": True,
            "cross_attention_pos_emb_scale": 1,
            "sum": ["control", "cfg"] if distilled else ["control"],
            "prepend": [],
            "cross": ["speaker_wavs"],
        },
    }


def write_tiny_tts(folder: Path | str, *, seed: int = 9, mimi_layers: int = 2, delay_s: float = 1.28, **shape: Any) -> Path:
    """Writes the checkpoint and three voices (``voices/``). ``delay_s``: by which audio is later than text. ``shape``: as of
    ``lm_config``. The seed decides all weights. Returns the folder."""
    folder = Path(folder)
    (folder / "voices" / "den").mkdir(parents=True, exist_ok=True)
    lm, mimi = lm_config(**shape), mimi_config(layers=mimi_layers, codebooks=shape.get("codebooks", 8))
    config = lm | {
        "moshi_name": "model.safetensors",
        "mimi_name": "mimi.safetensors",
        "mimi_config_name": "mimi.json",
        "tokenizer_name": "tokenizer.model",
        "model_type": "tts",
        "model_id": {"sig": SIGNATURE, "epoch": EPOCH},
        "tts_config": {"audio_delay": delay_s, "second_stream_ahead": shape.get("ahead", 2)},
        "lm_gen_config": {"temp": 0.6, "temp_text": 0.6},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "mimi.json").write_text(json.dumps(mimi, indent=1))
    (folder / "tokenizer.model").write_bytes(_tokenizer())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file(_lm_weights(lm), folder / "model.safetensors")
        save_file(_mimi_weights(mimi), folder / "mimi.safetensors")
        for name in VOICES:
            save_file({"speaker_wavs": 2 * torch.randn(1, VOICE_DIM, VOICE_FRAMES)}, folder / f"voices/{name}{VOICE_SUFFIX}")
    return folder


def _tokenizer() -> bytes:
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES),
        model_writer=model,
        vocab_size=TEXT_CARD,
        model_type="bpe",
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        minloglevel=2,
    )
    return model.getvalue()


def _lm_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    model = loaders.get_moshi_lm(None, config, dtype=torch.float32)
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if name.startswith("linears."):
            tensor.mul_(0.5)  # so that neither chance nor the scores alone decide
        elif name == "text_linear.weight":
            tensor.mul_(4)
            tensor[0].mul_(2)  # words are to begin at unequal distances
        elif name.startswith(("emb.", "text_emb.weight", "depformer_emb.", "depformer_text_emb.weight")):
            torch.nn.init.normal_(tensor)  # what was said must matter more than the conditions, which never change
        elif tensor.ndim == 2 and not name.endswith("embed.weight"):
            torch.nn.init.normal_(tensor, std=1.2 / tensor.shape[1] ** 0.5)
        elif name.endswith("learnt_padding"):
            tensor.normal_(std=0.5)
    for name in ("cross_attention.out_projs.0.weight", "condition_provider.conditioners.cfg.output_proj.weight"):
        for key in state:
            if key.endswith(name):
                state[key].mul_(2)  # voices and guidance must be heard
    return state


def _mimi_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    model = loaders.get_mimi(None, config, num_codebooks=config["quantizer"]["n_q"])
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("embedding_sum"):
            tensor.normal_()
        elif name.endswith("cluster_usage"):
            tensor.fill_(1.0)
        elif name.endswith("_initialized"):
            tensor.fill_(1)
        elif "decoder.model" in name and name.endswith("weight"):
            tensor.mul_(2)  # else the noise is too low to be told apart
    return state


if __name__ == "__main__":
    print(write_tiny_tts(sys.argv[1]))
