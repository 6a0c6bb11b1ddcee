"""The stages between the streams: each takes batches from one, calls a worker, and puts them into the next.

No stage waits for another unless the stream between them is full or empty.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import ray

from actors.admission import Admission
from actors.executor import Executed
from actors.generator import Request
from actors.miner import Mined
from actors.policy_learner import PolicyProgress
from actors.reward_learner import RewardProgress
from actors.streams import Batch, Pool, Stream, serve
from roles.config import SamplingSettings
from roles.records import Problem, to_batch
from roles.sandbox.judge import Load


@dataclasses.dataclass
class Counts:
    """What the loop has done so far, from the receipts of its workers."""

    samples: int = 0
    tokens: int = 0
    mean_reward: float = 0.0
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)
    executors: dict[str, Load] = dataclasses.field(default_factory=dict)
    pairs: int = 0
    hard_pairs: int = 0
    false_favourites: int = 0
    policy: PolicyProgress | None = None
    reward: RewardProgress | None = None


def shuffled_forever(problems: list[Problem], size: int, seed: int) -> Iterator[tuple[str, list[Problem]]]:
    """Batches of `size` problems, epoch after epoch in a new order, with an id that no other batch has."""
    rng = random.Random(seed)
    number = 0
    while True:
        order = rng.sample(problems, len(problems))
        for start in range(0, len(order) - size + 1, size):
            yield f"{number:06}", order[start : start + size]
            number += 1


async def generate(
    problems: Iterator[tuple[str, list[Problem]]],
    run_id: str,
    generators: Pool,
    settings: SamplingSettings,
    admission: Admission,
    candidates: Stream[Batch],
    counts: Counts,
) -> None:
    requests: Stream[tuple[Batch, Request]] = Stream("requests", 1)

    async def submit() -> None:
        for number, chosen in problems:
            groups = tuple(f"{run_id}/{number}/{problem.id}" for problem in chosen)
            for_policy = await admission.admit(groups)
            request = Request(groups, settings.n, settings.temperature, settings.max_tokens)
            await requests.put((Batch(groups, for_policy, ray.put(to_batch(Problem, chosen))), request))

    async def sample(generator: Any, item: tuple[Batch, Request]) -> Batch:
        batch, request = item
        tokens, sampled = generator.sample.remote(batch.problems, request)
        counts.tokens += await tokens
        counts.samples += len(batch.groups) * request.n
        return dataclasses.replace(batch, candidates=sampled)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(submit())
        tasks.create_task(serve(requests, generators, sample, candidates.put))


async def execute(candidates: Stream[Batch], executors: Pool, verdicts: Stream[Batch], counts: Counts) -> None:
    async def work(executor: Any, batch: Batch) -> Batch:
        receipt, judged = executor.execute.remote(batch.problems, batch.candidates)
        executed: Executed = await receipt
        counts.verdicts += executed.statuses
        counts.executors[executed.executor] = executed.load
        return dataclasses.replace(batch, verdicts=judged)

    await serve(candidates, executors, work, verdicts.put)


async def score(
    verdicts: Stream[Batch], scorers: Pool, scored: Stream[Batch], rollouts: Stream[Batch], counts: Counts
) -> None:
    """Every scored batch goes to the miner; those that were admitted for it also go to the policy learner."""

    async def work(scorer: Any, batch: Batch) -> Batch:
        reward, scores = scorer.score.remote(batch.problems, batch.candidates)
        counts.mean_reward = await reward
        return dataclasses.replace(batch, scores=scores)

    async def deliver(batch: Batch) -> None:
        await scored.put(batch)
        if batch.for_policy:
            await rollouts.put(batch)

    await serve(verdicts, scorers, work, deliver)


async def mine(
    scored: Stream[Batch], miner: Any, admission: Admission, pairs: Stream[Batch], counts: Counts
) -> None:
    async for batch in scored:
        receipt, mined = miner.mine.remote(batch.candidates, batch.verdicts, batch.scores)
        found: Mined = await receipt
        counts.pairs += found.pairs
        counts.hard_pairs += found.hard
        counts.false_favourites += found.false_favourites
        await admission.was_mined(found.groups, len(batch.groups), batch.for_policy, found.reward_version)
        if found.pairs:
            await pairs.put(dataclasses.replace(batch, pairs=mined))
