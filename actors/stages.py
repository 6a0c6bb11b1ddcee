"""The stages between the streams: each takes batches from one, calls a worker, and puts them into the next.

No stage waits for another unless the stream between them is full or empty (`schedule: continuous`), or takes all
batches of a step together when the stage before has done the last of them (`schedule: phased`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import ray

from actors.admission import Admission
from actors.messages import Executed, Mined, Request, Sampled, Scored
from actors.past import Past
from actors.policy_learner import PolicyProgress
from actors.reward_learner import RewardProgress
from actors.streams import Batch, InOrder, Poisonous, Pool, Stream, is_loss, serve
from roles.config import Config
from roles.mining import ledger
from roles.records import Candidate, Problem, Score, Verdict, from_batch, to_batch
from roles.sandbox.judge import Load

_LOSSES = 3  # of the bytes of one batch
_QUARANTINED = 8  # batches, before the fault is taken to be ours


class TooManyQuarantined(RuntimeError):
    """Batch after batch kills its workers."""


@dataclasses.dataclass
class Counts:
    """What the loop has done so far, from the receipts of its workers."""

    samples: int = 0
    tokens: int = 0
    mean_reward: float = 0.0
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)
    executors: dict[str, Load] = dataclasses.field(default_factory=dict)  # in the order of their last words
    pairs: int = 0
    hard_pairs: int = 0
    false_favourites: int = 0
    resumed: int = 0  # batches that were in the ledger already
    lost: int = 0  # batches made again because a node took their bytes with it
    quarantined: int = 0  # batches that nobody could serve
    trained_by_lag: Counter[int] = dataclasses.field(default_factory=Counter)  # samples, by staleness in versions
    moves: list[str] = dataclasses.field(default_factory=list)  # of workers between stages, and why
    policy: PolicyProgress | None = None
    reward: RewardProgress | None = None

    def executed(self, done: Executed) -> None:
        self.verdicts += done.statuses
        self.executors.pop(done.executor, None)
        self.executors[done.executor] = done.load


@dataclasses.dataclass(frozen=True)
class Frontier:
    """Batches below these numbers are in what the learners continue from."""

    policy: int
    reward: int


class Order:
    """Which problems a batch has: all of them, epoch after epoch in a new order; a function of seed and number."""

    def __init__(self, problems: Sequence[Problem], size: int, seed: int) -> None:
        self._problems, self._size, self._seed = problems, size, seed
        self._epoch, self._order = -1, list[Problem]()

    def of(self, number: int) -> list[Problem]:
        epoch, place = divmod(number, len(self._problems) // self._size)
        if epoch != self._epoch:
            shuffled = random.Random(f"{self._seed} {epoch}")
            self._epoch, self._order = epoch, shuffled.sample(self._problems, len(self._problems))
        return self._order[place * self._size : (place + 1) * self._size]


@dataclasses.dataclass
class Stages:
    """Problems in; mined batches out, in the order of their numbers, to both learners."""

    config: Config
    run_dir: Path
    order: Order
    past: Past
    admission: Admission
    generators: Pool
    executors: Pool
    scorers: Pool
    miners: Pool
    candidates: Stream[Batch]
    verdicts: Stream[Batch]
    scored: Stream[Batch]
    pairs: Stream[Batch]
    rollouts: Stream[Batch]
    counts: Counts

    @property
    def _together(self) -> int:
        """Batches that a stage takes at once."""
        config = self.config
        return config.policy.groups_per_step // config.sampling.problems_per_batch if config.schedule == "phased" else 1

    async def run(self, frontier: Frontier) -> None:
        """All stages at once, for ever, from the first batch that one of the learners has not had."""
        first = min(frontier.policy, frontier.reward) // self._together * self._together
        requests: Stream[Batch] = Stream("requests", self._together)

        async def deliver(batch: Batch) -> None:
            await self._deliver(batch, frontier)

        in_order = InOrder(first, deliver)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._submit(first, frontier, requests))
            for source, pool, step, put in (
                (requests, self.generators, self._sample, self.candidates.put),
                (self.candidates, self.executors, self._execute, self.verdicts.put),
                (self.verdicts, self.scorers, self._score, self.scored.put),
                (self.scored, self.miners, self._mine, lambda batch: in_order.put(batch.number, batch)),
            ):
                tasks.create_task(serve(source, pool, step, put, self._together))

    async def _submit(self, first: int, frontier: Frontier, requests: Stream[Batch]) -> None:
        for start in itertools.count(first, self._together):
            numbers = range(start, start + self._together)
            found = {number: await asyncio.to_thread(self.past.recall, number) for number in numbers}
            kept = [batch for batch in found.values() if batch is not None]
            groups = {number: self._groups(number) for number in numbers}
            if kept or start < max(frontier.policy, frontier.reward):
                if len(kept) < len(found):
                    await self.admission.turn()  # by the versions that those in the ledger were sampled and scored with
                for_policy = any(batch.for_policy for batch in kept)
                for number in numbers:
                    trains = for_policy and number >= frontier.policy
                    if trains or number >= frontier.reward:
                        await self.admission.readmit(groups[number], trains)
                self.counts.resumed += len(kept)
            else:
                every = tuple(group for of_batch in groups.values() for group in of_batch)
                for_policy = await self.admission.admit(every)
            for number, batch in found.items():
                await requests.put(batch or self._new(number, for_policy, frontier))

    def _new(self, number: int, for_policy: bool, frontier: Frontier) -> Batch:
        """A batch to be sampled. One that a learner is past without its being in the ledger was quarantined."""
        passed = number < max(frontier.policy, frontier.reward)
        return Batch(number, self._groups(number), for_policy, self._problems(number), quarantined=passed)

    async def _deliver(self, batch: Batch, frontier: Frontier) -> None:
        """To the learners, as far as they have not had it."""
        trains = batch.for_policy and batch.number >= frontier.policy
        if batch.quarantined:
            if trains or batch.number >= frontier.reward:
                await self.admission.was_dropped(batch.groups, trains)
            return
        assert batch.mined is not None
        mined, counts = batch.mined, self.counts
        if batch.number >= frontier.reward:
            counts.pairs += mined.pairs
            counts.hard_pairs += mined.hard
            counts.false_favourites += mined.false_favourites
            await self.admission.was_mined(mined.groups, len(batch.groups), trains, mined.reward_version)
            await self.pairs.put(batch)
        elif trains:
            await self.admission.was_learned(batch.groups)
        if trains:
            await self.rollouts.put(batch)

    async def _sample(self, batch: Batch) -> Batch:
        async def work(generator: Any, batch: Batch) -> Batch:
            settings, seed = self.config.sampling, self.config.seed
            of_batch = zlib.crc32(f"{seed} {batch.number}".encode()) if self.config.deterministic else None
            request = Request(batch.groups, settings.n, settings.temperature, settings.max_tokens, seed=of_batch)
            receipt, sampled = generator.sample.remote(batch.problems, request)
            done: Sampled = await receipt
            self.counts.tokens += done.tokens
            self.counts.samples += len(batch.groups) * settings.n
            return dataclasses.replace(batch, candidates=sampled, bytes=batch.bytes + done.bytes)

        return await self._served(batch, self.generators, work)

    async def _execute(self, batch: Batch) -> Batch:
        async def work(executor: Any, batch: Batch) -> Batch:
            receipt, judged = executor.execute.remote(batch.problems, batch.candidates)
            done: Executed = await receipt
            self.counts.executed(done)
            return dataclasses.replace(batch, verdicts=judged, bytes=batch.bytes + done.bytes)

        return await self._served(batch, self.executors, work)

    async def _score(self, batch: Batch) -> Batch:
        async def work(scorer: Any, batch: Batch) -> Batch:
            receipt, scores = scorer.score.remote(batch.problems, batch.candidates)
            done: Scored = await receipt
            self.counts.mean_reward = done.mean_reward
            return dataclasses.replace(batch, scores=scores, bytes=batch.bytes + done.bytes)

        return await self._served(batch, self.scorers, work)

    async def _mine(self, batch: Batch) -> Batch:
        async def work(miner: Any, batch: Batch) -> Batch:
            receipt, pairs = miner.mine.remote(batch.name, batch.candidates, batch.verdicts, batch.scores)
            done: Mined = await receipt
            return dataclasses.replace(batch, pairs=pairs, mined=done, bytes=batch.bytes + done.bytes)

        return await self._served(batch, self.miners, work)

    async def _served(self, batch: Batch, pool: Pool, work: Callable[[Any, Batch], Awaitable[Batch]]) -> Batch:
        """`batch` after `work`, made again if its bytes were lost; as it is when there is nothing to do for it."""
        for _ in range(_LOSSES):
            if batch.mined is not None or batch.quarantined:
                return batch
            try:
                return await pool.call(lambda worker: work(worker, batch))  # noqa: B023
            except Poisonous as error:
                return await self._quarantine(batch, error)
            except ray.exceptions.RayError as error:
                if not is_loss(error):
                    raise
                last = error
                batch = await self._again(batch)
        raise last

    async def _again(self, batch: Batch) -> Batch:
        """`batch` from the ledger, or anew up to the stage where its bytes were lost."""
        self.counts.lost += 1
        if (found := await asyncio.to_thread(self.past.recall, batch.number)) is not None:
            return found
        fresh = Batch(batch.number, batch.groups, batch.for_policy, self._problems(batch.number))
        for step, done in (
            (self._sample, batch.candidates), (self._execute, batch.verdicts), (self._score, batch.scores),
        ):  # fmt: skip
            if done is not None:
                fresh = await step(fresh)
        return fresh

    async def _quarantine(self, batch: Batch, error: Poisonous) -> Batch:
        """Save what killed its workers, and go on without it. Raises `TooManyQuarantined`."""
        folder = self.run_dir / "quarantine"
        records = {Problem: batch.problems, Candidate: batch.candidates, Verdict: batch.verdicts, Score: batch.scores}
        found = {
            kind: from_batch(kind, await reference) for kind, reference in records.items() if reference is not None
        }
        saving = ledger.Ledger(folder)
        saving.append(batch.name, found)
        saving.close()
        (folder / f"{batch.name}.txt").write_text(f"{error}\n")
        self.counts.quarantined += 1
        if self.counts.quarantined >= _QUARANTINED:
            raise TooManyQuarantined(f"{self.counts.quarantined} batches killed their workers; see {folder}") from error
        return dataclasses.replace(batch, quarantined=True)

    def _groups(self, number: int) -> tuple[str, ...]:
        return tuple(f"{number:06}/{problem.id}" for problem in self.order.of(number))

    def _problems(self, number: int) -> ray.ObjectRef:
        return ray.put(to_batch(Problem, self.order.of(number)))
