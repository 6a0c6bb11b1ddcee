"""Parity with TRL 1.12.0 of functions, and of the reward model's trainer run whole. Tolerances are in `parity`.

TRL whitens with the variance of a sample (n - 1), we with that of the batch (n); its centring penalty is on the sum of
the two rewards of a pair, our `magnitude` on each. Both are corrected for in the open.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from learners import causal, prompt, sequence
from parity import NO_CLIPPING, TOLERANCE, arguments, bessel, classifier, close, gradients, gradients_close, tokenizer
from torch import Tensor
from trl import RewardConfig, RewardTrainer
from trl.experimental.ppo import ppo_trainer
from trl.experimental.utils import get_reward
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from roles import trunk
from roles.optimisation import OptimiserSettings
from roles.policy import advantages
from roles.reward import trainer as reward
from roles.reward.losses import RewardObjective, magnitude
from roles.reward.model import RewardModel
from tests.learning.padded import rectangle


def random_masked(seed: int = 0, rows: int = 6, columns: int = 11) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    lengths = torch.randint(1, columns + 1, (rows, 1))
    return torch.randn(rows, columns), torch.arange(columns) < lengths


def test_entropies_and_log_probs_of_completions_are_those_of_a_plain_forward_pass_of_trl() -> None:
    model, rng = causal(), random.Random(0)
    sequences = [sequence(rng, shared) for shared in (prompt(rng), prompt(rng)) for _ in range(3)]
    prompts, _ = rectangle([s.prompt for s in sequences], 0, left=True)
    ids, mask = rectangle([s.completion for s in sequences], 0)
    with torch.no_grad():
        both = torch.cat([prompts, ids], dim=1)
        logits = ppo_trainer.forward(model, both, 0).logits[:, prompts.shape[1] - 1 : -1]
        completions = trunk.forward(model.base_model, sequences)
        close(completions.log_probs(model.lm_head), selective_log_softmax(logits, ids) * mask)
        close(completions.entropies(model.lm_head), entropy_from_logits(logits) * mask)


def test_masked_means_agree() -> None:
    values, mask = random_masked()
    close(advantages.masked_mean(values, mask), ppo_trainer.masked_mean(values, mask))


def test_whitening_agrees_but_forbessels_correction() -> None:
    values, mask = random_masked()
    expected = ppo_trainer.masked_whiten(values, mask) * mask
    close(advantages.whiten(values, mask) * bessel(mask), expected)


def test_scalar_rewards_and_critic_values_are_those_of_get_reward() -> None:
    model, rng = classifier(), random.Random(0)
    sequences = [sequence(rng, prompt(rng)) for _ in range(5)]
    prompts, _ = rectangle([s.prompt for s in sequences], 0, left=True)
    ids, _ = rectangle([s.completion for s in sequences], 0)
    with torch.no_grad():
        _, expected, _ = get_reward(model, torch.cat([prompts, ids], dim=1), 0, prompts.shape[1])
        found, _ = RewardModel("scalar", model)(sequences)
    close(found, expected)


def pairs(count: int = 6, seed: int = 0) -> list[reward.PairGroup]:
    rng = random.Random(seed)
    prompts = [prompt(rng) for _ in range(count)]
    return [
        reward.PairGroup(str(i), (sequence(rng, p), sequence(rng, p)), ((0, 1),), (rng.random(),))
        for i, p in enumerate(prompts)
    ]


def trl_reward_step(
    groups: list[reward.PairGroup], folder: Path, margin: bool = False, centring: float | None = None
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the first step of TRL's trainer, the rows in order."""
    rows = [
        {
            "chosen_ids": group.programs[0].prompt + group.programs[0].completion,
            "rejected_ids": group.programs[1].prompt + group.programs[1].completion,
            **({"margin": group.margins[0]} if margin else {}),
        }
        for group in groups
    ]
    model = classifier()
    settings = RewardConfig(
        **arguments(folder), per_device_train_batch_size=len(groups), max_steps=1, train_sampling_strategy="sequential",
        center_rewards_coefficient=centring,
    )  # fmt: skip
    trainer = RewardTrainer(model, settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer())
    with gradients(lambda: dict(model.named_parameters())) as seen:
        result = trainer.train()
    return result.training_loss, seen[0]


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_reward_loss_and_all_gradients_are_those_of_trls_trainer(margin: float, tmp_path: Path) -> None:
    groups = pairs()
    expected, expected_gradients = trl_reward_step(groups, tmp_path, margin=margin > 0)
    model = classifier()
    settings = OptimiserSettings(learning_rate=1e-3, max_gradient_norm=NO_CLIPPING)
    trainer = reward.RewardTrainer(RewardModel("scalar", model), settings, 4096, RewardObjective(margin=margin))
    with gradients(lambda: dict(model.named_parameters())) as seen:
        step = trainer.step(groups)
    assert step.loss == pytest.approx(expected, abs=TOLERANCE)
    gradients_close(seen[0], expected_gradients)


def test_trls_centring_is_our_magnitude_and_twice_the_product_of_the_rewards(tmp_path: Path) -> None:
    groups, coefficient = pairs(), 0.3
    with torch.no_grad():
        rewards, _ = RewardModel("scalar", classifier())([program for g in groups for program in g.programs])
    chosen, rejected = rewards[0::2], rewards[1::2]
    plain, _ = trl_reward_step(groups, tmp_path)
    centred, _ = trl_reward_step(groups, tmp_path, centring=coefficient)
    ours = coefficient * (magnitude(chosen, rejected) + 2 * chosen * rejected).mean()
    assert centred - plain == pytest.approx(float(ours), abs=TOLERANCE)
