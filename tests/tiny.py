"""Tiny random models with a tokenizer of their own, for tests that need a real model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

_TEXTS = {
    "llama": [f'"""Return the sum of a and {i}."""\ndef f(a, b):\n    return a + {i}\n' for i in range(50)],
    "qwen2": [f"# sort the words of list {i}\ndef g(words):\n    return sorted(words)[:{i}]\n" for i in range(50)],
}
_SPECIALS = {"llama": ["<pad>", "<bos>", "<eos>"], "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]}


def tiny_model(
    path: Path, architecture: Literal["llama", "qwen2"] = "llama", seed: int = 0, hidden_size: int = 64,
    layers: int = 2, vocab_size: int = 512, tied: bool = True,
) -> Path:
    """A float32 model with random weights and head size 32 in `path`; the two architectures differ in tokenizer too."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = _SPECIALS[architecture]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_TEXTS[architecture], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=specials[0], bos_token=specials[1], eos_token=specials[2]
    )
    kind, config_kind = (
        (LlamaForCausalLM, LlamaConfig) if architecture == "llama" else (Qwen2ForCausalLM, Qwen2Config)
    )
    config = config_kind(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=hidden_size, intermediate_size=3 * hidden_size,
        num_hidden_layers=layers, num_attention_heads=hidden_size // 32, num_key_value_heads=1,
        max_position_embeddings=1024, tie_word_embeddings=tied, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.2,
    )
    torch.manual_seed(seed)
    kind(config).to(torch.float32).save_pretrained(path)
    fast.save_pretrained(path)
    return path
