"""Every kind of actor on a real Ray, with the pocket model and real programs."""

import dataclasses
import random

import numpy as np
import pytest
import ray

from actors.executor import Executor
from actors.generator import Generator, Request
from actors.miner import Miner
from actors.policy_learner import SFT_VERSION, PolicyLearner
from actors.reward_learner import RewardLearner
from actors.scorer import Scorer
from roles import weights
from roles.config import POCKET_BASE, PolicyStage, RewardStage, SFTStage
from roles.mining.pairs import MiningSettings
from roles.problems import pocket
from roles.records import Candidate, Pair, Problem, Score, Verdict, from_batch, to_batch
from roles.sampling.settings import ENGINE_ENV, EngineSettings
from roles.sandbox.limits import Limits

BASE = str(POCKET_BASE)
CONTROL = {"concurrency_groups": {"control": 1}, "num_cpus": 0}


@pytest.fixture(scope="module", autouse=True)
def own_ray():
    import os

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20,
        runtime_env={"env_vars": {**ENGINE_ENV, "PYTHONPATH": root}},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return random.Random(0).sample(pocket.load("train"), 12)


@pytest.fixture(scope="module")
def candidates(problems) -> list[Candidate]:
    """For each problem, its reference, the body of another problem's, and a program that does not compile."""
    found = []
    for problem, other in zip(problems, [*problems[1:], problems[0]], strict=True):
        body = other.references[0].removeprefix(other.prompt)
        texts = [problem.references[0], problem.prompt + body, problem.prompt + "    return nums +\n"]
        found += [
            Candidate(f"{problem.id}/{i}", problem.id, problem.id, text, (5, 6), (8, 9), (-1.0, -2.0), (1, 1), "stop")
            for i, text in enumerate(texts)
        ]
    return found


@pytest.fixture(scope="module")
def batches(problems, candidates):
    return to_batch(Problem, problems), to_batch(Candidate, candidates)


@pytest.fixture(scope="module")
def verdicts(batches):
    executor = ray.remote(**CONTROL)(Executor).remote("executor 0", Limits(), 2, 1)
    executed, judged = ray.get(list(executor.execute.remote(*batches)))
    ray.get(executor.close.remote())
    return executed, judged


def test_the_executor_judges_a_batch(verdicts, problems):
    executed, judged = verdicts
    assert (executed.statuses["passed"], executed.statuses["compile_error"]) == (12, 12)
    assert (executed.load.judged, executed.load.waiting, executed.load.faults) == (36, 0, 0)
    found = [verdict.status for verdict in from_batch(Verdict, judged)]
    assert (found[0::3], found[2::3]) == (["passed"] * 12, ["compile_error"] * 12)
    assert set(found[1::3]) <= {"failed", "runtime_error"}


@pytest.fixture(scope="module")
def reward_learner(tmp_path_factory):
    settings = RewardStage(learning_rate=1e-3, groups_per_step=4, groups_per_iteration=12)
    return ray.remote(**CONTROL)(RewardLearner).remote(
        "reward learner", BASE, tmp_path_factory.mktemp("run"), settings, "cpu", 0
    )


def test_scores_pairs_and_a_new_reward_version(batches, verdicts, reward_learner, tmp_path):
    scorer = ray.remote(**CONTROL)(Scorer).remote("scorer 0", BASE, RewardStage(), "cpu")
    version, packed = ray.get(list(reward_learner.weights.remote()))
    ray.get(scorer.update.remote(version, packed))
    _, scores = ray.get(list(scorer.score.remote(*batches)))
    assert {score.reward_version for score in from_batch(Score, scores)} == {0}

    miner = ray.remote(**CONTROL)(Miner).remote("miner", tmp_path, MiningSettings(), 0)
    mined, pairs = ray.get(list(miner.mine.remote("000000-policy", batches[1], verdicts[1], scores)))
    assert (mined.groups, mined.pairs) == (12, 24)
    assert len(list(tmp_path.rglob("*.parquet"))) == 4  # candidates, verdicts, scores and pairs are durable

    progress = ray.get(reward_learner.learn.remote(*batches, verdicts[1], pairs))
    assert progress.version == 1
    assert len(progress.steps) == 3
    version, packed = ray.get(list(reward_learner.weights.remote()))
    ray.get(scorer.update.remote(version, packed))
    _, rescored = ray.get(list(scorer.score.remote(*batches)))
    after = from_batch(Score, rescored)
    assert {score.reward_version for score in after} == {1}
    assert [score.reward for score in after] != [score.reward for score in from_batch(Score, scores)]
    ranked = from_batch(Score, ray.get(scorer.rank.remote(*batches, "likelihood", False, 1, packed)))
    assert [s.reward for s in ranked] == pytest.approx([s.reward for s in after])
    taken = ray.get(scorer.drain.remote()).taken_up
    assert [(entry.model, entry.version) for entry in taken] == [("reward", 0), ("reward", 1)]


def test_pairs_scored_by_an_older_version_do_not_make_a_new_one(batches, verdicts, reward_learner):
    [problem, candidate] = batches
    records = from_batch(Candidate, candidate)
    old = [Pair(records[0].problem_id, records[0].id, records[1].id, "random", 1.0, 0.0, 0)]
    progress = ray.get(reward_learner.learn.remote(problem, candidate, verdicts[1], to_batch(Pair, old)))
    assert (progress.version, progress.groups, progress.steps) == (1, 0, [])


def test_a_published_policy_reaches_the_generator_in_flight(problems, tmp_path):
    learner = ray.remote(**CONTROL)(PolicyLearner).remote(
        "policy learner", BASE, tmp_path, PolicyStage(), 1.0, "cpu", 0
    )
    engine = EngineSettings(dtype="float32", max_model_len=256, max_num_seqs=64, kv_cache_bytes=64 << 20)
    generator = ray.remote(num_cpus=0, max_concurrency=16)(Generator).remote("generator 0", BASE, engine, 0.001)
    ray.get(generator.start.remote(0))
    request = Request(tuple(problem.id for problem in problems), 4, 1.0, 48)
    receipt, sampled = ray.get(list(generator.sample.remote(to_batch(Problem, problems), request)))
    before = from_batch(Candidate, sampled)
    assert len(before) == 48
    assert receipt.tokens == sum(len(candidate.token_ids) for candidate in before)
    assert {version for candidate in before for version in candidate.policy_versions} == {0}
    assert {version for candidate in before for version in candidate.policy_versions} == {0}

    ray.get(learner.fine_tune.remote(to_batch(Problem, problems), SFTStage(problems=12, epochs=1)))
    version, packed = ray.get(list(learner.weights.remote()))
    assert version == SFT_VERSION
    running = generator.sample.remote(to_batch(Problem, problems), dataclasses.replace(request, n=8))
    ray.get(generator.update.remote(version, packed))
    late = from_batch(Candidate, ray.get(running[1]))
    _, sampled = ray.get(list(generator.sample.remote(to_batch(Problem, problems), request)))
    after = from_batch(Candidate, sampled)
    assert {version for candidate in after for version in candidate.policy_versions} == {SFT_VERSION}
    assert {version for candidate in late for version in candidate.policy_versions} <= {0, SFT_VERSION}

    verdicts = [Verdict(c.id, "passed" if i % 2 else "failed", float(i % 2), ()) for i, c in enumerate(after)]
    scores = [Score(c.id, float(i % 3), 1) for i, c in enumerate(after)]
    references = tuple(
        ray.put(to_batch(kind, records)) for kind, records in ((Candidate, after), (Verdict, verdicts), (Score, scores))
    )
    progress = ray.get(learner.learn.remote([references]))
    assert (progress.version, progress.steps, progress.max_lag) == (SFT_VERSION + 1, 1, 0)
    assert progress.ppo.behaviour_gap < 1e-3  # the engine samples from what the learner trains
    _, newer = ray.get(list(learner.weights.remote()))
    assert not np.array_equal(newer, packed)
    assert set(weights.shapes(newer)) == set(weights.shapes(packed))

    ray.get(generator.update.remote(2, newer))
    broken = newer.copy()
    weights.unpack(broken)["model.norm.weight"].mul_(1.5)
    with pytest.raises(ray.exceptions.RayTaskError, match=r"policy v3: .* by [0-9.]+ nats .*parity_limit = 0\.001"):
        ray.get(generator.update.remote(3, broken))
    base, sft, ppo, wrong = ray.get(generator.drain.remote()).taken_up
    assert (base.version, base.pause_seconds, base.mismatch) == (0, None, None)
    for taken in (sft, ppo, wrong):
        assert taken.pause_seconds > 0
    assert max(sft.mismatch, ppo.mismatch) < 1e-5 < 0.001 < wrong.mismatch
    ray.get(generator.close.remote())


def test_a_loss_that_is_not_finite_stops_the_learner_with_the_batch_saved(problems, tmp_path):
    learner = ray.remote(**CONTROL)(PolicyLearner).remote(
        "policy learner", BASE, tmp_path, PolicyStage(), 1.0, "cpu", 0
    )
    ray.get(learner.fine_tune.remote(to_batch(Problem, problems[:2]), SFTStage(problems=2, epochs=1)))
    candidate = Candidate("c", "p", "g", "x", (5, 6), (7, 8), (-1.0, -1.0), (1, 1), "stop")
    references = (
        ray.put(to_batch(Candidate, [candidate])), ray.put(to_batch(Verdict, [Verdict("c", "failed", 0.0, ())])),
        ray.put(to_batch(Score, [Score("c", float("nan"), 1)])),
    )  # fmt: skip
    with pytest.raises(ray.exceptions.RayTaskError, match=r"the batch is saved in .*failed-batch"):
        ray.get(learner.learn.remote([references]))
    assert list(tmp_path.glob("failed-batch-*.pt"))
