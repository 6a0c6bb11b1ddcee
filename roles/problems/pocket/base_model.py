"""The pocket base model: a small Llama and its tokenizer, made from random weights on the pocket corpus alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from roles.problems.pocket.corpus import Program
from roles.tuning.sft import Example, SFTSettings, SFTStep, train

BASE = Path(__file__).with_name("base")
VOCABULARY = 1024  # at most; the corpus supports fewer
CONTEXT = 512
SPECIAL = ("<pad>", "<bos>", "<eos>")
PIECES = r"\n *| ?[A-Za-z_]+| ?\d| ?[^\sA-Za-z_\d]+|\s+"  # a line break with its indent is one piece, a digit is one
SETTINGS = SFTSettings(
    learning_rate=4e-3, epochs=1, tokens_per_step=2048, weight_decay=0.05, warmup_steps=40, schedule="linear"
)

logger = logging.getLogger(__name__)


def make_tokenizer(programs: list[Program]) -> Any:
    """A byte-level BPE of the corpus. It adds no special token to a prompt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator((text for p in programs for text in (p.prompt, p.body)), trainer)
    pad, bos, eos = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=bos, eos_token=eos, model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: Any, seed: int) -> Any:
    """Random weights: five layers of width 128, four heads of size 32, tied embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )
    return AutoModelForCausalLM.from_config(config)


def pretrain(programs: list[Program], seed: int, out: Path = BASE) -> Any:
    """Read the corpus once and save model (bfloat16 safetensors) and tokenizer to `out`. Returns the model."""
    tokenizer = make_tokenizer(programs)
    model = make_model(tokenizer, seed)
    logger.info("%d parameters, %d tokens in the vocabulary", model.num_parameters(), len(tokenizer))
    train(model, tokenizer, [Example(p.prompt, p.body) for p in programs], SETTINGS, seed, _log)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model


def _log(step: SFTStep) -> None:
    if step.step % 100 == 0 or step.step == step.total_steps:
        logger.info("step %d of %d: loss %.3f", step.step, step.total_steps, step.loss)
