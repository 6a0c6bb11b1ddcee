"""Policy optimisation on sampled programs: rewards to advantages to the clipped objective, one step at a time."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from roles import trunk
from roles.optimisation import Diverged, Optimiser, OptimiserSettings
from roles.policy import advantages as estimators
from roles.policy import kl, losses
from roles.policy.kl import KLSettings
from roles.sequences import TokenSequence


class KLTooFar(Diverged):
    """The policy is further from its reference than `kl.limit`."""


class PPOSettings(OptimiserSettings):
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    advantages: estimators.Estimator = "gae"  # gae has a critic; grpo and rloo compare the samples of a prompt
    discount: float = Field(default=1.0, gt=0, le=1)
    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    objective: Literal["plain", "decoupled"] = "plain"  # the clip is around the sampling policy, or around the present
    importance_cap: float | None = Field(default=None, gt=0)  # of decoupled: the largest weight of a stale token
    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float | None = Field(default=None, gt=0)  # another bound upwards
    dual_clip: float | None = Field(default=None, gt=1)
    value_coefficient: float = Field(default=0.1, ge=0)
    value_clip: float | None = Field(default=None, gt=0)
    entropy: float = Field(default=0.0, ge=0)  # coefficient of the bonus
    aggregation: losses.Aggregation = "token"
    tokens_per_sequence: int = Field(default=512, ge=1)  # the divisor of aggregation = constant
    kl: KLSettings = KLSettings()
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
    proximal: Tensor  # log-probabilities that the clip is around
    weights: Tensor | None  # of the decoupled objective
    reference: Tensor
    values: Tensor
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
        self.kl_coefficient = kl.KLCoefficient(settings.kl)
        self._settings, self._pad_id, self._temperature = settings, pad_id, temperature
        self._rng = random.Random(seed)
        self._device = device

    def step(self, rollouts: Sequence[Rollout]) -> PPOStep:
        """One pass over `rollouts`. Raises `Diverged`; the weights are then those of the last good update.

        Raises `NoGroup` when the estimator needs more samples of a prompt than there are.
        """
        settings = self._settings
        self.model.eval()  # dropout would make the ratio differ from 1
        parts, distance, gap = self._prepare(rollouts)
        if settings.kl.limit is not None and distance > settings.kl.limit:
            raise KLTooFar(f"KL {distance:.3f} nats of a completion; kl.limit = {settings.kl.limit}", rollouts)
        self._rng.shuffle(parts)
        share = max(1, round(len(parts) / settings.updates_per_step))
        minibatches = [parts[i : i + share] for i in range(0, len(parts), share)]
        totals = torch.zeros(3)  # policy loss, value loss, tokens clipped
        norms = []
        for minibatch in minibatches:
            tokens = sum(part.tokens for part in minibatch)
            sequences = sum(len(part.sequences) for part in minibatch)
            total = 0.0
            for part in minibatch:
                loss, measured = self._loss(part, tokens, sequences)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
                totals += measured
            norms.append(self.optimiser.step(total, rollouts))
        self.kl_coefficient.follow(distance, len(rollouts))
        policy_loss, value_loss, clipped = (totals / len(minibatches)).tolist()
        return PPOStep(
            reward=sum(rollout.reward for rollout in rollouts) / len(rollouts),
            kl=distance,
            behaviour_gap=gap,
            clip_fraction=clipped,
            policy_loss=policy_loss,
            value_loss=value_loss,
            gradient_norm=max(norms),
            tokens=sum(len(rollout.sequence) for rollout in rollouts),
        )

    def _loss(self, part: _Part, tokens: int, sequences: int) -> tuple[Tensor, Tensor]:
        """The part's share of its minibatch's loss; and its policy loss, value loss and share of clipped tokens."""
        settings = self._settings
        weights = losses.token_weights(
            part.mask, settings.aggregation, tokens, sequences, settings.tokens_per_sequence
        )
        completions = self._completions(self.model, part.sequences)
        head = self.model.get_output_embeddings()
        log_probs = completions.log_probs(head, self._temperature)
        surrogate, clipped = losses.clipped_surrogate(
            log_probs, part.proximal, part.advantages, settings.clip, settings.clip_high, settings.dual_clip
        )
        if part.weights is not None:
            surrogate = surrogate * part.weights
        policy = (surrogate * weights).sum()
        loss, critic = policy, torch.zeros(())
        if settings.advantages == "gae":
            values = self._values(completions)
            each = losses.value_loss(values, part.returns, part.values, settings.value_clip)
            critic = (each * part.mask).sum() / tokens
            loss = loss + settings.value_coefficient * critic
        if settings.kl.place == "loss":
            penalty = kl.estimate(log_probs, part.reference, settings.kl.estimator)
            loss = loss + self.kl_coefficient.value * (penalty * weights).sum()
        if settings.entropy:
            loss = loss - settings.entropy * (completions.entropies(head, self._temperature) * weights).sum()
        share = (clipped & part.mask).sum() / tokens
        return loss, torch.stack([policy.detach(), critic.detach(), share]).cpu()

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "critic": self.critic.state_dict(),
            "reference": self.reference.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "kl_coefficient": self.kl_coefficient.value,
            "rng": self._rng.getstate(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.critic.load_state_dict(state["critic"])
        self.reference.load_state_dict(state["reference"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.kl_coefficient.value = state["kl_coefficient"]
        self._rng.setstate(state["rng"])

    def _completions(self, model: Any, sequences: list[TokenSequence]) -> trunk.Completions:
        return trunk.forward(model.base_model, sequences, self._pad_id)

    def _values(self, completions: trunk.Completions) -> Tensor:
        """(B, T) the critic's estimate before each completion token."""
        values: Tensor = self.critic(completions.before.float()).squeeze(-1)
        return values

    @torch.no_grad()
    def _prepare(self, rollouts: Sequence[Rollout]) -> tuple[list[_Part], float, float]:
        """Everything that is fixed for the step: also the mean KL of a completion, and the mean gap to the sampler."""
        settings = self._settings
        parts: list[_Part] = []
        distance = gap = 0.0
        for chosen in self._split(rollouts):
            sequences = [rollout.sequence for rollout in chosen]
            completions = self._completions(self.model, sequences)
            mask = completions.mask
            log_probs = completions.log_probs(self.model.get_output_embeddings(), self._temperature)
            reference = self._completions(self.reference, sequences).log_probs(
                self.reference.get_output_embeddings(), self._temperature
            )
            behaviour = torch.zeros_like(log_probs)
            behaviour[mask] = torch.tensor([p for rollout in chosen for p in rollout.log_probs], device=self._device)
            terminal = torch.tensor([rollout.reward for rollout in chosen], device=self._device)
            rewards = estimators.token_rewards(terminal, self._penalties(log_probs, reference), mask)
            values = self._values(completions) * mask
            advantages, returns = self._advantages(rewards, values, mask, sequences)
            decoupled = settings.objective == "decoupled"
            weights = losses.behaviour_weights(log_probs, behaviour, settings.importance_cap) if decoupled else None
            proximal = log_probs if decoupled else behaviour
            distance += float((log_probs - reference).sum())
            gap += float((log_probs - behaviour).abs().sum())
            parts.append(
                _Part(sequences, mask, proximal, weights, reference, values, advantages, returns, int(mask.sum()))
            )
        if settings.advantages in ("gae", "reinforce++"):
            self._whiten(parts)
        return parts, distance / len(rollouts), gap / sum(part.tokens for part in parts)

    def _penalties(self, log_probs: Tensor, reference: Tensor) -> Tensor:
        if self._settings.kl.place != "reward":
            return torch.zeros_like(log_probs)
        return self.kl_coefficient.value * kl.estimate(log_probs, reference, self._settings.kl.estimator)

    def _advantages(
        self, rewards: Tensor, values: Tensor, mask: Tensor, sequences: list[TokenSequence]
    ) -> tuple[Tensor, Tensor]:
        """(B, T) advantages and returns; the samples of a prompt are all in one part."""
        settings = self._settings
        if settings.advantages == "gae":
            return estimators.generalised(rewards, values, mask, settings.discount, settings.gae_lambda)
        if settings.advantages == "reinforce++":
            return estimators.rewards_to_go(rewards, mask), torch.zeros_like(values)
        numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(sequence.prompt for sequence in sequences))}
        groups = torch.tensor([numbers[sequence.prompt] for sequence in sequences], device=self._device)
        compare = estimators.leave_one_out if settings.advantages == "rloo" else estimators.group_relative
        return compare(rewards.sum(dim=1), groups)[:, None] * mask, torch.zeros_like(values)

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
        white = estimators.whiten(flat, torch.ones_like(flat))
        sizes = [int(mask.sum()) for mask in masks]
        for part, mask, values in zip(parts, masks, torch.split(white, sizes), strict=True):
            part.advantages[mask] = values
