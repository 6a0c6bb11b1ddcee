"""PPO with a critic, generalised advantages, a KL penalty to the reference and the clipped objective."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from roles import trunk
from roles.optimisation import Optimiser, OptimiserSettings
from roles.policy.losses import (
    clipped_policy_loss,
    generalised_advantages,
    token_rewards,
    value_loss,
    whiten,
)
from roles.sequences import TokenSequence


class PPOSettings(OptimiserSettings):
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    clip: float = Field(default=0.2, gt=0, lt=1)
    kl: float = Field(default=0.05, ge=0)  # coefficient of the per-token KL penalty
    discount: float = Field(default=1.0, gt=0, le=1)
    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    value_coefficient: float = Field(default=0.1, ge=0)
    updates_per_step: int = Field(default=4, ge=1)  # minibatches a batch of rollouts is split into, each used once
    tokens_per_batch: int = Field(default=4096, ge=1)  # padded tokens of one forward pass


@dataclasses.dataclass(frozen=True)
class Rollout:
    """A sampled sequence. `sequence.completion` are the sampled tokens as they are, with or without an end token."""

    sequence: TokenSequence
    log_probs: tuple[float, ...]  # of the completion tokens, under the policy that sampled each of them
    reward: float


@dataclasses.dataclass(frozen=True)
class PPOStep:
    reward: float  # mean terminal reward
    kl: float  # mean over sequences of the summed log pi - log reference, before the update
    behaviour_gap: float  # mean |log pi - log behaviour| before the update: staleness, and engine against trainer
    clip_fraction: float
    policy_loss: float
    value_loss: float
    gradient_norm: float
    tokens: int


@dataclasses.dataclass
class _Part:
    """Rollouts of one forward pass. The tensors are (B, T) over completion tokens."""

    sequences: list[TokenSequence]
    mask: Tensor
    behaviour: Tensor
    advantages: Tensor
    returns: Tensor
    tokens: int  # completion tokens


class PolicyTrainer:
    """Owns the policy, its critic (a linear head on the policy's last hidden state) and the frozen reference."""

    def __init__(self, model: Any, pad_id: int, settings: PPOSettings, temperature: float, seed: int = 0) -> None:
        """`temperature` is that of sampling: ratios are between the distributions that tokens were drawn from."""
        self.model = model
        device = next(model.parameters()).device
        self.critic = nn.Linear(model.config.hidden_size, 1).to(device)
        nn.init.zeros_(self.critic.weight)
        nn.init.zeros_(self.critic.bias)
        self.reference = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimiser = Optimiser([*model.parameters(), *self.critic.parameters()], settings)
        self._settings, self._pad_id, self._temperature = settings, pad_id, temperature
        self._rng = random.Random(seed)
        self._device = device

    def step(self, rollouts: Sequence[Rollout]) -> PPOStep:
        """One pass over `rollouts`. Raises `NonFiniteLoss`; the weights are then those of the last finite update."""
        settings = self._settings
        self.model.eval()  # dropout would make the ratio differ from 1
        parts, kl, gap = self._prepare(rollouts)
        self._rng.shuffle(parts)
        share = max(1, round(len(parts) / settings.updates_per_step))
        minibatches = [parts[i : i + share] for i in range(0, len(parts), share)]
        policy_losses, value_losses, clip_fractions, norms = [], [], [], []
        for minibatch in minibatches:
            tokens = sum(part.tokens for part in minibatch)
            total = 0.0
            for part in minibatch:
                weight = part.tokens / tokens
                log_probs, values = self._forward(part.sequences)
                policy, clipped = clipped_policy_loss(
                    log_probs, part.behaviour, part.advantages, part.mask, settings.clip
                )
                critic = value_loss(values, part.returns, part.mask)
                loss = (policy + settings.value_coefficient * critic) * weight
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
                policy_losses.append(policy.item() * weight)
                value_losses.append(critic.item() * weight)
                clip_fractions.append(clipped.item() * weight)
            norms.append(self.optimiser.step(total, rollouts))
        count = len(minibatches)
        return PPOStep(
            reward=sum(rollout.reward for rollout in rollouts) / len(rollouts),
            kl=kl,
            behaviour_gap=gap,
            clip_fraction=sum(clip_fractions) / count,
            policy_loss=sum(policy_losses) / count,
            value_loss=sum(value_losses) / count,
            gradient_norm=max(norms),
            tokens=sum(len(rollout.sequence) for rollout in rollouts),
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "critic": self.critic.state_dict(),
            "reference": self.reference.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": self._rng.getstate(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.critic.load_state_dict(state["critic"])
        self.reference.load_state_dict(state["reference"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._rng.setstate(state["rng"])

    def _forward(self, sequences: list[TokenSequence]) -> tuple[Tensor, Tensor]:
        """Log-probabilities and values of the completion tokens, both (B, T) and aligned."""
        completions = trunk.forward(self.model.base_model, sequences, self._pad_id)
        log_probs = completions.log_probs(self.model.get_output_embeddings(), self._temperature)
        return log_probs, self.critic(completions.before.float()).squeeze(-1)

    @torch.no_grad()
    def _prepare(self, rollouts: Sequence[Rollout]) -> tuple[list[_Part], float, float]:
        parts: list[_Part] = []
        kl = gap = 0.0
        for chosen in self._split(rollouts):
            sequences = [rollout.sequence for rollout in chosen]
            log_probs, values = self._forward(sequences)
            old = trunk.forward(self.reference.base_model, sequences, self._pad_id)
            mask = old.mask
            reference = old.log_probs(self.reference.get_output_embeddings(), self._temperature)
            behaviour = torch.zeros_like(log_probs)
            behaviour[mask] = torch.tensor([p for rollout in chosen for p in rollout.log_probs], device=self._device)
            terminal = torch.tensor([rollout.reward for rollout in chosen], device=self._device)
            rewards = token_rewards(terminal, log_probs, reference, mask, self._settings.kl)
            advantages, returns = generalised_advantages(
                rewards, values, mask, self._settings.discount, self._settings.gae_lambda
            )
            kl += float((log_probs - reference).sum())
            gap += float((log_probs - behaviour).abs().sum())
            parts.append(_Part(sequences, mask, behaviour, advantages, returns, int(mask.sum())))
        self._whiten(parts)
        return parts, kl / len(rollouts), gap / sum(part.tokens for part in parts)

    def _split(self, rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
        """Parts for one forward pass each, enough for all updates; the samples of a prompt stay together."""
        tokens = sum(len(rollout.sequence) for rollout in rollouts)
        budget = min(self._settings.tokens_per_batch, tokens // self._settings.updates_per_step)
        by_prompt: dict[tuple[int, ...], list[Rollout]] = {}
        for rollout in rollouts:
            by_prompt.setdefault(rollout.sequence.prompt, []).append(rollout)
        groups = list(by_prompt.values())
        self._rng.shuffle(groups)
        parts: list[list[Rollout]] = []
        used = budget
        for group in groups:
            size = sum(len(rollout.sequence) for rollout in group)
            if used + size > budget:
                parts.append([])
                used = 0
            parts[-1] += group
            used += size
        return parts

    @staticmethod
    def _whiten(parts: list[_Part]) -> None:
        """Whiten the advantages over the whole batch of rollouts, not over each part of it."""
        masks = [part.mask for part in parts]
        flat = torch.cat([part.advantages[mask] for part, mask in zip(parts, masks, strict=True)])
        white = whiten(flat, torch.ones_like(flat))
        sizes = [int(mask.sum()) for mask in masks]
        for part, mask, values in zip(parts, masks, torch.split(white, sizes), strict=True):
            part.advantages[mask] = values
