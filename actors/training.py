"""The two learners: how they start or continue, their stages, and what a new version of their model sets off."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import ray

from actors.admission import Admission
from actors.control import Control
from actors.crew import Crew, LearnerRole
from actors.evaluation import HeldOut, Ranker
from actors.past import Past
from actors.policy_learner import SFT_VERSION, PolicyProgress
from actors.reward_learner import RewardProgress
from actors.stages import Counts, Frontier
from actors.streams import Batch, Pool, Stream, is_loss
from actors.weights import Followers, Versions, Weights
from roles.config import Config
from roles.ranking.table import CONTROL, reward_model
from roles.records import Problem, to_batch
from roles.reward.model import Head

_LIVES = 3


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

    def keep(self, name: str, weights: Weights) -> None:
        """Keep a version that the table needs, whole, in safetensors layout."""
        path = self._path(name, weights.version)
        aside = path.with_suffix(".part")
        ray.get(weights.whole().packed).tofile(aside)
        aside.rename(path)

    def kept(self, prefix: str) -> list[tuple[str, Weights]]:
        """What was kept under a name with this prefix, oldest version first."""
        found = []
        for path in self._weights.glob(f"{prefix}*.safetensors"):
            name, _, version = path.stem.rpartition(".v")
            found.append((name, Weights(int(version), ray.put(np.fromfile(path, dtype=np.uint8)))))
        return sorted(found, key=lambda entry: entry[1].version)

    def _path(self, name: str, version: int) -> Path:
        return self._weights / f"{name}.v{version}.safetensors"


class LearnerLost(RuntimeError):
    """A learner dies again and again."""


class Training:
    """The learners of a run with everything that their versions go to.

    A learner that dies is replaced: the new one takes the newest checkpoint and learns once more, from the ledger, what
    came after it, in the same order.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, crew: Crew, policy: Versions, reward: Versions,
        followers: tuple[Followers, Followers], held_out: HeldOut, admission: Admission, checkpoints: Checkpoints,
        past: Past, scorers: Pool, fine_tuning: list[Problem], config: Config,
    ) -> None:  # fmt: skip
        """`followers` are those of the policy and of the reward model."""
        self.revivals: Counter[str] = Counter()
        self._tasks, self._crew, self._policy, self._reward, self._followers = tasks, crew, policy, reward, followers
        self._held_out, self._admission, self._checkpoints, self._past = held_out, admission, checkpoints, past
        self._scorers = scorers
        self._config, self._fine_tuning = config, to_batch(Problem, fine_tuning)
        self._steps = 0  # of PPO
        self._fine_tuned = False  # in this process
        self._control: asyncio.Task[None] | None = None  # the ranker of that name, once it is being made
        self._since: dict[LearnerRole, list[list[int]]] = {"policy learner": [], "reward learner": []}
        self._turn = asyncio.Lock()  # with `schedule: phased` one learner works at a time

    async def begin(self) -> Frontier:
        """Fine-tune the base, or restore both learners; publish their versions. Returns what they had before."""
        checkpoints, frontier = self._checkpoints, Frontier(0, 0)
        if checkpoints.policy.exists():
            self._steps, at = await self._call("policy learner", lambda _: self._bring_up("policy learner"))
            frontier = dataclasses.replace(frontier, policy=at)
            await self._publish_policy()
            for name, weights in checkpoints.kept("policy-"):
                self._held_out.add_policy(name.removeprefix("policy-"), weights)
        else:
            await self._evaluate("base", await self._publish_policy())
            await self._call("policy learner", self._fine_tune)
            self._fine_tuned = True
            await self._evaluate("sft", await self._publish_policy())
            await self._save_policy(0)
        progress, at = await self._call("reward learner", lambda _: self._bring_up("reward learner"))
        frontier = dataclasses.replace(frontier, reward=at)
        await self._call("reward learner", self._reward.publish)
        rankers = {name.removeprefix("ranker-"): weights for name, weights in checkpoints.kept("ranker-")}
        for name, weights in rankers.items():
            temperature = {reward_model(v): found.temperature for v, found in progress.measured.items()}.get(name)
            self._add_ranker(name, weights, math.nan if temperature is None else temperature)
        if self._reward.newest == self._config.iterations and CONTROL not in rankers:
            self._control = self._tasks.create_task(self._add_control())
        self._admission.resume(self._steps, self._reward.newest, progress.groups)
        await self._followers[0].reached(self._policy.newest)
        await self._followers[1].reached(self._reward.newest)
        return frontier

    def processes(self) -> dict[str, int]:
        """Of each learner."""
        return {role: self._crew.processes(role) for role in get_args(LearnerRole)}

    async def watch_versions(self) -> None:
        """Tell the admission which policy every generator has, for ever."""
        oldest = SFT_VERSION - 1
        while True:
            oldest = await self._followers[0].changed(oldest)
            await self._admission.taken_up(oldest - SFT_VERSION)

    async def align(self, rollouts: Stream[Batch], counts: Counts, control: Control) -> bool:
        """PPO until every iteration has its steps; a version after each step. Returns False when it was stopped."""
        config = self._config
        size = config.policy.groups_per_step // config.sampling.problems_per_batch
        while self._steps < config.iterations * config.policy.steps_per_iteration:
            batches = await control.unless_stopped(rollouts.take(size))
            if batches is None:
                return False
            async with self._phase():
                if config.policy.rescore:
                    batches = await asyncio.gather(*map(self._rescored, batches))
                counts.policy = await self._learn("policy learner", batches, self._step)
                counts.trained_by_lag += counts.policy.samples_by_lag
                weights = await self._publish_policy()
                self._steps += 1
                done = batches[-1].number + 1
                if self._steps % config.policy.steps_per_iteration == 0:
                    await self._evaluate(f"iteration {self._steps // config.policy.steps_per_iteration}", weights)
                    await self._save_policy(done)
                elif len(self._since["policy learner"]) >= config.policy.checkpoint_every:
                    await self._save_policy(done)
                await self._regroup("policy learner")
                if config.schedule == "phased":
                    await self._followers[0].reached(self._policy.newest)
            await self._admission.was_trained(tuple(group for batch in batches for group in batch.groups))
        return True

    async def learn_rewards(self, pairs: Stream[Batch], counts: Counts) -> None:
        """Train on pairs as they are mined until every iteration has its version; then let them pass."""
        async for batch in pairs:
            if batch.mined is not None and batch.mined.pairs and self._reward.newest < self._config.iterations:
                async with self._phase():
                    await self._learn_pairs(batch, counts)
                    if self._reward.newest < self._config.iterations:
                        await self._regroup("reward learner")
            await self._admission.was_learned(batch.groups)

    async def leave(self) -> None:
        """Checkpoint what was learnt since the last time. What of the control is there so far is made again."""
        if self._control is not None:
            self._control.cancel()
        for role in get_args(LearnerRole):
            await self._save(role)

    async def _save(self, role: LearnerRole) -> None:
        if since := self._since[role]:
            await (self._save_policy if role == "policy learner" else self._save_reward)(since[-1][-1] + 1)

    async def _regroup(self, role: LearnerRole) -> None:
        """Between two steps: go on with as many processes as are wanted by now."""
        if (processes := await self._crew.fitting(role)) != self._crew.processes(role):
            await self._save(role)
            await self._crew.farewell(await self._crew.learner(role))
            self._crew.replace(role, processes)
            await self._call(role, lambda _: self._bring_up(role))

    async def _rescored(self, batch: Batch) -> Batch:
        """`batch` with scores by the newest reward model; the ledger keeps those that it was mined with."""
        assert batch.mined is not None
        if batch.mined.reward_version >= self._reward.newest:
            return batch

        async def score(scorer: Any) -> ray.ObjectRef:
            receipt, scores = scorer.score.remote(batch.problems, batch.candidates)
            await receipt
            return scores

        return dataclasses.replace(batch, scores=await self._scorers.call(score))

    @asynccontextmanager
    async def _phase(self) -> AsyncIterator[None]:
        async with self._turn if self._config.schedule == "phased" else contextlib.nullcontext():
            yield

    async def _learn_pairs(self, batch: Batch, counts: Counts) -> None:
        progress: RewardProgress = await self._learn("reward learner", [batch], self._learn_batch)
        if progress.steps:
            counts.reward = progress
        if progress.version > self._reward.newest:
            weights = await self._call("reward learner", self._reward.publish)
            await self._admission.new_reward_model(progress.version)
            temperature = progress.measured[progress.version].temperature
            await self._rank(reward_model(progress.version), weights, temperature)
            await self._save_reward(batch.number + 1)
            if progress.version == self._config.iterations:
                self._control = self._tasks.create_task(self._add_control())
            if self._config.schedule == "phased":
                await self._followers[1].reached(progress.version)

    async def _learn(
        self, role: LearnerRole, batches: list[Batch], learn: Callable[[Any, list[Batch]], Awaitable[Any]]
    ) -> Any:
        """What `learn` returns of the learner. Batches whose bytes were lost come from the ledger."""

        async def once(learner: Any) -> Any:
            try:
                return await learn(learner, batches)
            except ray.exceptions.RayError as error:
                if not is_loss(error):
                    raise
            return await learn(learner, self._recalled([batch.number for batch in batches]))

        done = await self._call(role, once)
        self._since[role].append([batch.number for batch in batches])
        return done

    async def _call(self, role: LearnerRole, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """What `call` returns of the learner, or of the one in its place if it dies. Raises `LearnerLost`."""
        for _ in range(_LIVES):
            try:
                return await call(await self._crew.learner(role))
            except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
                last = error  # what a learner returned is lost when its node died with it
                self.revivals[role] += 1
                self._crew.replace(role, self._crew.processes(role))
            with contextlib.suppress(ray.exceptions.RayActorError):  # the next call says so too
                await self._bring_up(role)
        raise LearnerLost(f"the {role} died {_LIVES} times in a row; the last time: {last}") from last

    async def _bring_up(self, role: LearnerRole) -> tuple[Any, int]:
        """Give a new learner what its checkpoint holds and what came after it in this process."""
        learner = await self._crew.learner(role)
        path = self._checkpoints.policy if role == "policy learner" else self._checkpoints.reward
        if path.exists():
            state, at = await learner.restore.remote(path)
        elif role == "reward learner":
            await self._initialise(learner)
            state, at = RewardProgress(0, 0, [], {}), 0
        else:
            if self._fine_tuned:
                await self._fine_tune(learner)
            return None, 0
        for numbers in self._since[role]:
            if numbers[0] < at:
                continue  # it had saved them when it died
            batches = await asyncio.to_thread(self._recalled, numbers)
            await (self._step if role == "policy learner" else self._learn_batch)(learner, batches)
        return state, at

    def _recalled(self, numbers: list[int]) -> list[Batch]:
        found = [self._past.recall(number) for number in numbers]
        return [batch for batch in found if batch is not None]

    async def _step(self, learner: Any, batches: list[Batch]) -> PolicyProgress:
        references = [(batch.candidates, batch.verdicts, batch.scores) for batch in batches]
        progress: PolicyProgress = await learner.learn.remote(references)
        return progress

    async def _learn_batch(self, learner: Any, batches: list[Batch]) -> RewardProgress:
        (batch,) = batches
        progress: RewardProgress = await learner.learn.remote(
            batch.problems, batch.candidates, batch.verdicts, batch.pairs
        )
        return progress

    async def _fine_tune(self, learner: Any) -> None:
        await learner.fine_tune.remote(self._fine_tuning, self._config.sft)

    async def _initialise(self, learner: Any) -> None:
        ((_, tuned),) = self._checkpoints.kept("policy-sft")
        await learner.initialise.remote(tuned.packed)

    async def _publish_policy(self) -> Weights:
        weights: Weights = await self._call("policy learner", self._policy.publish)
        return weights

    async def _save_policy(self, at: int) -> None:
        paths = self._checkpoints.policy_model, self._checkpoints.policy
        await self._call("policy learner", lambda learner: _done(learner.save.remote(*paths, at)))
        self._since["policy learner"].clear()

    async def _save_reward(self, at: int) -> None:
        paths = self._checkpoints.reward_model, self._checkpoints.reward
        await self._call("reward learner", lambda learner: _done(learner.save.remote(*paths, at)))
        self._since["reward learner"].clear()

    async def _evaluate(self, name: str, weights: Weights) -> None:
        self._held_out.add_policy(name, weights)
        await asyncio.to_thread(self._checkpoints.keep, f"policy-{name}", weights)

    async def _add_control(self) -> None:
        async def learn(learner: Any) -> ray.ObjectRef:
            examples, control = learner.control.remote(self._config.evaluation.control)
            await examples  # a scorer given weights which are still to come would wait for them, and others for it
            await control  # so that they are on this node too
            return control

        control = Weights(self._reward.newest, await self._call("reward learner", learn))
        await self._rank(CONTROL, control, math.nan)

    async def _rank(self, name: str, weights: Weights, temperature: float) -> None:
        self._add_ranker(name, weights, temperature)
        await asyncio.to_thread(self._checkpoints.keep, f"ranker-{name}", weights)

    def _add_ranker(self, name: str, weights: Weights, temperature: float) -> None:
        head: Head = "likelihood" if name == CONTROL else self._config.reward.head
        reference = self._config.reward.reference and name != CONTROL
        self._held_out.add_ranker(Ranker(name, head, reference, weights.version, weights.packed, temperature))


async def _done(reference: ray.ObjectRef) -> Any:
    return await reference
