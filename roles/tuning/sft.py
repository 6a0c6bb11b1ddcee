"""Supervised fine-tuning: next-token loss on the completion, the prompt masked.

Stage A of RewardRanker (arXiv 2504.09643). The same role pre-trains the pocket model and trains the positives-only
control, the base tuned on passing samples.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from roles import engines, model_folder, trunk
from roles.engines import Engine, LearningSettings
from roles.model_folder import ModelError
from roles.optimisation import OptimiserSettings
from roles.records import Problem
from roles.sequences import TokenSequence, encode, fill

_PLAIN = LearningSettings()


@dataclasses.dataclass(frozen=True)
class Example:
    prompt: str
    completion: str


class SFTSettings(OptimiserSettings):
    """With `validation`, training ends after `patience` epochs without a better loss, and the best weights stay."""

    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    epochs: int = Field(default=3, ge=1)
    tokens_per_step: int = Field(default=2048, ge=1)  # at most
    tokens_per_batch: int = Field(default=4096, ge=1)  # of one forward pass
    validation: float = Field(default=0.0, ge=0, lt=1)  # share of the prompts that is held out
    patience: int = Field(default=1, ge=1)


@dataclasses.dataclass(frozen=True)
class SFTStep:
    step: int
    total_steps: int
    loss: float  # mean over the completion tokens of the batch, in nats
    tokens: int
    validation_loss: float | None = None  # after the last step of an epoch


def references(problems: Sequence[Problem], each: int) -> list[Example]:
    """At most `each` references of every problem."""
    return [
        Example(problem.prompt, reference.removeprefix(problem.prompt))
        for problem in problems
        for reference in problem.references[:each]
    ]


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

    Raises `Diverged`, and `ValueError` without examples or when all of them would be held out.
    """
    sequences = [encode(tokenizer, example.prompt, example.completion) for example in examples]
    return train_sequences(model, sequences, settings, seed, on_step, learning)


def train_sequences(
    model: Any,
    sequences: Sequence[TokenSequence],
    settings: SFTSettings,
    seed: int = 0,
    on_step: Callable[[SFTStep], None] = lambda step: None,
    learning: LearningSettings = _PLAIN,
) -> list[SFTStep]:
    """`train`, of what is encoded already."""
    rng = random.Random(seed)
    training, held_out = _split(sequences, settings.validation, rng)
    epochs = [_batches(training, settings.tokens_per_step, rng) for _ in range(settings.epochs)]
    total = sum(map(len, epochs))
    engines.prepare(model, learning)
    engine = engines.start({"model": model}, settings, learning, total_steps=total)
    history: list[SFTStep] = []
    best, best_weights, best_epoch = math.inf, None, 0
    for number, batches in enumerate(epochs):
        model.train()
        for place, batch in enumerate(batches, start=1):
            loss = _step(model, batch, engine, settings.tokens_per_batch)
            validation = None
            if held_out and place == len(batches):
                model.eval()
                validation = _mean_loss(model, held_out, engine, settings.tokens_per_batch)
            history.append(SFTStep(len(history) + 1, total, loss, sum(map(len, batch)), validation))
            on_step(history[-1])
        if validation is not None and validation < best:
            best, best_epoch = validation, number
            best_weights = {name: weight.cpu().clone() for name, weight in engine.weights("model").items()}
        elif held_out and number - best_epoch >= settings.patience:
            break
    model.eval()
    engine.close()
    engines.finish(model)
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return history


def _split(
    sequences: Sequence[TokenSequence], share: float, rng: random.Random
) -> tuple[list[TokenSequence], list[TokenSequence]]:
    """To train on, and held out: what shares a prompt stays together."""
    if not sequences:
        raise ValueError("no examples to train on")
    prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
    held_out = set(rng.sample(prompts, math.ceil(share * len(prompts))))
    training = [sequence for sequence in sequences if sequence.prompt not in held_out]
    if not training:
        raise ValueError(f"validation = {share}: holds out all {len(prompts)} prompts")
    return training, [sequence for sequence in sequences if sequence.prompt in held_out]


def _batches(sequences: list[TokenSequence], tokens: int, rng: random.Random) -> list[list[TokenSequence]]:
    """All sequences in random order, in batches of at most `tokens`."""
    shuffled = rng.sample(sequences, len(sequences))
    return [[shuffled[index] for index in part] for part in fill([len(sequence) for sequence in shuffled], tokens)]


def _step(model: Any, sequences: list[TokenSequence], engine: Engine, tokens_per_batch: int) -> float:
    """The loss of one update."""
    lengths = [len(sequence) for sequence in sequences]
    parts = fill(lengths, min(tokens_per_batch, math.ceil(sum(lengths) / engine.processes)))
    completion_tokens = sum(len(sequence.completion) for sequence in sequences)

    def loss(part: list[int]) -> tuple[Tensor, Tensor]:
        return _summed_loss(model, [sequences[index] for index in part]) / completion_tokens, torch.zeros(0)

    return engine.update(engine.share(parts), loss, sequences).loss


@torch.no_grad()
def _mean_loss(model: Any, sequences: list[TokenSequence], engine: Engine, tokens_per_batch: int) -> float:
    total = 0.0
    for part in fill([len(sequence) for sequence in sequences], tokens_per_batch):
        total += engine.compute(functools.partial(_summed_loss, model, [sequences[index] for index in part])).item()
    return total / sum(len(sequence.completion) for sequence in sequences)


def _summed_loss(model: Any, sequences: list[TokenSequence]) -> Tensor:
    return -trunk.forward(model.base_model, sequences).log_probs(model.get_output_embeddings()).sum()


def pretrained(folder: str, device: torch.device | str = "cpu") -> tuple[Any, Any]:
    """Model (float32) and tokenizer of a transformers folder. Raises `ModelError` when it cannot be read."""
    from transformers import AutoModelForCausalLM

    tokenizer = model_folder.tokenizer(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder!r} is not a readable transformers model folder: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masks come from lengths, never from token ids
    return model.to(device), tokenizer
