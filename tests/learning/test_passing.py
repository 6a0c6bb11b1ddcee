"""Expert iteration: the policy fine-tuned on those of its samples that passed."""

import dataclasses
import math

import pytest
import torch
from learners import PPO, causal, log_probs, policy_trainer, rollouts

from roles.engines import LearningSettings
from roles.policy.kl import KLSettings
from roles.policy.trainer import PolicyTrainer
from roles.tuning import sft
from roles.tuning.sft import SFTSettings

ONCE = PPO.model_copy(update={"advantages": "passing", "updates_per_step": 1})


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By name, filled in by each backward pass with what has added up so far."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():

        def keep(parameter: torch.Tensor, name: str = name) -> None:
            found[name] = parameter.grad.clone()

        parameter.register_post_accumulate_grad_hook(keep)
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_its_gradient_is_that_of_fine_tuning_on_the_sequences_that_passed(temperature):
    batch = rollouts()
    passing = [rollout.sequence for rollout in batch if rollout.passed]
    assert 0 < len(passing) < len(batch)
    tuned = causal()
    expected = gradients(tuned)
    history = sft.train_sequences(tuned, passing, SFTSettings(epochs=1, tokens_per_step=10_000))
    model = causal()
    found = gradients(model)
    step = PolicyTrainer(model, ONCE, temperature).step(batch)
    assert len(history) == 1
    assert abs(step.policy_loss - history[0].loss) < 1e-6
    assert (step.sequences, step.tokens) == (len(passing), sum(map(len, passing)))
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-6)


def test_rewards_and_their_penalties_play_no_part():
    learnt = []
    for reward, kl in ((0.0, KLSettings(place="none")), (math.nan, KLSettings(place="reward", coefficient=9.0))):
        trainer = policy_trainer(LearningSettings(), ONCE.model_copy(update={"kl": kl}))
        trainer.step([dataclasses.replace(rollout, reward=reward) for rollout in rollouts()])
        learnt.append(trainer.weights())
    assert all(torch.equal(learnt[0][name], learnt[1][name]) for name in learnt[0])


def test_a_penalty_in_the_loss_holds_the_policy():
    distances = {}
    for coefficient in (0.0, 1.0):
        kl = KLSettings(place="loss", estimator="k2", coefficient=coefficient)
        trainer = policy_trainer(LearningSettings(), ONCE.model_copy(update={"kl": kl}))
        distances[coefficient] = [trainer.step(rollouts()).kl for _ in range(15)][-1]
    assert distances[1.0] < 0.5 * distances[0.0]


def test_a_batch_in_which_nothing_passed_is_no_update():
    trainer = policy_trainer(LearningSettings(), ONCE)
    before = {name: tensor.clone() for name, tensor in trainer.weights().items()}
    rng = trainer.state_dict()["rng"]
    step = trainer.step([dataclasses.replace(rollout, passed=False) for rollout in rollouts()])
    assert step.sequences == 0
    assert all(math.isfinite(value) for value in dataclasses.asdict(step).values())
    assert trainer.engine.steps == 0
    assert trainer.state_dict()["rng"] == rng
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.weights().items())


def test_what_passed_becomes_likelier():
    trainer = policy_trainer(LearningSettings(), ONCE)
    batch = rollouts()
    assert trainer.critic is None

    def likelihood(passed: bool) -> float:
        chosen = [rollout.sequence for rollout in batch if rollout.passed == passed]
        return sum(map(sum, log_probs(trainer.model, chosen))) / len(chosen)

    before = likelihood(True) - likelihood(False)
    for _ in range(10):
        trainer.step(batch)
    assert likelihood(True) - likelihood(False) > before + 5

