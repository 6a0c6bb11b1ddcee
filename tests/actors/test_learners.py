"""The learners with every kind of engine: what they publish, save and continue from. They need no cluster for that."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from actors.policy_learner import SFT_VERSION, PolicyLearner
from actors.reward_learner import RewardLearner
from actors.scorer import Scorer
from roles import delta, weights
from roles.config import PolicyStage, RewardStage, SFTStage
from roles.engines import LearningSettings, LoRASettings
from roles.problems import pocket
from roles.records import Candidate, Pair, Problem, Score, Verdict, from_batch, to_batch
from roles.reward import model as reward_model
from roles.tuning import sft

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
    _, packed = learner.weights()
    return weights.unpack(delta.merged(learner.base()[1], packed) if delta.BASE in weights.metadata(packed) else packed)


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
    learner.save(tmp_path / "model", tmp_path / "policy.pt", 7)
    other = start()
    assert other.restore(tmp_path / "policy.pt") == (0, 7)
    assert same(published(other), tuned)
    assert other.weights()[0] == SFT_VERSION
    folder = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(folder[name], tuned[name]) for name in tuned)


def learn(learner: PolicyLearner, problems: list[Problem]) -> None:
    """A step from rewards that differ."""
    group = [Candidate(f"c/{i}", "p", "g", "x", (5, 6), (7, 8 + i, 9), (-2.0,) * 3, (1,) * 3, "stop") for i in range(4)]
    verdicts = [Verdict(c.id, "passed" if i % 2 else "failed", float(i % 2), ()) for i, c in enumerate(group)]
    scores = [Score(c.id, float(i), 1) for i, c in enumerate(group)]
    learner.learn([tuple(
        to_batch(kind, records) for kind, records in ((Candidate, group), (Verdict, verdicts), (Score, scores))
    )])  # fmt: skip


def test_of_adapters_only_a_delta_is_published_and_it_makes_the_learners_own_weights(
    base, problems, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray, "get", lambda batches: batches)
    learning = LearningSettings(lora=LoRASettings(rank=2, alpha=3))
    learner = PolicyLearner("policy learner", base, tmp_path, PolicyStage(learning_rate=1e-2), 1.0, "cpu", 0, learning)
    learner.fine_tune(to_batch(Problem, problems), SFTStage(problems=3, epochs=1))
    first = learner.base()[1]
    untouched = weights.unpack(delta.merged(first, learner.weights()[1]))
    assert same(untouched, weights.unpack(first))
    learn(learner, problems)
    version, packed = learner.weights()
    assert (version, weights.metadata(packed)[delta.BASE]) == (SFT_VERSION + 1, str(SFT_VERSION))
    assert packed.nbytes < first.nbytes / 4
    assert np.array_equal(learner.base()[1], first)
    found, expected = weights.unpack(delta.merged(first, packed)), learner._trainer.weights()
    expected.pop("lm_head.weight")  # tied
    assert found.keys() == expected.keys()
    assert not same(found, untouched)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-6)
    learner.save(tmp_path / "model", tmp_path / "policy.pt", 0)
    other = PolicyLearner("policy learner", base, tmp_path, PolicyStage(), 1.0, "cpu", 0, learning)
    other.restore(tmp_path / "policy.pt")
    assert same(weights.unpack(other.weights()[1]), weights.unpack(packed))
    assert np.array_equal(other.base()[1], first)


@dataclasses.dataclass(frozen=True)
class Reward:
    """Reward learners of a kind, and batches for them; the version that scored the pairs of a batch can be chosen."""

    base: str
    folder: Path
    problems: list[Problem]
    learning: LearningSettings

    def start(self, **settings: Any) -> RewardLearner:
        stage = RewardStage(**{"learning_rate": 1e-3, "groups_per_step": 3, "groups_per_iteration": 3, **settings})
        return RewardLearner("reward learner", self.base, self.folder, stage, "cpu", 0, self.learning)

    def initialised(self, **settings: Any) -> RewardLearner:
        learner = self.start(**settings)
        policy, _ = sft.pretrained(self.base)
        with torch.no_grad():
            policy.model.embed_tokens.weight.mul_(1.1)
        learner.initialise(weights.pack(policy.state_dict()))
        return learner

    def batch(self, version: int, wrong: str = "return 0", passing: bool = True) -> tuple[pa.RecordBatch, ...]:
        candidates = [
            Candidate(f"{p.id}/{i}", p.id, p.id, text, (5, 6), (8, 9), (-1.0, -2.0), (1, 1), "stop")
            for p in self.problems
            for i, text in enumerate((p.references[0], f"{p.prompt}    {wrong}\n"))
        ]
        verdicts = [
            Verdict(c.id, "passed" if passing and c.id.endswith("0") else "failed", 0.5, ()) for c in candidates
        ]
        pairs = [Pair(p.id, f"{p.id}/0", f"{p.id}/1", "random", 1.0, 0.0, version) for p in self.problems]
        return (
            to_batch(Problem, self.problems), to_batch(Candidate, candidates), to_batch(Verdict, verdicts),
            to_batch(Pair, pairs),
        )  # fmt: skip


@pytest.fixture
def reward(base, problems, tmp_path, learning) -> Reward:
    return Reward(base, tmp_path, problems, learning)


@pytest.mark.parametrize("reference", [False, True])
def test_the_reward_learner_publishes_saves_and_continues(reward, reference, base, tmp_path):
    learner = reward.initialised(reference=reference)
    before = published(learner)
    progress = learner.learn(*reward.batch(0))
    assert (progress.version, progress.measured.keys()) == (1, {1})
    assert progress.measured[1].problems == 3
    learnt = published(learner)
    assert learnt.keys() == before.keys()
    assert not same(learnt, before)
    learner.save(tmp_path / "model", tmp_path / "reward.pt", 7)
    other = reward.start(reference=reference)
    assert other.restore(tmp_path / "reward.pt") == (dataclasses.replace(progress, steps=[]), 7)
    assert same(published(other), learnt)
    loaded, _ = reward_model.load(str(tmp_path / "model"))
    plain, _ = reward_model.create("likelihood", base, reference=reference)
    plain.load_weights(learnt)
    assert same(loaded.state_dict(), plain.state_dict())
    scorer = Scorer("scorer", base, RewardStage(reference=reference), "cpu")
    scorer.update(*learner.weights())
    problems, candidates, *_ = reward.batch(0)
    served = [scored.reward for scored in from_batch(Score, scorer.score(problems, candidates)[1])]
    assert served == pytest.approx([s.reward for s in scores(loaded, scorer, problems, candidates)], abs=1e-5)


def scores(model, scorer: Scorer, problems: pa.RecordBatch, candidates: pa.RecordBatch) -> list[Score]:
    return from_batch(Score, scorer.rank(
        problems, candidates, model.head, model.reference is not None, 1, weights.pack(model.state_dict())
    ))  # fmt: skip


def test_a_fresh_iteration_begins_with_the_first_weights(reward):
    fresh = reward.initialised(start="fresh")
    first = published(fresh)
    fresh.learn(*reward.batch(0))
    assert not same(published(fresh), first)
    fresh._seen.clear()
    fresh._start_anew()
    assert same(published(fresh), first)


def test_a_fresh_iteration_learns_the_old_groups_and_then_the_new_from_the_first_weights(base, problems, tmp_path):
    reward = Reward(base, tmp_path, problems, LearningSettings())
    versions = {}
    for name, settings in {
        "fresh": {"start": "fresh"}, "warm": {"start": "warm"}, "one iteration": {"groups_per_iteration": 6},
    }.items():  # fmt: skip
        learner = reward.initialised(rehearsal=0.0, **settings)
        learner.learn(*reward.batch(0))
        if name != "one iteration":
            with torch.no_grad():
                learner._model.scale.add_(1.0)  # something to forget
        learner.learn(*reward.batch(1, "return 1"))
        versions[name] = published(learner)
    for weight, expected in versions["one iteration"].items():
        torch.testing.assert_close(versions["fresh"][weight], expected, atol=1e-5, rtol=1e-5)
    assert abs(versions["warm"]["scale"] - versions["fresh"]["scale"]) > 0.9


def test_a_fresh_iteration_after_a_restart_is_the_one_that_was_broken_off(reward, tmp_path):
    learner = reward.initialised(start="fresh", reference=True)
    learner.learn(*reward.batch(0))
    learner.save(tmp_path / "model", tmp_path / "reward.pt", 7)
    other = reward.start(start="fresh", reference=True)
    other.restore(tmp_path / "reward.pt")
    torch.rand(5)  # what else happens in a process must not matter
    for each in (learner, other):
        state = torch.get_rng_state()
        each.learn(*reward.batch(1, "return 1"))
        torch.set_rng_state(state)
    assert same(published(other), published(learner))


@pytest.mark.parametrize("initial", ["sft", "base"])
def test_the_first_weights_are_the_fine_tuned_policys_or_the_bases(initial, base, problems, tmp_path):
    learner = Reward(base, tmp_path, problems, LearningSettings()).initialised(initial=initial, reference=True)
    found = published(learner)
    policy, _ = sft.pretrained(base)
    factor = 1.1 if initial == "sft" else 1.0
    expected = policy.model.embed_tokens.weight * factor
    for trunk in ("trunk", "reference"):
        assert torch.equal(found[f"{trunk}.model.embed_tokens.weight"], expected)


def test_the_control_learns_from_chosen_programs_that_pass_only(base, problems, tmp_path):
    learner = Reward(base, tmp_path, problems, LearningSettings()).initialised()
    learner.learn(*Reward(base, tmp_path, problems[:1], LearningSettings()).batch(0, passing=False))
    assert not learner._passing
    learner.learn(*Reward(base, tmp_path, problems[1:], LearningSettings()).batch(0))
    assert {example.prompt for example in learner._passing} == {problem.prompt for problem in problems[1:]}
