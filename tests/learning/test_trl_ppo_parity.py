"""Parity with TRL 1.12.0 of PPO: its trainer run whole against ours, and against our functions one after the other.

TRL whitens with the variance of a sample (n - 1), we with that of the batch (n). It gives the reward of a sequence that
ends early one position after the end, and counts that position's value. Both are corrected for in the open.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from learners import VOCABULARY, causal, log_probs, prompt
from parity import NO_CLIPPING, TOLERANCE, arguments, bessel, classifier, gradients, gradients_close, tokenizer
from torch import Tensor, nn
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
from trl.experimental.utils import get_reward

from roles import trunk
from roles.policy import advantages, kl, losses
from roles.policy.kl import KLSettings
from roles.policy.trainer import PolicyTrainer, PPOSettings, Rollout
from roles.sequences import TokenSequence
from tests.learning.padded import rectangle

pytestmark = pytest.mark.filterwarnings("ignore:var")  # TRL logs the variance of its one ratio


def sampled(same_length: bool, seed: int = 0) -> list[Rollout]:
    """Completions with rewards; the log-probabilities of the policy that sampled them, another than that of today."""
    rng = random.Random(seed)
    found = []
    for _ in range(6):
        shared = prompt(rng)
        length = 7 if same_length else rng.randrange(2, 8)
        completion = tuple(rng.randrange(3, VOCABULARY) for _ in range(length))
        found.append(Rollout(TokenSequence(shared, completion), (), rng.gauss(0.0, 1.0)))
    return found


class TRL:
    """`PPOTrainer` with completions and rewards that are given: `generate` samples nothing but returns them, with the
    logits of `behaviour`, and of two uses of `get_reward` the one for the reward model answers with the rewards."""

    def __init__(
        self, rollouts: list[Rollout], behaviour: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, rate: float,
        **settings: Any,
    ) -> None:  # fmt: skip
        self.policy, self.critic = causal(), classifier(1)
        judge = nn.Linear(1, 1)
        rewards = torch.tensor([rollout.reward for rollout in rollouts])
        queries, _ = rectangle([rollout.sequence.prompt for rollout in rollouts], 0, left=True)
        completions, _ = rectangle([rollout.sequence.completion for rollout in rollouts], 0)

        def generate(_: Any, given: Tensor, pad_id: int, __: Any) -> tuple[Tensor, Tensor]:
            both = torch.cat([given, completions], dim=1)
            return both, ppo_trainer.forward(behaviour, both, pad_id).logits[:, given.shape[1] - 1 : -1]

        def answer(model: Any, *rest: Any) -> Any:
            return (None, rewards, None) if model is judge else get_reward(model, *rest)

        monkeypatch.setattr(ppo_trainer, "generate", generate)
        monkeypatch.setattr(ppo_trainer, "get_reward", answer)
        inner = PPOConfig(
            **arguments(folder), per_device_train_batch_size=len(rollouts), gradient_accumulation_steps=1,
            num_mini_batches=1, total_episodes=len(rollouts), num_sample_generations=0, temperature=1.0, **settings,
        )  # fmt: skip
        everything = [*self.policy.parameters(), *self.critic.parameters()]
        descent = torch.optim.SGD(everything, rate)  # Adam's first step is the sign of a gradient, noise and all
        self.trainer = PPOTrainer(
            inner, tokenizer(), self.policy, causal(2), judge, Dataset.from_dict({"input_ids": [[0]] * len(rollouts)}),
            self.critic, data_collator=lambda _: {"input_ids": queries},
            optimizers=(descent, torch.optim.lr_scheduler.ConstantLR(descent, 1.0)),
        )  # fmt: skip

    def train(self) -> tuple[dict[str, float], list[dict[str, Tensor]]]:
        """What it logged, and the gradients of each of its updates."""
        logged: dict[str, float] = {}
        self.trainer.log = logged.update
        with gradients(self.named) as seen:
            self.trainer.train()
        return logged, seen

    def named(self) -> dict[str, nn.Parameter]:
        return {
            **{f"policy.{name}": parameter for name, parameter in self.policy.named_parameters()},
            **{f"critic.{name}": parameter for name, parameter in self.critic.named_parameters()},
        }


def near(model: Any, seed: int = 5) -> Any:
    """A policy a few hundredths away, as the one of some steps ago."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + 0.03 * torch.randn_like(parameter))
    return other


CASES = {
    "sampled now, k1": (False, KLSettings(estimator="k1", coefficient=0.05)),
    "sampled now, k3": (False, KLSettings(estimator="k3", coefficient=0.05)),
    "sampled some steps ago": (True, KLSettings(place="none")),
}


@pytest.mark.parametrize("case", CASES)
def test_an_update_of_the_policy_trainer_is_trls(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale, distance = CASES[case]
    behaviour = near(causal()) if stale else causal()
    rollouts = sampled(same_length=True)  # nothing ends early, so that the two agree on where a reward belongs
    rollouts = [
        dataclasses.replace(rollout, log_probs=found)
        for rollout, found in zip(rollouts, log_probs(behaviour, [r.sequence for r in rollouts]), strict=True)
    ]
    theirs = TRL(
        rollouts, behaviour, tmp_path, monkeypatch, rate=0.1, num_ppo_epochs=1, gamma=0.98, lam=0.9,
        kl_coef=distance.coefficient if distance.place == "reward" else 0.0,
        kl_estimator="k3" if distance.estimator == "k3" else "k1",
    )  # fmt: skip
    settings = PPOSettings(
        learning_rate=1e-3, updates_per_step=1, critic="trunk", discount=0.98, gae_lambda=0.9, value_clip=0.2,
        kl=distance, max_gradient_norm=NO_CLIPPING,
    )  # fmt: skip
    trainer = PolicyTrainer(causal(), settings, temperature=1.0)
    trainer.reference.load_state_dict(theirs.trainer.ref_model.state_dict())
    trainer.critic.trunk.load_state_dict(theirs.critic.model.state_dict())
    trainer.critic.head.load_state_dict({"weight": theirs.critic.score.weight, "bias": torch.zeros(1)})
    logged, expected = theirs.train()
    names = {
        **{f"policy.{name}": parameter for name, parameter in trainer.model.named_parameters()},
        **{f"critic.model.{name}": parameter for name, parameter in trainer.critic.trunk.named_parameters()},
        "critic.score.weight": trainer.critic.head.weight,
    }
    with gradients(lambda: names) as seen:
        step = trainer.step(rollouts)
    tokens = sum(len(rollout.sequence.completion) for rollout in rollouts)
    factor = bessel(torch.ones(tokens))
    found = {name: g * (factor if name.startswith("policy.") else 1.0) for name, g in seen[0].items()}
    (their_gradients,) = expected
    gradients_close(found, their_gradients)
    assert step.policy_loss * factor == pytest.approx(logged["loss/policy_avg"], abs=TOLERANCE)
    assert step.value_loss * settings.value_coefficient == pytest.approx(
        settings.value_coefficient * logged["loss/value_avg"], abs=TOLERANCE
    )
    assert step.clip_fraction == pytest.approx(logged["policy/clipfrac_avg"], abs=TOLERANCE)
    assert (step.clip_fraction > 0) == stale
    if not stale and distance.estimator == "k1":
        assert step.kl == pytest.approx(logged["objective/kl"], rel=TOLERANCE)


def test_our_functions_one_after_the_other_are_two_epochs_of_trls_ppo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts, rate, discount, smoothing, clip = sampled(same_length=False), 0.05, 0.98, 0.9, 0.2
    theirs = TRL(
        rollouts, causal(), tmp_path, monkeypatch, rate, num_ppo_epochs=2, gamma=discount, lam=smoothing,
        cliprange=clip, cliprange_value=clip, kl_coef=0.05,
    )  # fmt: skip
    policy, critic = copy.deepcopy(theirs.policy), copy.deepcopy(theirs.critic)
    logged, expected = theirs.train()

    sequences = [rollout.sequence for rollout in rollouts]
    terminal = torch.tensor([rollout.reward for rollout in rollouts])

    def measured(model: Any) -> Tensor:
        return trunk.forward(model.base_model, sequences).log_probs(model.lm_head)

    def values_of(model: Any) -> Tensor:
        """Before each token; and of those that end early, after the last."""
        completions = trunk.forward(model.base_model, sequences)
        return torch.where(longer & ~mask, model.score(completions.last), completions.values(model.score))

    with torch.no_grad():
        mask = trunk.forward(policy.base_model, sequences).mask
        longer = torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], dim=1)  # by the position after an early end
        old, old_values = measured(policy), values_of(critic)
        penalties = 0.05 * kl.estimate(old, measured(causal(2)), "k1")
        rewards = advantages.token_rewards(terminal, penalties, longer)
        gained, returns = advantages.generalised(rewards, old_values, longer, discount, smoothing)
        white = advantages.whiten(gained, mask) * bessel(mask)
    weights = losses.token_weights(mask, "token", int(mask.sum()), len(rollouts), 1)
    policy_losses, value_losses, shares = [], [], []
    for number in range(2):
        surrogate, clipped = losses.clipped_surrogate(measured(policy), old, white, clip)
        values = values_of(critic)
        policy_losses.append((surrogate * weights).sum())
        value_losses.append(advantages.masked_mean(losses.value_loss(values, returns, old_values, clip), longer))
        shares.append(advantages.masked_mean(clipped.float(), mask).item())
        (policy_losses[-1] + 0.1 * value_losses[-1]).backward()
        found = {
            f"{kind}.{name}": parameter.grad.clone()
            for kind, model in (("policy", policy), ("critic", critic)) for name, parameter in model.named_parameters()
        }  # fmt: skip
        gradients_close(found, expected[number])
        with torch.no_grad():
            for parameter in [*policy.parameters(), *critic.parameters()]:
                parameter -= rate * parameter.grad
                parameter.grad = None
    assert sum(policy_losses).item() / 2 == pytest.approx(logged["loss/policy_avg"], rel=TOLERANCE, abs=TOLERANCE)
    assert sum(value_losses).item() / 2 == pytest.approx(logged["loss/value_avg"], rel=TOLERANCE)
    assert sum(shares) / 2 == pytest.approx(logged["policy/clipfrac_avg"], abs=TOLERANCE)
    assert logged["policy/clipfrac_avg"] > 0 and logged["val/clipfrac_avg"] > 0
