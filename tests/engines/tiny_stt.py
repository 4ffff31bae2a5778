"""A whole speech-to-text checkpoint of a few thousand parameters, in the file format of the real ones.

``python -m tests.engines.tiny_stt FOLDER`` writes one: ``config.json``, the weights of the language model and of Mimi, and a
tokenizer. What it hears is nonsense, but it hangs on every sample: Mimi's codebooks are points that its own encoder makes of
noise and tones, the heads are scaled, and word ends and padding are likelier than other tokens, so that there are words. Who
compares tokens should still check that they differ.
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

from tests.engines.tiny_tts import CARD, FRAME_RATE_HZ, mimi_config

TEXT_CARD = 64
FRAME = 1920
_SENTENCES = (
    "good morning and thank you for coming to see us",
    "yesterday we walked along the river until it rained",
    "could you please say that again a little more slowly",
    "my brother lives abroad, but he often calls me at night",
)


def lm_config(*, layers: int = 2, codebooks: int = 4, context: int = 12, heads: int = 4) -> dict[str, Any]:
    """What ``config.json`` says of the language model. ``heads``: pause heads."""
    return {
        "card": CARD,
        "n_q": codebooks,
        "dep_q": 0,
        "delays": [0] * (codebooks + 1),
        "dim": 32,
        "text_card": TEXT_CARD,
        "existing_text_padding_id": 3,
        "num_heads": 4,
        "num_layers": layers,
        "hidden_scale": 4.125,
        "causal": True,
        "layer_scale": None,
        "context": context,
        "max_period": 100000.0,
        "gating": "silu",
        "norm": "rms_norm_f32",
        "positional_embedding": "rope",
        "depformer_dim": 16,
        "depformer_num_heads": 2,
        "depformer_num_layers": 1,
        "depformer_dim_feedforward": 32,
        "depformer_multi_linear": True,
        "depformer_weights_per_step": True,
        "depformer_pos_emb": "none",
        "conditioners": {},
        "fuser": None,
        "cross_attention": False,
        "extra_heads_num_heads": heads,
        "extra_heads_dim": 6,
    }


def write_tiny_stt(
    folder: Path | str, *, seed: int = 0, mimi_layers: int = 2, delay_s: float = 0.16, prefix_s: float = 0.0, **shape: Any
) -> Path:
    """Writes the checkpoint. ``delay_s``: by which words are later than sound. ``prefix_s``: silence that is wanted first.
    ``shape``: as of ``lm_config``. The seed decides all weights. Returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lm = lm_config(**shape)
    mimi = mimi_config(layers=mimi_layers, codebooks=lm["n_q"])
    config = lm | {
        "moshi_name": "model.safetensors",
        "mimi_name": "mimi.safetensors",
        "mimi_config_name": "mimi.json",
        "tokenizer_name": "tokenizer.model",
        "model_type": "stt",
        "stt_config": {"audio_delay_seconds": delay_s, "audio_silence_prefix_seconds": prefix_s},
        "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "mimi.json").write_text(json.dumps(mimi, indent=1))
    (folder / "tokenizer.model").write_bytes(_tokenizer())
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        save_file(_lm_weights(lm), folder / "model.safetensors")
        save_file(_mimi_weights(mimi), folder / "mimi.safetensors")
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
        if name.startswith(("emb.", "text_emb.")):
            tensor.normal_()
        elif name.startswith(("text_linear.", "extra_heads.")):
            tensor.normal_(std=0.5)
        elif tensor.ndim == 2:
            tensor.normal_(std=1.2 / tensor.shape[1] ** 0.5)
    # Word ends, and less so padding, shall be written often.
    state["text_linear.weight"][0].mul_(2.5)
    state["text_linear.weight"][3].mul_(2.0)
    return state


def _mimi_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    model = loaders.get_mimi(None, config, num_codebooks=config["quantizer"]["n_q"])
    for name, tensor in model.state_dict().items():
        if "encoder.model" in name and name.endswith("weight"):
            tensor.mul_(2.5)
        elif name.endswith(("cluster_usage", "_initialized")):
            tensor.fill_(1)
    latents = model.downsample(model.encoder_transformer(model.encoder(_sounds()))[0])
    for part in (model.quantizer.rvq_first, model.quantizer.rvq_rest):
        residual = part.input_proj(latents).transpose(1, 2).flatten(0, 1)
        for layer in part.vq.layers:
            layer._codebook.embedding_sum.copy_(residual[torch.randperm(len(residual))[:CARD]])
            layer._codebook._embedding = None
            residual = residual - layer.decode(layer.encode(residual[None].transpose(1, 2)))[0].t()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _sounds() -> torch.Tensor:
    """Noise and tones of all loudnesses, ``[8, 1, samples]``."""
    seconds = torch.arange(24 * FRAME) / (FRAME * FRAME_RATE_HZ)
    tones = torch.sin(2 * torch.pi * torch.tensor([90.0, 210.0, 480.0, 1100.0])[:, None] * seconds)
    noise = torch.randn(4, len(seconds))
    loud = torch.rand(8, 24).repeat_interleave(FRAME, dim=1)
    return (torch.cat([tones, noise / 3]) * loud)[:, None]


if __name__ == "__main__":
    print(write_tiny_stt(sys.argv[1]))
