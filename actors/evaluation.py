"""Held-out evaluation while the loop runs: every policy sampled once, every ranker on the same samples.

Policies and rankers arrive as they are made; each pair of them is scored as soon as both are there. What is done is
kept in the run directory, so that a continued run does not sample it again. A generator is held at the version that is
evaluated while it samples held-out problems; it goes on with its other requests.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray

from actors.messages import Request
from actors.streams import Pool, is_death, is_loss
from actors.weights import Followers, Weights
from roles.config import Config
from roles.evaluation import lengths, mean_log_probs, pass_rates, passed
from roles.mining.ledger import Ledger, read_batch
from roles.ranking.statistics import Floats
from roles.ranking.table import LOG_PROBABILITY, EvaluatedPolicy
from roles.records import Candidate, Problem, Score, Verdict, from_batch, to_batch
from roles.reward.model import Head

_LOSSES = 3
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Ranker:
    name: str
    head: Head
    reference: bool
    version: int
    weights: ray.ObjectRef
    temperature: float  # NaN where it is not calibrated


@dataclasses.dataclass
class _Samples:
    """n candidates of each problem, in the order of the problems."""

    version: int
    candidates: list[Candidate]
    verdicts: list[Verdict]
    references: tuple[ray.ObjectRef, ray.ObjectRef]  # problems and candidates, for the scorers
    scores: dict[str, Floats]


class HeldOut:
    def __init__(
        self,
        problems: list[Problem],
        followers: Followers,
        generators: Pool,
        executors: Pool,
        scorers: Pool,
        config: Config,
        folder: Path,
    ) -> None:
        self._problems, self._followers = problems, followers
        self._generators, self._executors, self._scorers = generators, executors, scorers
        self._requests_at_once = config.sampling.batches_in_flight
        self._settings = config.evaluation
        self._max_tokens = config.sampling.max_tokens
        self._chunk = config.sampling.problems_per_batch
        self._ledger = Ledger(folder)
        self._queue: asyncio.Queue[tuple[str, Weights]] = asyncio.Queue()
        self._samples: dict[str, _Samples] = {}
        self._rankers: dict[str, Ranker] = {}
        self._changed = asyncio.Condition()
        self._tasks: asyncio.TaskGroup | None = None
        self.sampled = 0

    def close(self) -> None:
        """Let go of the ledger: who continues this run writes to it next."""
        self._ledger.close()

    def add_policy(self, name: str, weights: Weights) -> None:
        """Evaluate a policy version."""
        self._queue.put_nowait((name, weights))

    def add_ranker(self, ranker: Ranker) -> None:
        """Score all samples, those to come included, with `ranker`."""
        self._rankers[ranker.name] = ranker
        for name in self._samples:
            self._start_ranking(name, ranker)

    async def run(self) -> None:
        """Serve what is added, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                name, weights = await self._queue.get()
                found = self._load(name, weights.version) or await self._sample(self._tasks, name, weights)
                self._samples[name] = found
                for ranker in list(self._rankers.values()):
                    self._start_ranking(name, ranker)
                async with self._changed:
                    self._changed.notify_all()

    async def complete(self, policies: int, rankers: int) -> list[EvaluatedPolicy]:
        """The evaluated policies, once there are `policies` of them with the scores of `rankers` each."""

        def ready() -> bool:
            scored = [len(samples.scores) >= rankers for samples in self._samples.values()]
            return len(scored) >= policies and all(scored)

        async with self._changed:
            await self._changed.wait_for(ready)
        return [
            EvaluatedPolicy(
                policy=name,
                policy_version=samples.version,
                passed=self._grid(passed(samples.verdicts)),
                pass_rates=self._grid(pass_rates(samples.verdicts)),
                lengths=self._grid(lengths(samples.candidates)),
                scores={
                    LOG_PROBABILITY: self._grid(mean_log_probs(samples.candidates)),
                    **{ranker: samples.scores[ranker] for ranker in self._rankers},
                },
                temperatures={name: ranker.temperature for name, ranker in self._rankers.items()},
            )
            for name, samples in self._samples.items()
        ]

    async def _sample(self, tasks: asyncio.TaskGroup, name: str, weights: Weights) -> _Samples:
        chunks = [self._problems[i : i + self._chunk] for i in range(0, len(self._problems), self._chunk)]
        losses = 0
        while True:
            follower = await self._followers.one()
            try:
                async with follower.held_at(weights, self._generators) as generator:
                    pool = Pool([generator], self._requests_at_once)
                    sampling = [self._sample_chunk(pool, name, chunk, tasks) for chunk in chunks]
                    executing = await asyncio.gather(*sampling)
                break
            except ray.exceptions.RayError as error:
                losses += is_loss(error)
                if is_loss(error) and losses < _LOSSES:
                    continue
                if not is_death(error):
                    raise
                await self._generators.died(follower.worker)
                await self._followers.retire(follower.worker)  # and all is sampled anew by another
        done = await asyncio.gather(*executing)
        candidates = [candidate for chunk, _ in done for candidate in chunk]
        verdicts = [verdict for _, chunk in done for verdict in chunk]
        self._ledger.append(name, {Candidate: candidates, Verdict: verdicts})
        return self._assemble(weights.version, candidates, verdicts)

    async def _sample_chunk(
        self, pool: Pool, name: str, problems: list[Problem], tasks: asyncio.TaskGroup
    ) -> asyncio.Task[tuple[list[Candidate], list[Verdict]]]:
        """The execution of what was sampled, which is under way then."""
        groups = tuple(f"{name}/{problem.id}" for problem in problems)
        settings = self._settings
        request = Request(groups, settings.n, settings.temperature, self._max_tokens, "sample held-out")
        batch = ray.put(to_batch(Problem, problems))
        async with pool.lease() as generator:
            receipt, candidates = generator.sample.remote(batch, request)
            await receipt
            records = from_batch(Candidate, await candidates)
        self.sampled += request.n * len(problems)
        return tasks.create_task(self._execute_chunk(batch, records))

    async def _execute_chunk(
        self, problems: ray.ObjectRef, candidates: list[Candidate]
    ) -> tuple[list[Candidate], list[Verdict]]:
        """The candidates are put by the driver, which lives as long as the run: no other node's death takes them."""
        batch = ray.put(to_batch(Candidate, candidates))

        async def execute(executor: Any) -> list[Verdict]:
            _, verdicts = executor.execute.remote(problems, batch)
            return from_batch(Verdict, await verdicts)

        return candidates, await _until_kept(lambda: self._executors.call(execute))

    def _load(self, name: str, version: int) -> _Samples | None:
        candidates = read_batch(self._ledger.folder, name, Candidate)
        verdicts = read_batch(self._ledger.folder, name, Verdict)
        return self._assemble(version, candidates, verdicts) if candidates else None

    def _assemble(self, version: int, candidates: list[Candidate], verdicts: list[Verdict]) -> _Samples:
        references = (ray.put(to_batch(Problem, self._problems)), ray.put(to_batch(Candidate, candidates)))
        return _Samples(version, candidates, verdicts, references, {})

    def _start_ranking(self, name: str, ranker: Ranker) -> None:
        assert self._tasks is not None, "run comes first"
        self._tasks.create_task(self._rank(name, ranker))

    async def _rank(self, name: str, ranker: Ranker) -> None:
        samples = self._samples[name]
        arguments = (*samples.references, ranker.head, ranker.reference, ranker.version, ranker.weights)
        ranked = await _until_kept(lambda: self._scorers.call(lambda scorer: scorer.rank.remote(*arguments)))
        scores = from_batch(Score, ranked)
        samples.scores[ranker.name] = self._grid(np.array([scored.reward for scored in scores]))
        async with self._changed:
            self._changed.notify_all()

    def _grid(self, values: Floats) -> Floats:
        return values.reshape(len(self._problems), self._settings.n)


async def _until_kept(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns; it is made again when a node took that with it before it came here."""
    for _ in range(_LOSSES):
        try:
            return await call()
        except ray.exceptions.RayError as error:
            if not is_loss(error):
                raise
            last = error
    raise last
