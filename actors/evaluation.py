"""Held-out evaluation while the loop runs: every policy sampled once, every ranker on the same samples.

Policies and rankers arrive as they are made; each pair of them is scored as soon as both are there. What is done is
kept in the run directory, so that a continued run neither samples nor scores it again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.generator import Request
from actors.streams import Pool
from roles.config import Config
from roles.evaluation import mean_log_probs, passed
from roles.mining.ledger import Ledger, read
from roles.ranking.statistics import Floats
from roles.ranking.table import LOG_PROBABILITY, EvaluatedPolicy
from roles.records import Candidate, Problem, Score, Verdict, from_batch, to_batch
from roles.reward.model import Head


@dataclasses.dataclass(frozen=True)
class Ranker:
    name: str
    head: Head
    version: int
    weights: ray.ObjectRef


@dataclasses.dataclass
class _Samples:
    """n candidates of each problem, in the order of the problems."""

    version: int
    candidates: list[Candidate]
    passed: Floats
    references: tuple[ray.ObjectRef, ray.ObjectRef]  # problems and candidates, for the scorers
    scores: dict[str, Floats]


class HeldOut:
    def __init__(
        self, problems: list[Problem], evaluator: Any, executors: Pool, scorers: Pool, config: Config, folder: Path
    ) -> None:
        self._problems, self._evaluator, self._executors, self._scorers = problems, evaluator, executors, scorers
        self._chunks = Pool([evaluator], config.sampling.batches_in_flight)
        self._settings = config.evaluation
        self._max_tokens = config.sampling.max_tokens
        self._chunk = config.sampling.problems_per_batch
        self._folder = folder
        self._queue: asyncio.Queue[tuple[str, int, ray.ObjectRef | None]] = asyncio.Queue()
        self._samples: dict[str, _Samples] = {}
        self._rankers: dict[str, Ranker] = {}
        self._changed = asyncio.Condition()
        self._tasks: asyncio.TaskGroup | None = None
        self.sampled = 0

    def add_policy(self, name: str, version: int, weights: ray.ObjectRef | None) -> None:
        """Evaluate a policy version; without `weights` it is the one that the evaluator was started with."""
        self._queue.put_nowait((name, version, weights))

    def add_ranker(self, ranker: Ranker) -> None:
        """Score all samples, those to come included, with `ranker`."""
        self._rankers[ranker.name] = ranker
        for name in self._samples:
            self._start_ranking(name, ranker)

    async def run(self) -> None:
        """Serve what is added, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                name, version, weights = await self._queue.get()
                if name in self._samples:
                    continue
                self._samples[name] = await self._load(name, version) or await self._sample(name, version, weights)
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
            EvaluatedPolicy(name, samples.version, samples.passed, {
                LOG_PROBABILITY: self._grid(mean_log_probs(samples.candidates)),
                **{ranker: samples.scores[ranker] for ranker in self._rankers},
            })
            for name, samples in self._samples.items()
        ]  # fmt: skip

    async def _sample(self, name: str, version: int, weights: ray.ObjectRef | None) -> _Samples:
        if weights is not None:
            await self._evaluator.update.remote(version, weights)
        chunks = [self._problems[i : i + self._chunk] for i in range(0, len(self._problems), self._chunk)]
        done = await asyncio.gather(*(self._sample_chunk(name, chunk) for chunk in chunks))
        candidates = [candidate for chunk, _ in done for candidate in chunk]
        verdicts = [verdict for _, chunk in done for verdict in chunk]
        ledger = Ledger(self._folder / name, name)
        ledger.append(Candidate, candidates)
        ledger.append(Verdict, verdicts)
        return self._assemble(version, candidates, verdicts)

    async def _sample_chunk(self, name: str, problems: list[Problem]) -> tuple[list[Candidate], list[Verdict]]:
        groups = tuple(f"{name}/{problem.id}" for problem in problems)
        request = Request(groups, self._settings.n, self._settings.temperature, self._max_tokens)
        batch = ray.put(to_batch(Problem, problems))
        async with self._chunks.lease() as evaluator:  # held until judged, so that executors hold up sampling
            tokens, candidates = evaluator.sample.remote(batch, request)
            await tokens
            async with self._executors.lease() as executor:
                statuses, verdicts = executor.execute.remote(batch, candidates)
                await statuses
        self.sampled += request.n * len(problems)
        return from_batch(Candidate, await candidates), from_batch(Verdict, await verdicts)

    async def _load(self, name: str, version: int) -> _Samples | None:
        folder = self._folder / name
        candidates = read(folder, Candidate) if folder.exists() else []
        verdicts = read(folder, Verdict) if candidates else []
        expected = len(self._problems) * self._settings.n
        return self._assemble(version, candidates, verdicts) if len(verdicts) == expected else None

    def _assemble(self, version: int, candidates: list[Candidate], verdicts: list[Verdict]) -> _Samples:
        references = (ray.put(to_batch(Problem, self._problems)), ray.put(to_batch(Candidate, candidates)))
        return _Samples(version, candidates, self._grid(passed(verdicts)), references, {})

    def _start_ranking(self, name: str, ranker: Ranker) -> None:
        assert self._tasks is not None, "run comes first"
        self._tasks.create_task(self._rank(name, ranker))

    async def _rank(self, name: str, ranker: Ranker) -> None:
        samples = self._samples[name]
        async with self._scorers.lease() as scorer:
            scores = from_batch(
                Score, await scorer.rank.remote(*samples.references, ranker.head, ranker.version, ranker.weights)
            )
        samples.scores[ranker.name] = self._grid(np.array([scored.reward for scored in scores]))
        async with self._changed:
            self._changed.notify_all()

    def _grid(self, values: Floats) -> Floats:
        return values.reshape(len(self._problems), self._settings.n)
