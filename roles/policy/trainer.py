"""Policy optimisation on sampled programs: rewards to advantages to the clipped objective, one step at a time."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from roles import engines, trunk
from roles.engines import LearningSettings, lora
from roles.optimisation import Diverged, OptimiserSettings
from roles.policy import advantages as estimators
from roles.policy import kl, losses
from roles.policy.critic import Critic, Kind
from roles.policy.kl import KLSettings
from roles.policy.minibatches import Part, minibatches
from roles.sequences import TokenSequence

_PLAIN = LearningSettings()


class KLTooFar(Diverged):
    """The policy is further from its reference than `kl.limit`."""


class PPOSettings(OptimiserSettings):
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    # gae has a critic; grpo and rloo compare the samples of a prompt; passing is fine-tuning on those that passed
    advantages: estimators.Estimator = "gae"
    critic: Kind = "head"  # on the policy's last hidden state, or on that of a trunk of its own
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
    tokens_per_batch: int = Field(default=4096, ge=1)  # tokens of one forward pass


@dataclasses.dataclass(frozen=True)
class Rollout:
    """A sampled sequence. `sequence.completion` are the sampled tokens as they are, with or without an end token."""

    sequence: TokenSequence
    log_probs: tuple[float, ...]  # of the completion tokens, under the policy that sampled each of them
    reward: float
    passed: bool = False  # all its tests; what `advantages: passing` learns from


@dataclasses.dataclass(frozen=True)
class PPOStep:
    """Of the sequences that were learnt from: all, or with `advantages: passing` those that passed."""

    reward: float  # mean terminal reward, of all
    sequences: int = 0  # none: nothing was updated
    kl: float = 0.0  # mean over sequences of the summed log pi - log reference, before the update
    behaviour_gap: float = 0.0  # mean |log pi - log behaviour| before it: staleness, and engine against trainer
    clip_fraction: float = 0.0
    policy_loss: float = 0.0
    value_loss: float = 0.0
    gradient_norm: float = 0.0
    tokens: int = 0
    skipped: int = 0  # updates left out until now, with on_divergence = skip


@dataclasses.dataclass
class _Measured:
    """Rollouts of one forward pass. The tensors are (B, T) over completion tokens."""

    sequences: list[TokenSequence]
    mask: Tensor
    proximal: Tensor  # log-probabilities that the clip is around
    weights: Tensor | None  # of the decoupled objective
    reference: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class PolicyTrainer:
    """Owns the policy, its critic if the advantages need one, and the frozen reference.

    With adapters the reference is the policy without them; else it is a copy.
    """

    def __init__(
        self,
        model: Any,
        settings: PPOSettings,
        temperature: float,
        seed: int = 0,
        learning: LearningSettings = _PLAIN,
    ) -> None:
        """`temperature` is that of sampling: ratios are between the distributions that tokens were drawn from."""
        self.model = model
        device = next(model.parameters()).device
        self.critic = Critic(settings.critic, model, learning) if settings.advantages == "gae" else None
        self.reference = None if learning.lora else copy.deepcopy(model).eval().requires_grad_(False)
        engines.prepare(model, learning)
        modules = {"policy": model} if self.critic is None else {"policy": model, "critic": self.critic}
        self.engine = engines.start(modules, settings, learning)
        self.kl_coefficient = kl.KLCoefficient(settings.kl)
        self._settings, self._temperature = settings, temperature
        # ZeRO 3 keeps gradients only of what the last pass of an update used.
        self._apart = self.critic is not None and self.critic.trunk is not None and learning.zero_stage < 3
        self._losses = (self._policy_loss, self._critic_loss) if self._apart else (self._policy_loss,)
        self._rng = random.Random(seed)
        self._device = device

    def step(self, rollouts: Sequence[Rollout]) -> PPOStep:
        """One pass over `rollouts`. Raises `Diverged`; the weights are then those of the last good update.

        Raises `NoGroup` when the estimator needs more samples of a prompt than there are.
        """
        settings = self._settings
        reward = sum(rollout.reward for rollout in rollouts) / len(rollouts)
        if settings.advantages == "passing":
            rollouts = [rollout for rollout in rollouts if rollout.passed]
        if not rollouts:
            return PPOStep(reward, skipped=self.engine.skipped)
        for module in (self.model, self.critic):
            if module is not None:
                module.eval()  # dropout would make the ratio differ from 1
        sequences = [rollout.sequence for rollout in rollouts]
        batches = minibatches(sequences, settings.updates_per_step, settings.tokens_per_batch, self._rng)
        shares = [self.engine.share(batch) for batch in batches]
        measured, distance, gap = self._prepare(rollouts, sorted(entry for share in shares for entry in share))
        if settings.kl.limit is not None and distance > settings.kl.limit:
            if settings.on_divergence == "stop":
                raise KLTooFar(f"KL {distance:.3f} nats of a completion; kl.limit = {settings.kl.limit}", rollouts)
            self.engine.skipped += 1
            return PPOStep(reward, kl=distance, behaviour_gap=gap, skipped=self.engine.skipped)
        totals = torch.zeros(3)  # policy loss, value loss, tokens clipped
        norms = []
        for batch, share in zip(batches, shares, strict=True):
            completions = [len(sequences[index].completion) for part in batch for index in part]
            work = [
                (functools.partial(loss, measured[part]), counts) for part, counts in share for loss in self._losses
            ]
            counted = functools.partial(_call, tokens=sum(completions), sequences=len(completions))
            update = self.engine.update(work, counted, rollouts)
            totals += update.measures
            norms.append(update.gradient_norm)
        self.kl_coefficient.follow(distance, len(rollouts))
        policy_loss, value_loss, clipped = (totals / len(batches)).tolist()
        return PPOStep(
            reward=reward,
            sequences=len(rollouts),
            kl=distance,
            behaviour_gap=gap,
            clip_fraction=clipped,
            policy_loss=policy_loss,
            value_loss=value_loss,
            gradient_norm=max(norms),
            tokens=sum(map(len, sequences)),
            skipped=self.engine.skipped,
        )

    def _policy_loss(self, part: _Measured, tokens: int, sequences: int) -> tuple[Tensor, Tensor]:
        """The part's share of its minibatch's loss; and its policy loss, value loss and share of clipped tokens."""
        settings = self._settings
        weights = losses.token_weights(
            part.mask, settings.aggregation, tokens, sequences, settings.tokens_per_sequence
        )
        completions = trunk.forward(self.model.base_model, part.sequences)
        head = self.model.get_output_embeddings()
        log_probs = completions.log_probs(head, self._temperature)
        if settings.advantages == "passing":
            plain = log_probs if self._temperature == 1 else completions.log_probs(head)
            surrogate, clipped = -plain, torch.zeros_like(part.mask)
        else:
            surrogate, clipped = losses.clipped_surrogate(
                log_probs, part.proximal, part.advantages, settings.clip, settings.clip_high, settings.dual_clip
            )
            if part.weights is not None:
                surrogate = surrogate * part.weights
        policy = (surrogate * weights).sum()
        loss, critic = policy, torch.zeros(())
        if self.critic is not None and not self._apart:
            critic = self._value_loss(part, self.critic(part.sequences, completions), tokens)
            loss = loss + settings.value_coefficient * critic
        if settings.kl.place == "loss":
            penalty = kl.estimate(log_probs, part.reference, settings.kl.estimator)
            loss = loss + self.kl_coefficient.value * (penalty * weights).sum()
        if settings.entropy:
            loss = loss - settings.entropy * (completions.entropies(head, self._temperature) * weights).sum()
        share = (clipped & part.mask).sum() / tokens
        return loss, torch.stack([policy.detach(), critic.detach(), share]).cpu()

    def _critic_loss(self, part: _Measured, tokens: int, sequences: int) -> tuple[Tensor, Tensor]:
        """As `_policy_loss`, of a critic with a trunk of its own: apart, so that memory holds one trunk's results."""
        assert self.critic is not None
        critic = self._value_loss(part, self.critic(part.sequences), tokens)
        nothing = torch.zeros_like(critic)
        return self._settings.value_coefficient * critic, torch.stack([nothing, critic.detach(), nothing]).cpu()

    def _value_loss(self, part: _Measured, values: Tensor, tokens: int) -> Tensor:
        each = losses.value_loss(values, part.returns, part.values, self._settings.value_clip)
        return (each * part.mask).sum() / tokens

    def close(self) -> None:
        """Leave policy and critic as plain models, with what was learnt. The trainer is of no further use."""
        self.engine.close()
        engines.finish(self.model)
        if self.critic is not None and self.critic.trunk is not None:
            engines.finish(self.critic.trunk)

    def weights(self) -> dict[str, Tensor]:
        """The policy's, under the names of a plain model."""
        return self.engine.weights("policy")

    @torch.no_grad()
    def log_probs(self, sequences: list[TokenSequence]) -> list[tuple[float, ...]]:
        """Of the completion tokens of each sequence under the policy, at temperature 1."""

        def compute() -> tuple[Tensor, Tensor]:
            completions = trunk.forward(self.model.base_model, sequences)
            return completions.log_probs(self.model.get_output_embeddings()), completions.mask

        self.model.eval()
        found, mask = self.engine.compute(compute)
        return [tuple(row[kept].tolist()) for row, kept in zip(found, mask, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {
            "engine": self.engine.state_dict(),
            "reference": None if self.reference is None else self.reference.state_dict(),
            "kl_coefficient": self.kl_coefficient.value,
            "rng": self._rng.getstate(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])
        self.engine.load_state_dict(state["engine"])
        self.kl_coefficient.value = state["kl_coefficient"]
        self._rng.setstate(state["rng"])

    def _prepare(
        self, rollouts: Sequence[Rollout], share: list[tuple[Part, bool]]
    ) -> tuple[dict[Part, _Measured], float, float]:
        """What is fixed for the step, of this process's parts; mean KL of a completion and gap to the sampler of all.

        `share` are parts of `rollouts`, and whether a part counts here.
        """
        measured: dict[Part, _Measured] = {}
        distance = gap = 0.0
        for part, counts in share:
            chosen = [rollouts[index] for index in part]
            found, distance_here, gap_here = self.engine.compute(functools.partial(self._measure, chosen))
            measured.setdefault(part, found)
            if counts:
                distance += distance_here
                gap += gap_here
        if self._settings.advantages in ("gae", "reinforce++"):
            self._whiten([measured[part] for part, counts in share if counts])
        distance, gap = (sum(self.engine.gather(value)) for value in (distance, gap))
        tokens = sum(len(rollout.sequence.completion) for rollout in rollouts)
        return measured, distance / len(rollouts), gap / tokens

    @torch.no_grad()
    def _measure(self, chosen: list[Rollout]) -> tuple[_Measured, float, float]:
        """A part with its advantages not yet whitened, its summed KL, and its summed gap to the sampler."""
        settings = self._settings
        sequences = [rollout.sequence for rollout in chosen]
        completions = trunk.forward(self.model.base_model, sequences)
        mask = completions.mask
        log_probs = completions.log_probs(self.model.get_output_embeddings(), self._temperature)
        reference = self._reference_log_probs(sequences)
        behaviour = torch.zeros_like(log_probs)
        behaviour[mask] = torch.tensor([p for rollout in chosen for p in rollout.log_probs], device=self._device)
        terminal = torch.tensor([rollout.reward for rollout in chosen], device=self._device)
        rewards = estimators.token_rewards(terminal, self._penalties(log_probs, reference), mask)
        values = torch.zeros_like(log_probs) if self.critic is None else self.critic(sequences, completions)
        advantages, returns = self._advantages(rewards, values, mask, sequences)
        decoupled = settings.objective == "decoupled"
        weights = losses.behaviour_weights(log_probs, behaviour, settings.importance_cap) if decoupled else None
        proximal = log_probs if decoupled else behaviour
        part = _Measured(sequences, mask, proximal, weights, reference, values, advantages, returns)
        return part, float((log_probs - reference).sum()), float((log_probs - behaviour).abs().sum())

    def _reference_log_probs(self, sequences: list[TokenSequence]) -> Tensor:
        model = self.model if self.reference is None else self.reference
        with lora.disabled(self.model) if self.reference is None else contextlib.nullcontext():
            completions = trunk.forward(model.base_model, sequences)
        return completions.log_probs(model.get_output_embeddings(), self._temperature)

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
        if settings.advantages == "passing":
            return mask.float(), torch.zeros_like(values)
        if settings.advantages == "reinforce++":
            return estimators.rewards_to_go(rewards, mask), torch.zeros_like(values)
        numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(sequence.prompt for sequence in sequences))}
        groups = torch.tensor([numbers[sequence.prompt] for sequence in sequences], device=self._device)
        compare = estimators.leave_one_out if settings.advantages == "rloo" else estimators.group_relative
        return compare(rewards.sum(dim=1), groups)[:, None] * mask, torch.zeros_like(values)

    def _whiten(self, chosen: list[_Measured]) -> None:
        """Whiten the advantages over the whole batch of rollouts: not over each part of it, nor over each process's.

        `chosen` are the parts that no other process has as well.
        """
        empty = torch.zeros(0, device=self._device)
        flat = torch.cat([empty, *(part.advantages[part.mask] for part in chosen)])
        everyone = self.engine.gather(flat)
        every = torch.cat([values.to(self._device) for values in everyone])
        white = estimators.whiten(every, torch.ones_like(every))
        mine = torch.split(white, [len(values) for values in everyone])[self.engine.rank]
        for part, values in zip(chosen, torch.split(mine, [int(part.mask.sum()) for part in chosen]), strict=True):
            part.advantages[part.mask] = values


def _call(loss: Callable[..., tuple[Tensor, Tensor]], **counts: int) -> tuple[Tensor, Tensor]:
    return loss(**counts)
