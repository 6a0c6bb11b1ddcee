"""The supervisor: as many workers of each role as are wanted, whatever dies.

A worker is dead once a call to it says so: the stage that it served, its follower or the collector of its records
notices. Its work goes to another worker (`streams.Pool`); a new one joins as soon as it has the newest weights. One
that is wanted no more leaves when it has served what it has. Learners and the miner hold state: when one of them dies
the run ends, and the same command continues it.
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
    """New workers do not come up."""


class Supervisor:
    def __init__(
        self, crew: Crew, pools: dict[WorkerRole, Pool], followers: dict[WorkerRole, Followers], timeline: Timeline
    ) -> None:
        """`pools` and `followers` by role; executors follow nothing."""
        self.wanted = {role: len(pool.workers) for role, pool in pools.items()}
        self.deaths: Counter[str] = Counter()
        self._coming: Counter[WorkerRole] = Counter()  # workers that are starting
        self._crew, self._pools, self._followers, self._timeline = crew, pools, followers, timeline
        self._tasks = asyncio.TaskGroup()

    @property
    def redelivered(self) -> int:
        """Calls that were served by another worker because the first one died."""
        return sum(pool.redelivered for pool in self._pools.values())

    async def run(self) -> None:
        """Replace the dead and follow what is asked of the control, for ever. Raises `CannotStart`."""
        async with self._tasks:
            for role, pool in self._pools.items():
                for worker in pool.workers:
                    self._tasks.create_task(self._watch(pool, worker))
                self._tasks.create_task(self._bury(role, pool))
            self._tasks.create_task(self._obey())

    async def _watch(self, pool: Pool, worker: Any) -> None:
        """Collect what `worker` recorded until it is dead."""
        await self._crew.collect_from(worker, self._timeline)
        await pool.died(worker)

    async def _bury(self, role: WorkerRole, pool: Pool) -> None:
        while True:
            dead = await pool.death()
            self.deaths[role] += 1
            if role in self._followers:
                await self._followers[role].retire(dead)
            self._crew.dismiss(role, dead)
            self._fill(role)

    async def _obey(self) -> None:
        number = 0
        while True:
            number, wanted = await self._crew.control.after.remote(number)
            self.wanted = wanted
            for role, pool in self._pools.items():
                self._fill(role)
                for worker in pool.workers[wanted[role] :]:
                    self._tasks.create_task(self._let_go(role, pool, worker))

    def _fill(self, role: WorkerRole) -> None:
        for _ in range(self.wanted[role] - len(self._pools[role].workers) - self._coming[role]):
            self._coming[role] += 1
            self._tasks.create_task(self._add(role))

    async def _add(self, role: WorkerRole) -> None:
        worker, follower = await self._start(role)
        if follower is not None:
            self._tasks.create_task(follower.run())
        self._coming[role] -= 1
        await self._pools[role].add(worker)
        self._tasks.create_task(self._watch(self._pools[role], worker))
        if len(self._pools[role].workers) > self.wanted[role]:  # wanted no more by now
            await self._let_go(role, self._pools[role], worker)

    async def _start(self, role: WorkerRole) -> tuple[Any, Follower | None]:
        """A new worker that has come up, with the newest weights. Raises `CannotStart`."""
        for _ in range(_STARTS):
            worker, follower = self._crew.hire(role), None
            try:
                if role == "generator":
                    await worker.start.remote(BASE_VERSION)
                self._timeline.add(await worker.drain.remote())
                if role in self._followers:
                    follower = await self._followers[role].join(worker)
            except ray.exceptions.RayActorError as error:
                self._crew.dismiss(role, worker)
                last = error
            else:
                return worker, follower
        raise CannotStart(f"{_STARTS} new workers in turn for the role {role} did not start: {last}") from last

    async def _let_go(self, role: WorkerRole, pool: Pool, worker: Any) -> None:
        """End `worker` once it has served what it has, and nobody holds it at a version."""
        await pool.remove(worker)
        if role in self._followers:
            await self._followers[role].retire(worker)
        await self._crew.farewell(worker, self._timeline)
        self._crew.dismiss(role, worker)
