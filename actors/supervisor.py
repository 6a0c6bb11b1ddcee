"""The supervisor: as many workers of each role as are wanted, whatever dies.

A worker is dead once a call to it says so, and taken for dead when it keeps a call or a heartbeat for too long: the
stage that it served, its follower or whoever collects its records notices. Its work goes to another worker
(`streams.Pool`); a new one joins as soon as it has the newest weights. One that is wanted no more leaves when it has
served what it has. The learners, which hold state, are `training.Training`'s.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import ray

from actors.control import Control
from actors.crew import Crew, WorkerRole
from actors.policy_learner import BASE_VERSION
from actors.streams import Pool, is_death
from actors.weights import Follower, Followers

_STARTS = 3
T = TypeVar("T")


class CannotStart(RuntimeError):
    """New workers do not come up."""


class Supervisor:
    def __init__(
        self, crew: Crew, control: Control, pools: dict[WorkerRole, Pool], followers: dict[WorkerRole, Followers]
    ) -> None:
        """`pools` and `followers` by role; only generators and scorers follow something."""
        self.deaths: Counter[str] = Counter()
        self._coming: Counter[WorkerRole] = Counter()  # workers that are starting
        self._crew, self._control = crew, control
        self._pools, self._followers = pools, followers
        self._tasks = asyncio.TaskGroup()

    @property
    def redelivered(self) -> int:
        """Calls that were served by another worker because the first one died."""
        return sum(pool.redelivered for pool in self._pools.values())

    async def run(self) -> None:
        """Bring up what is wanted, replace the dead and follow the control, for ever. Raises `CannotStart`."""
        async with self._tasks:
            for role, pool in self._pools.items():
                self._fill(role)
                self._tasks.create_task(self._bury(role, pool))
            number = 0
            while True:
                number = await self._control.after(number)
                for role, pool in self._pools.items():
                    self._fill(role)
                    for worker in pool.workers[self._wanted(role) :]:
                        self._tasks.create_task(self._let_go(role, pool, worker))

    def _wanted(self, role: WorkerRole) -> int:
        return self._control.wanted[role]

    async def _bury(self, role: WorkerRole, pool: Pool) -> None:
        while True:
            dead = await pool.death()
            self.deaths[role] += 1
            self._crew.dismiss(role, dead)
            if role in self._followers:
                self._tasks.create_task(self._followers[role].retire(dead))
            self._fill(role)

    def _fill(self, role: WorkerRole) -> None:
        for _ in range(self._wanted(role) - len(self._pools[role].workers) - self._coming[role]):
            self._coming[role] += 1
            self._tasks.create_task(self._add(role))

    async def _add(self, role: WorkerRole) -> None:
        pool = self._pools[role]
        worker, follower = await self._start(role)
        self._coming[role] -= 1
        await pool.add(worker)
        self._tasks.create_task(self._watch(pool, worker, follower))
        if len(pool.workers) > self._wanted(role):  # wanted no more by now
            await self._let_go(role, pool, worker)

    async def _start(self, role: WorkerRole) -> tuple[Any, Follower | None]:
        """A new worker that has come up, with the newest weights. Raises `CannotStart`."""
        last: Exception | None = None
        for _ in range(_STARTS):
            worker, follower = self._crew.hire(role), None
            try:
                if role == "generator":
                    await worker.start.remote(BASE_VERSION)
                else:
                    await self._crew.collect(worker)
                if role in self._followers:
                    follower = await self._while_it_answers(worker, self._followers[role].join(worker))
            except (ray.exceptions.RayError, TimeoutError) as error:
                if not is_death(error):
                    raise
                self.deaths[role] += 1
                self._crew.dismiss(role, worker)
                last = error
            else:
                return worker, follower
        raise CannotStart(f"{_STARTS} new workers in turn for the role {role} did not start: {last}") from last

    async def _watch(self, pool: Pool, worker: Any, follower: Follower | None) -> None:
        """Collect what `worker` recorded and keep it at the newest version until it is dead."""
        try:
            if follower is None:
                await self._crew.collect_from(worker)
            else:
                await self._while_it_answers(worker, follower.run())
        except (ray.exceptions.RayError, TimeoutError) as error:
            if not is_death(error):
                raise
        await pool.died(worker)

    async def _while_it_answers(self, worker: Any, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. What `worker` recorded is collected meanwhile. Raises as `collect_from` does."""
        tasks = asyncio.create_task(work), asyncio.create_task(self._crew.collect_from(worker))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] not in done:
                await tasks[1]
            return await tasks[0]
        finally:
            for task in tasks:
                task.cancel()

    async def _let_go(self, role: WorkerRole, pool: Pool, worker: Any) -> None:
        """End `worker` once it has served what it has, and nobody holds it at a version."""
        await pool.remove(worker)
        if role in self._followers:
            await self._followers[role].retire(worker)
        await self._crew.farewell(worker)
        self._crew.dismiss(role, worker)
