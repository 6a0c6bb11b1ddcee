"""The supervisor: as many workers of each role as were hired, whatever dies.

A worker is dead once a call to it says so: the stage that it served, its follower or the collector of its records
notices. Its work goes to another worker (`streams.Pool`); a new one takes its place as soon as it has the newest
weights. Learners and the miner hold state: when one of them dies the run ends, and the same command continues it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import ray

from actors.crew import Crew, WorkerRole
from actors.policy_learner import BASE_VERSION
from actors.streams import Pool
from actors.telemetry import Timeline
from actors.weights import Follower, Followers

_STARTS = 3


class CannotStart(RuntimeError):
    """A worker died, and those that were to replace it do not come up."""


class Supervisor:
    def __init__(
        self,
        crew: Crew,
        pools: dict[WorkerRole, Pool],
        followers: dict[WorkerRole, Followers],
        timeline: Timeline,
    ) -> None:
        """`pools` and `followers` by role; executors follow nothing."""
        self.deaths: Counter[str] = Counter()
        self._crew, self._pools, self._followers, self._timeline = crew, pools, followers, timeline

    @property
    def redelivered(self) -> int:
        """Calls that were served by another worker because the first one died."""
        return sum(pool.redelivered for pool in self._pools.values())

    async def run(self) -> None:
        """Replace the dead, for ever. Raises `CannotStart`."""
        async with asyncio.TaskGroup() as tasks:
            for role, pool in self._pools.items():
                for worker in pool.workers:
                    tasks.create_task(self._watch(pool, worker))
                tasks.create_task(self._replace(tasks, role, pool))

    async def _watch(self, pool: Pool, worker: Any) -> None:
        """Collect what `worker` recorded until it is dead."""
        await self._crew.collect_from(worker, self._timeline)
        await pool.died(worker)

    async def _replace(self, tasks: asyncio.TaskGroup, role: WorkerRole, pool: Pool) -> None:
        while True:
            dead = await pool.death()
            self.deaths[role] += 1
            worker, follower = await self._start(role, dead)
            if follower is not None:
                tasks.create_task(follower.run())
            await pool.add(worker)
            tasks.create_task(self._watch(pool, worker))

    async def _start(self, role: WorkerRole, dead: Any) -> tuple[Any, Follower | None]:
        """A new worker that has come up, with the newest weights. Raises `CannotStart`."""
        for _ in range(_STARTS):
            worker, follower = self._crew.replace(role, dead), None
            try:
                await (worker.start.remote(BASE_VERSION) if role == "generator" else worker.drain.remote())
                if role in self._followers:
                    follower = await self._followers[role].replace(dead, worker)
            except ray.exceptions.RayActorError as error:
                dead, last = worker, error
            else:
                return worker, follower
        raise CannotStart(f"{_STARTS} new workers in turn for the role {role} did not start: {last}") from last
