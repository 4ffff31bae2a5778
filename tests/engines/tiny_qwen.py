"""A tiny Qwen2 with random weights and a tokenizer of its own, in the file format of the real ones.

``python -m tests.engines.tiny_qwen FOLDER [speakable]`` in an environment that has transformers. What it says is nonsense,
but the same nonsense for the same conversation.
"""

from __future__ import annotations

import sys
from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as Qwen's own template writes plain messages."""


def write_tiny_qwen(folder: Path, *, seed: int = 0, positions: int = 32768, speakable: bool = False) -> None:
    """Write config, weights, tokenizer and chat template into ``folder``. ``speakable``: it writes small letters and spaces,
    so that a voice has words of usual lengths to say."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    # One token for each byte: every text can be written, and most answers hold characters that are not whole yet.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        # At their usual size random weights say one letter for ever.
        initializer_range=0.25,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    printable = torch.tensor([alphabet.index(chr(c)) for c in range(33, 127)])
    with torch.no_grad():
        # Of letters that can be read, and of whole characters but now and then.
        seldom = torch.ones(len(fast), dtype=torch.bool)
        seldom[printable] = False
        model.lm_head.weight[seldom] *= 0.5
        if speakable:
            letters = torch.tensor([alphabet.index(chr(c)) for c in range(ord("a"), ord("z") + 1)])
            space = alphabet.index("\u0120")  # as the tokenizer writes it
            chosen = model.lm_head.weight[letters] * 3, model.lm_head.weight[space] * 18
            model.lm_head.weight.zero_()
            model.lm_head.weight[letters], model.lm_head.weight[space] = chosen
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


if __name__ == "__main__":
    write_tiny_qwen(Path(sys.argv[1]), speakable="speakable" in sys.argv[2:])
