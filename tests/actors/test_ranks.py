"""A learner of two processes, as real actors: it does what one does, and continues as one, or as two."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
import ray
import torch
from test_learners import same
from tiny import tiny_model

from actors.crew import end
from actors.policy_learner import SFT_VERSION, PolicyLearner
from actors.ranks import Ranks
from roles import weights
from roles.config import PolicyStage, SFTStage
from roles.engines import LearningSettings
from roles.problems import pocket
from roles.records import Candidate, Problem, Score, Verdict, to_batch

ROOT = Path(__file__).parent.parent.parent
SETTINGS = PolicyStage(updates_per_step=2, tokens_per_batch=60, learning_rate=1e-3)
DIVIDED = LearningSettings(engine="deepspeed", zero_stage=2)


class Learner(PolicyLearner):
    def process(self) -> int:
        return os.getpid()


@pytest.fixture(scope="module", autouse=True)
def own_ray():
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "actors")))
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("base") / "model"))


@pytest.fixture(scope="module")
def problems():
    return to_batch(Problem, random.Random(0).sample(pocket.load("train"), 3))


def start(processes: int, base: str, folder: Path, learning: LearningSettings):
    kind = ray.remote(num_cpus=0, concurrency_groups={"control": 1})(Learner)
    actors = [
        kind.remote("policy learner", base, folder, SETTINGS, 1.0, "cpu", 0, learning) for _ in range(processes)
    ]
    return actors[0] if processes == 1 else Ranks(actors, "cpu")


def batch(seed: int):
    """Groups of samples whose rewards differ."""
    rng = random.Random(seed)
    group = []
    for i in range(15):
        tokens = tuple(rng.randrange(3, 300) for _ in range(4 + i % 3))
        prompt, count = (5, 6, 7 + i // 3), len(tokens)
        group.append(
            Candidate(f"c/{i}", "p", f"g{i // 3}", "x", prompt, tokens, (-2.0,) * count, (1,) * count, "stop")
        )
    verdicts = [Verdict(c.id, "passed" if i % 2 else "failed", float(i % 2), ()) for i, c in enumerate(group)]
    scores = [Score(c.id, rng.random(), 1) for c in group]
    tables = ((Candidate, group), (Verdict, verdicts), (Score, scores))
    return [tuple(ray.put(to_batch(kind, records)) for kind, records in tables)]


async def published(learner) -> dict[str, torch.Tensor]:
    version, packed = learner.weights.remote()
    assert await version >= SFT_VERSION
    return weights.unpack(await packed)


def close(found, expected) -> bool:
    return found.keys() == expected.keys() and all(
        torch.allclose(found[name], expected[name], atol=1e-4, rtol=1e-4) for name in expected
    )


def test_two_processes_learn_save_and_continue_as_one_does(base, problems, tmp_path):
    async def scenario() -> None:
        learners = {count: start(count, base, tmp_path, LearningSettings()) for count in (1, 2)}
        learnt = {}
        for count, learner in learners.items():
            await learner.fine_tune.remote(problems, SFTStage(problems=3, epochs=1))
            tuned = await published(learner)
            steps = [await learner.learn.remote(batch(seed)) for seed in range(2)]
            learnt[count] = await published(learner)
            assert not close(learnt[count], tuned)
            await learner.save.remote(tmp_path / f"model {count}", tmp_path / f"{count}.pt", 2)
            assert [step.steps for step in steps] == [1, 2]
        assert close(learnt[2], learnt[1])
        assert not list(tmp_path.glob("2-1*")), "one file is enough for both"
        for learner in learners.values():
            end(learner)
        further = {}
        for count in (1, 2):  # from what two processes left
            learner = start(count, base, tmp_path, LearningSettings())
            assert await learner.restore.remote(tmp_path / "2.pt") == (2, 2)
            assert same(await published(learner), learnt[2])
            await learner.learn.remote(batch(2))
            further[count] = await published(learner)
            end(learner)
        assert close(further[1], further[2])
        assert not close(further[2], learnt[2])

    asyncio.run(scenario())


def test_a_process_that_dies_is_the_death_of_the_learner(base, problems, tmp_path):
    async def scenario() -> None:
        learner = start(2, base, tmp_path, LearningSettings())
        await learner.fine_tune.remote(problems, SFTStage(problems=3, epochs=1))
        os.kill(await learner.actors[1].process.remote(), signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            await learner.learn.remote(batch(0))
        end(learner)
        for actor in learner.actors:
            with pytest.raises(ray.exceptions.RayActorError):
                await actor.drain.remote()

    asyncio.run(scenario())


@pytest.mark.long
def test_a_divided_state_is_continued_from_by_as_many_processes_and_refused_by_others(base, problems, tmp_path):
    async def scenario() -> None:
        learner = start(2, base, tmp_path, DIVIDED)
        await learner.fine_tune.remote(problems, SFTStage(problems=3, epochs=1))
        path = tmp_path / "policy.pt"
        saved = []
        for position in (1, 2):
            await learner.learn.remote(batch(position))
            saved.append(await published(learner))
            await learner.save.remote(tmp_path / "model", path, position)
        await learner.learn.remote(batch(3))
        expected = await published(learner)
        end(learner)
        path.write_bytes(path.read_bytes()[:-100])  # the first process's; the other has to take the one before, too
        learner = start(2, base, tmp_path, DIVIDED)
        assert await learner.restore.remote(path) == (1, 1)
        assert same(await published(learner), saved[0])
        for position in (2, 3):
            await learner.learn.remote(batch(position))
        assert close(await published(learner), expected)
        end(learner)
        for other in (LearningSettings(engine="deepspeed", zero_stage=2), LearningSettings()):
            learner = start(1, base, tmp_path, other)
            with pytest.raises(ray.exceptions.RayTaskError, match="2 parts cannot be continued from by 1 processes"):
                await learner.restore.remote(path)
            end(learner)

    asyncio.run(scenario())
