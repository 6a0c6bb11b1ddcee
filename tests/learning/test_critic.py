"""A critic with a trunk of its own, on every engine."""

import io

import pytest
import torch
from learners import PPO, assert_close, causal, policy_trainer, rollouts

from roles.engines import LearningSettings, LoRASettings

TRUNK = PPO.model_copy(update={"critic": "trunk"})
LORA = LoRASettings(rank=4)


@pytest.mark.parametrize(("stage", "lora"), [(0, None), (1, None), (2, None), (3, None), (2, LORA), (3, LORA)])
def test_every_stage_of_deepspeed_learns_what_the_torch_engine_learns(stage, lora, monkeypatch):
    monkeypatch.setattr("roles.engines.deepspeed.KEPT_WHOLE", 0)
    plain, shared_out = (
        policy_trainer(LearningSettings(lora=lora, gradient_checkpointing=stage == 3, **engine), TRUNK)
        for engine in ({}, {"engine": "deepspeed", "zero_stage": stage})
    )
    for seed in range(2):
        assert_close(shared_out.step(rollouts(seed)), plain.step(rollouts(seed)), 1e-4)
    for name in ("policy", "critic"):
        assert_close(shared_out.engine.weights(name), plain.engine.weights(name), 1e-4)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "adapters"])
def test_the_policy_s_weights_keep_their_names_and_its_trunk_is_not_the_critic_s(lora):
    trainer = policy_trainer(LearningSettings(lora=lora), TRUNK)
    assert trainer.weights().keys() == causal().state_dict().keys()
    before = {name: tensor.clone() for name, tensor in trainer.engine.weights("critic").items()}
    trunk = causal().base_model.state_dict()
    assert before.keys() == {"head.weight", "head.bias"} | {f"trunk.{name}" for name in trunk}
    assert all(torch.equal(before[f"trunk.{name}"], tensor) for name, tensor in trunk.items())
    for seed in range(2):  # a head of zeros lets no gradient through to its trunk
        trainer.step(rollouts(seed))
    learnt, policy = trainer.engine.weights("critic"), trainer.weights()
    for name in trunk:
        trained = lora is None or name.endswith("_proj.weight")
        assert torch.equal(learnt[f"trunk.{name}"], before[f"trunk.{name}"]) != trained
        assert torch.equal(learnt[f"trunk.{name}"], policy[f"model.{name}"]) != trained
    trainer.close()
    assert_close(trainer.model.state_dict(), policy, 1e-6)
    assert_close(trainer.critic.state_dict(), learnt, 1e-6)


@pytest.mark.parametrize("kind", ["head", "trunk"])
def test_what_the_critic_learns_moves_the_policy_only_where_they_share_a_trunk(kind):
    learnt = []
    for coefficient in (0.0, 5.0):
        settings = PPO.model_copy(
            update={"critic": kind, "value_coefficient": coefficient, "max_gradient_norm": 1e9}
        )
        trainer = policy_trainer(LearningSettings(), settings)
        with torch.no_grad():
            trainer.critic.head.weight.fill_(0.1)
        trainer.step(rollouts())
        learnt.append(trainer.weights())
    assert all(torch.equal(learnt[0][name], learnt[1][name]) for name in learnt[0]) == (kind == "trunk")


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "adapters"])
def test_a_restored_critic_continues_exactly(lora):
    trainer = policy_trainer(LearningSettings(lora=lora), TRUNK)
    trainer.step(rollouts(0))
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    expected = [trainer.step(rollouts(seed)) for seed in (1, 2)]
    other = policy_trainer(LearningSettings(lora=lora), TRUNK, seed=9)
    other.load_state_dict(torch.load(file, weights_only=False))
    assert [other.step(rollouts(seed)) for seed in (1, 2)] == expected
