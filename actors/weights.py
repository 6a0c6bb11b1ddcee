"""Weight versions: put once into the object store, registered under a number, pulled by whoever needs them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import ray


class Versions:
    """The newest version of one model. Older ones are freed when nobody holds their reference any more."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.newest = -1
        self._weights: ray.ObjectRef | None = None
        self._changed = asyncio.Condition()

    async def publish(self, learner: Any) -> ray.ObjectRef:
        """Register what `learner.weights()` returns. Returns the reference to the weights."""
        number, weights = learner.weights.remote()
        version = await number
        async with self._changed:
            if version <= self.newest:
                raise ValueError(f"{self.model} v{version} published after v{self.newest}")
            self.newest, self._weights = version, weights
            self._changed.notify_all()
        return weights

    async def after(self, version: int) -> tuple[int, ray.ObjectRef]:
        """The newest version once it is newer than `version`. Versions in between are skipped."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.newest > version)
            assert self._weights is not None
            return self.newest, self._weights


class Follower:
    """Keeps one worker at the newest version, except while somebody holds it at another."""

    def __init__(self, versions: Versions, worker: Any, version: int = -1) -> None:
        self.worker = worker
        self._versions = versions
        self._version = version  # that the worker has
        self._lock = asyncio.Lock()

    async def catch_up(self) -> None:
        """Wait for a version newer than the worker's, and hand it over."""
        await self._versions.after(self._version)
        async with self._lock:
            await self._update(*await self._versions.after(-1))

    async def run(self) -> None:
        """Catch up for as long as the worker lives."""
        with contextlib.suppress(ray.exceptions.RayActorError):  # the supervisor sees to it
            while True:
                await self.catch_up()

    @asynccontextmanager
    async def held_at(self, version: int, weights: ray.ObjectRef | None) -> AsyncIterator[Any]:
        """The worker, at `version` until the context ends; without `weights` it must be there already."""
        async with self._lock:
            if weights is not None:
                await self._update(version, weights)
            elif version != self._version:
                raise ValueError(f"the worker has v{self._version} and cannot be held at v{version} without weights")
            yield self.worker

    async def let_go(self) -> None:
        """Wait until nobody holds the worker."""
        async with self._lock:
            pass

    async def _update(self, version: int, weights: ray.ObjectRef) -> None:
        if version != self._version:
            await self.worker.update.remote(version, weights)
            self._version = version


class Followers:
    """The followers of all workers that take up one model. Workers come and go."""

    def __init__(self, versions: Versions, workers: Sequence[Any], version: int = -1) -> None:
        """`version` is that which a worker has when it is new."""
        self._versions, self._version = versions, version
        self._living = [Follower(versions, worker, version) for worker in workers]
        self._changed = asyncio.Condition()

    def __iter__(self) -> Iterator[Follower]:
        return iter(list(self._living))

    async def one(self) -> Follower:
        """A follower whose worker lives as far as is known, waiting for one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._living)
            return self._living[0]

    async def join(self, worker: Any) -> Follower:
        """The follower of a new `worker`, which has the newest version when this returns."""
        follower = Follower(self._versions, worker, self._version)
        await follower.catch_up()
        async with self._changed:
            self._living.append(follower)
            self._changed.notify_all()
        return follower

    async def retire(self, worker: Any) -> None:
        """Name `worker` to nobody any more, and wait until nobody holds it."""
        for follower in [follower for follower in self._living if follower.worker is worker]:
            self._living.remove(follower)
            await follower.let_go()
