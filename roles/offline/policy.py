"""The policy alone: one pass of PPO, or of an alternative to it, over judged samples in their order.

Samples of a ledger carry the log-probabilities they were drawn with, so an older policy's samples are weighed as stale
ones. Samples from files are taken to be the first policy's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from roles import model_folder, trunk
from roles.config import Config
from roles.offline.samples import Group, demand_scores
from roles.policy.rewards import RewardShaper
from roles.policy.trainer import PolicyTrainer, PPOStep, Rollout
from roles.records import Candidate
from roles.sequences import TokenSequence, encode_candidate, fill
from roles.tuning import sft


@dataclasses.dataclass(frozen=True)
class Aligned:
    steps: list[PPOStep]
    groups: int


def align(
    config: Config, groups: Sequence[Group], out: Path, on_step: Callable[[PPOStep], None] = lambda step: None
) -> Aligned:
    """Train `config.model` on `groups`, `policy.groups_per_step` at a time, and write a transformers folder.

    Raises `SuiteError` and `ModelError` before weights are loaded, `UntrustedVerdict` for samples that may not train a
    model, `Diverged` later.
    """
    settings, folder = config.policy, str(config.model.folder)
    if settings.reward.reward_model and settings.advantages != "passing":
        demand_scores(groups, "policy.reward.reward_model > 0", "set it to 0, or name --reward DIR")
    model_folder.check_device(config.model.device)
    model_folder.check_adapters(folder, config.learning.lora)
    tokenizer = model_folder.tokenizer(folder)
    sequences = {
        sample.candidate.id: _sequence(tokenizer, group, sample.candidate)
        for group in groups
        for sample in group.samples
    }
    model_folder.check_lengths(folder, sequences.values(), f"{len(sequences)} samples")
    known = {sample.candidate.id: sample.candidate.log_probs for group in groups for sample in group.samples}
    unknown = [name for name, log_probs in known.items() if not log_probs]

    model, tokenizer = sft.pretrained(folder, config.model.device)
    own = _log_probs(
        model, [sequences[name] for name in unknown], config.sampling.temperature, settings.tokens_per_batch
    )
    known |= dict(zip(unknown, own, strict=True))
    trainer = PolicyTrainer(
        model, settings, config.sampling.temperature, config.seed, config.learning
    )
    shaper = RewardShaper(settings.reward)
    steps = []
    for start in range(0, len(groups), settings.groups_per_step):
        chosen = groups[start : start + settings.groups_per_step]
        samples = [sample for group in chosen for sample in group.samples]
        rewards = shaper.rewards([sample.verdict for sample in samples], [sample.score for sample in samples])
        rollouts = [
            Rollout(
                sequences[sample.candidate.id], known[sample.candidate.id], reward, sample.verdict.status == "passed"
            )
            for sample, reward in zip(samples, rewards, strict=True)
        ]
        steps.append(trainer.step(rollouts))
        on_step(steps[-1])
    trainer.close()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return Aligned(steps, len(groups))


def _sequence(tokenizer: Any, group: Group, candidate: Candidate) -> TokenSequence:
    """The tokens as they were sampled, where that is known."""
    if candidate.token_ids:
        return TokenSequence(candidate.prompt_token_ids, candidate.token_ids)
    return encode_candidate(tokenizer, group.problem, candidate)


@torch.no_grad()
def _log_probs(
    model: Any, sequences: Sequence[TokenSequence], temperature: float, tokens_per_batch: int
) -> list[tuple[float, ...]]:
    """Of the completion tokens of each sequence under `model`."""
    found: list[tuple[float, ...]] = []
    for part in fill([len(sequence) for sequence in sequences], tokens_per_batch):
        completions = trunk.forward(model.base_model, [sequences[index] for index in part])
        log_probs = completions.log_probs(model.get_output_embeddings(), temperature)
        found += [tuple(row[mask].tolist()) for row, mask in zip(log_probs, completions.mask, strict=True)]
    return found
