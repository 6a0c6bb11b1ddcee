"""Supervised fine-tuning: next-token loss on the completion, the prompt masked.

Stage A of RewardRanker (arXiv 2504.09643). The same role pre-trains the pocket model and trains the positives-only
control, the base tuned on passing samples.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from roles import engines
from roles.engines import Engine, LearningSettings
from roles.optimisation import OptimiserSettings
from roles.sequences import TokenSequence, encode, pad, token_budget_batches, token_log_probs

_PLAIN = LearningSettings()


@dataclasses.dataclass(frozen=True)
class Example:
    prompt: str
    completion: str


class SFTSettings(OptimiserSettings):
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    epochs: int = Field(default=3, ge=1)
    tokens_per_step: int = Field(default=2048, ge=1)  # padded tokens, at most


@dataclasses.dataclass(frozen=True)
class SFTStep:
    step: int
    total_steps: int
    loss: float  # mean over the completion tokens of the batch, in nats
    tokens: int


def train(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    settings: SFTSettings,
    seed: int = 0,
    on_step: Callable[[SFTStep], None] = lambda step: None,
    learning: LearningSettings = _PLAIN,
) -> list[SFTStep]:
    """Train `model`, a causal language model, in place; adapters are merged into it in the end.

    Raises `NonFiniteLoss`, and `ValueError` without examples.
    """
    if not examples:
        raise ValueError("no examples to train on")
    sequences = [encode(tokenizer, example.prompt, example.completion) for example in examples]
    return train_sequences(model, tokenizer.pad_token_id, sequences, settings, seed, on_step, learning)


def train_sequences(
    model: Any,
    pad_id: int,
    sequences: Sequence[TokenSequence],
    settings: SFTSettings,
    seed: int = 0,
    on_step: Callable[[SFTStep], None] = lambda step: None,
    learning: LearningSettings = _PLAIN,
) -> list[SFTStep]:
    """`train`, of what is encoded already."""
    rng = random.Random(seed)
    lengths = [len(sequence) for sequence in sequences]
    batches = [
        batch for _ in range(settings.epochs) for batch in token_budget_batches(lengths, settings.tokens_per_step, rng)
    ]
    engines.prepare(model, learning)
    engine = engines.start({"model": model}, settings, learning, total_steps=len(batches))
    model.train()
    history: list[SFTStep] = []
    for batch in batches:
        chosen = [sequences[index] for index in batch]
        loss = _step(model, pad_id, chosen, engine)
        history.append(SFTStep(len(history) + 1, len(batches), loss, sum(map(len, chosen))))
        on_step(history[-1])
    model.eval()
    engine.close()
    engines.finish(model)
    return history


def _step(model: Any, pad_id: int, sequences: list[TokenSequence], engine: Engine) -> float:
    """The loss of one update; each process computes its share of the sequences in one pass."""
    completion_tokens = sum(len(sequence.completion) for sequence in sequences)

    def loss(rows: list[tuple[TokenSequence, bool]]) -> tuple[Tensor, Tensor]:
        batch = pad([sequence for sequence, _ in rows], pad_id, engine.device)
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        log_probs = token_log_probs(logits, batch.input_ids)
        counts = torch.tensor([counts for _, counts in rows], device=engine.device)
        return -log_probs[batch.completion_mask & counts[:, None]].sum() / completion_tokens, torch.zeros(0)

    return engine.update([(engine.share(sequences), True)], loss, sequences).loss


def pretrained(folder: str, device: torch.device | str = "cpu") -> tuple[Any, Any]:
    """Model (float32) and tokenizer of a transformers folder. Raises `ValueError` when it cannot be read."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder!r} is not a readable transformers model folder: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{folder!r}: the tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masks come from lengths, never from token ids
    return model.to(device), tokenizer
