"""The two learners: how they start or continue, their stages, and what a new version of their model sets off."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.admission import Admission
from actors.crew import Crew
from actors.evaluation import HeldOut, Ranker
from actors.policy_learner import BASE_VERSION
from actors.reward_learner import RewardProgress
from actors.stages import Counts
from actors.streams import Batch, Stream
from actors.weights import Followers, Versions
from roles.config import Config
from roles.ranking.table import CONTROL, reward_model
from roles.records import Problem, to_batch
from roles.reward.model import Head


class Checkpoints:
    """What a continued run needs, inside the run directory."""

    def __init__(self, run_dir: Path) -> None:
        self.policy = run_dir / "checkpoints" / "policy.pt"
        self.reward = run_dir / "checkpoints" / "reward.pt"
        self.policy_model = run_dir / "models" / "policy"
        self.reward_model = run_dir / "models" / "reward"
        self._weights = run_dir / "weights"
        for folder in (self.policy.parent, self.policy_model.parent, self._weights):
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, name: str, version: int, weights: ray.ObjectRef) -> None:
        """Keep a version that the table needs, in safetensors layout."""
        path = self._path(name, version)
        aside = path.with_suffix(".part")
        ray.get(weights).tofile(aside)
        aside.rename(path)

    def kept(self, prefix: str) -> list[tuple[str, int, ray.ObjectRef]]:
        """Name, version and weights of what was kept under a name with this prefix, oldest version first."""
        found = []
        for path in self._weights.glob(f"{prefix}*.safetensors"):
            name, _, version = path.stem.rpartition(".v")
            found.append((name, int(version), ray.put(np.fromfile(path, dtype=np.uint8))))
        return sorted(found, key=lambda entry: entry[1])

    def _path(self, name: str, version: int) -> Path:
        return self._weights / f"{name}.v{version}.safetensors"


@dataclasses.dataclass(frozen=True)
class Training:
    """The learners of a run with everything that their versions go to."""

    tasks: asyncio.TaskGroup
    crew: Crew
    policy: Versions
    reward: Versions
    followers: tuple[Followers, ...]  # of generators and scorers
    held_out: HeldOut
    admission: Admission
    checkpoints: Checkpoints
    config: Config

    async def begin(self, fine_tuning: list[Problem]) -> int:
        """Fine-tune the base, or restore both learners; publish their versions. Returns the PPO steps done before."""
        starting = asyncio.ensure_future(self._start_generators())
        continued = self.checkpoints.policy.exists()
        steps = 0
        if continued:
            steps = await self.crew.policy_learner.restore.remote(self.checkpoints.policy)
        else:
            await self.crew.policy_learner.fine_tune.remote(to_batch(Problem, fine_tuning), self.config.sft)
        policy = await self.policy.publish(self.crew.policy_learner)
        if continued and self.checkpoints.reward.exists():
            measured = await self.crew.reward_learner.restore.remote(self.checkpoints.reward)
            temperatures = {reward_model(version): found.temperature for version, found in measured.items()}
        else:
            tuned = [weights for _, _, weights in self.checkpoints.kept("policy-sft")] or [policy]
            await self.crew.reward_learner.initialise.remote(tuned[0])
            temperatures = {}
        await self.reward.publish(self.crew.reward_learner)
        self.admission.resume(steps, self.reward.newest)
        await starting
        if continued:
            for name, version, weights in self.checkpoints.kept("policy-"):
                self.held_out.add_policy(name.removeprefix("policy-"), version, weights)
            rankers = {name.removeprefix("ranker-"): rest for name, *rest in self.checkpoints.kept("ranker-")}
            for name, (version, weights) in rankers.items():
                self._add_ranker(name, version, weights, temperatures.get(name, math.nan))
            if self.reward.newest == self.config.iterations and CONTROL not in rankers:
                self.tasks.create_task(self._add_control())
        else:
            await self._evaluate("sft", policy)
            await self.crew.policy_learner.save.remote(self.checkpoints.policy_model, self.checkpoints.policy)
        await asyncio.gather(*(follower.catch_up() for followers in self.followers for follower in followers))
        return steps

    async def _start_generators(self) -> None:
        """Load the base into every engine, and sample from it for the table before anything else."""
        await asyncio.gather(*(generator.start.remote(BASE_VERSION) for generator in self.crew.generators))
        await self.held_out.add_policy("base", BASE_VERSION, None).wait()

    async def align(self, rollouts: Stream[Batch], counts: Counts, done: int) -> None:
        """PPO until every iteration has its steps, of which `done` were taken before; a version after each step."""
        config, learner = self.config, self.crew.policy_learner
        for step in range(done + 1, config.iterations * config.policy.steps_per_iteration + 1):
            batches = await rollouts.take(config.policy.groups_per_step // config.sampling.problems_per_batch)
            counts.policy = await learner.learn.remote(
                [(batch.candidates, batch.verdicts, batch.scores) for batch in batches]
            )
            weights = await self.policy.publish(learner)
            await self.admission.was_trained(tuple(group for batch in batches for group in batch.groups))
            if step % config.policy.steps_per_iteration == 0:
                await self._evaluate(f"iteration {step // config.policy.steps_per_iteration}", weights)
                await learner.save.remote(self.checkpoints.policy_model, self.checkpoints.policy)

    async def learn_rewards(self, pairs: Stream[Batch], counts: Counts) -> None:
        """Train on pairs as they are mined until every iteration has its version; then let them pass."""
        learner: Any = self.crew.reward_learner
        async for batch in pairs:
            if self.reward.newest >= self.config.iterations:
                continue  # in the ledger, and no version is to come that would learn from it
            progress: RewardProgress = await learner.learn.remote(
                batch.problems, batch.candidates, batch.verdicts, batch.pairs
            )
            if progress.steps:
                counts.reward = progress
            if progress.version > self.reward.newest:
                weights = await self.reward.publish(learner)
                await self.admission.new_reward_model(progress.version)
                temperature = progress.measured[progress.version].temperature
                await self._rank(reward_model(progress.version), progress.version, weights, temperature)
                if progress.version == self.config.iterations:
                    self.tasks.create_task(self._add_control())
                await learner.save.remote(self.checkpoints.reward_model, self.checkpoints.reward)

    async def _evaluate(self, name: str, weights: ray.ObjectRef) -> None:
        self.held_out.add_policy(name, self.policy.newest, weights)
        await asyncio.to_thread(self.checkpoints.keep, f"policy-{name}", self.policy.newest, weights)

    async def _add_control(self) -> None:
        examples, control = self.crew.reward_learner.control.remote(self.config.evaluation.control)
        await examples  # a scorer that is given weights which are still to come would wait for them, and others for it
        await self._rank(CONTROL, self.reward.newest, control, math.nan)

    async def _rank(self, name: str, version: int, weights: ray.ObjectRef, temperature: float) -> None:
        self._add_ranker(name, version, weights, temperature)
        await asyncio.to_thread(self.checkpoints.keep, f"ranker-{name}", version, weights)

    def _add_ranker(self, name: str, version: int, weights: ray.ObjectRef, temperature: float) -> None:
        head: Head = "likelihood" if name == CONTROL else self.config.reward.head
        reference = self.config.reward.reference and name != CONTROL
        self.held_out.add_ranker(Ranker(name, head, reference, version, weights, temperature))
