"""The learners with every kind of engine: what they publish, save and continue from. They need no cluster for that."""

import random

import pytest
import torch
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from actors.policy_learner import SFT_VERSION, PolicyLearner
from actors.reward_learner import RewardLearner
from roles import weights
from roles.config import PolicyStage, RewardStage, SFTStage
from roles.engines import LearningSettings, LoRASettings
from roles.problems import pocket
from roles.records import Candidate, Pair, Problem, to_batch
from roles.reward import model as reward_model

KINDS = {
    "torch": LearningSettings(),
    "adapters": LearningSettings(lora=LoRASettings(rank=2)),
    "stage 2": LearningSettings(engine="deepspeed", zero_stage=2),
    "stage 3 with adapters": LearningSettings(engine="deepspeed", zero_stage=3, lora=LoRASettings(rank=2)),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def learning(request):
    return request.param


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("base") / "model"))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return random.Random(0).sample(pocket.load("train"), 3)


def published(learner) -> dict[str, torch.Tensor]:
    return weights.unpack(learner.weights()[1])


def same(found, expected) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_policy_learner_publishes_saves_and_continues(learning, base, problems, tmp_path):
    def start() -> PolicyLearner:
        return PolicyLearner("policy learner", base, tmp_path, PolicyStage(), 1.0, "cpu", 0, learning)

    learner = start()
    before = published(learner)
    learner.fine_tune(to_batch(Problem, problems), SFTStage(problems=3, epochs=1))
    tuned = published(learner)
    assert tuned.keys() == before.keys()
    assert not same(tuned, before)
    learner.save(tmp_path / "model", tmp_path / "policy.pt")
    other = start()
    other.restore(tmp_path / "policy.pt")
    assert same(published(other), tuned)
    assert other.weights()[0] == SFT_VERSION
    folder = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(folder[name], tuned[name]) for name in tuned)


def test_the_reward_learner_publishes_saves_and_continues(learning, base, problems, tmp_path):
    settings = RewardStage(learning_rate=1e-3, groups_per_step=3, groups_per_iteration=3)

    def start() -> RewardLearner:
        return RewardLearner("reward learner", base, tmp_path, settings, "cpu", 0, learning)

    candidates = [
        Candidate(f"{p.id}/{i}", p.id, p.id, text, (5, 6), (8, 9), (-1.0, -2.0), (1, 1), "stop")
        for p in problems
        for i, text in enumerate((p.references[0], p.prompt + "    return 0\n"))
    ]
    pairs = [Pair(p.id, f"{p.id}/0", f"{p.id}/1", "random", 1.0, 0.0, 0) for p in problems]
    learner = start()
    plain, tokenizer = reward_model.create("likelihood", base)
    learner.initialise(weights.pack(plain.trunk.state_dict()))
    before = published(learner)
    batches = to_batch(Problem, problems), to_batch(Candidate, candidates), to_batch(Pair, pairs)
    assert learner.learn(*batches).version == 1
    learnt = published(learner)
    assert learnt.keys() == before.keys()
    assert not same(learnt, before)
    learner.save(tmp_path / "model", tmp_path / "reward.pt")
    other = start()
    other.restore(tmp_path / "reward.pt")
    assert same(published(other), learnt)
    loaded, _ = reward_model.load(str(tmp_path / "model"))
    plain.load_weights(learnt)
    assert same(loaded.state_dict(), plain.state_dict())
    assert tokenizer.pad_token_id is not None
