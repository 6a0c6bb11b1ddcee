"""Weight versions: put once into the object store, registered under a number, pulled by whoever needs them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray

from actors.streams import Pool
from roles import delta


@dataclasses.dataclass(frozen=True)
class Weights:
    """A version in the object store: packed whole, or as a delta on `base`. It lives as long as somebody holds it."""

    version: int
    packed: ray.ObjectRef
    base: ray.ObjectRef | None = None

    def whole(self) -> Weights:
        """The same without a base. Waits for what is merged."""
        if self.base is None:
            return self
        return Weights(self.version, ray.put(delta.merged(*ray.get([self.base, self.packed]))))


class Versions:
    """The newest version of one model. Older ones are freed when nobody holds them any more."""

    def __init__(self, model: str, deltas_on: int | None = None) -> None:
        """From version `deltas_on` on, a learner's weights are deltas on its `base()`, which is that version."""
        self.model = model
        self.newest = -1
        self._deltas_on = deltas_on
        self._base: ray.ObjectRef | None = None
        self._weights: Weights | None = None
        self._copies: list[Any] = []  # keep them on this node too: those of a learner die with its node
        self._changed = asyncio.Condition()

    async def publish(self, learner: Any) -> Weights:
        """Register what `learner.weights()` returns."""
        number, packed = learner.weights.remote()
        version, copies = await number, [await packed]
        if self._base is None and self._deltas_on is not None and version >= self._deltas_on:
            _, base = learner.base.remote()
            await base
            self._base = base
        if self._base is not None:
            copies.append(await self._base)
        async with self._changed:
            if version <= self.newest:
                raise ValueError(f"{self.model} v{version} published after v{self.newest}")
            self.newest, self._weights = version, Weights(version, packed, self._base)
            self._copies = copies
            self._changed.notify_all()
            return self._weights

    async def after(self, version: int) -> Weights:
        """The newest version once it is newer than `version`. Versions in between are skipped."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.newest > version)
            assert self._weights is not None
            return self._weights


class Follower:
    """Keeps one worker at the newest version, except while somebody holds it at another."""

    def __init__(self, versions: Versions, worker: Any, version: int, changed: asyncio.Condition) -> None:
        self.worker = worker
        self.version = version  # that the worker has
        self.aside = False  # it serves only whoever holds it
        self._versions = versions
        self._changed = changed
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Take up every newest version. Raises Ray's error when the worker dies."""
        while True:
            await self._versions.after(self.version)
            async with self._lock:
                await self._update(await self._versions.after(-1))

    @asynccontextmanager
    async def held_at(self, weights: Weights, pool: Pool) -> AsyncIterator[Any]:
        """The worker, at that version until the context ends.

        It goes on serving `pool` unless it had to go back to that version: what it samples then is older than anybody
        who asks the pool reckons with.
        """
        async with self._lock, contextlib.AsyncExitStack() as stack:
            if self.version > weights.version:
                await stack.enter_async_context(pool.without(self.worker))
                self.aside = True
            await self._update(weights)
            yield self.worker
            if self.aside:
                await self._update(await self._versions.after(-1))
                self.aside = False
                await self._notify()

    async def let_go(self) -> None:
        """Wait until nobody holds the worker."""
        async with self._lock:
            pass

    async def _update(self, weights: Weights) -> None:
        if weights.version != self.version:
            base = () if weights.base is None else (weights.base,)
            await self.worker.update.remote(weights.version, weights.packed, *base)
            self.version = weights.version
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Followers:
    """The followers of all workers that take up one model. Workers come and go."""

    def __init__(self, versions: Versions, version: int = -1) -> None:
        """`version` is that which a worker has when it is new."""
        self._versions, self._version = versions, version
        self._living: list[Follower] = []
        self._changed = asyncio.Condition()

    @property
    def oldest(self) -> int | None:
        """The version of the worker that is furthest behind, of those that serve everybody."""
        return min((follower.version for follower in self._living if not follower.aside), default=None)

    async def one(self) -> Follower:
        """A follower whose worker lives as far as is known, waiting for one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._living)
            return self._living[0]

    async def reached(self, version: int) -> int:
        """The oldest version, once it is `version` or newer."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.oldest is not None and self.oldest >= version)
            assert self.oldest is not None
            return self.oldest

    async def changed(self, version: int) -> int:
        """The oldest version, once it is another than `version`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.oldest is not None and self.oldest != version)
            assert self.oldest is not None
            return self.oldest

    async def join(self, worker: Any) -> Follower:
        """The follower of a new `worker`, which has the newest version when this returns. Raises Ray's error."""
        follower = Follower(self._versions, worker, self._version, self._changed)
        while follower.version < self._versions.newest:
            await follower._update(await self._versions.after(-1))
        async with self._changed:
            self._living.append(follower)
            self._changed.notify_all()
        return follower

    async def retire(self, worker: Any) -> None:
        """Name `worker` to nobody any more, and wait until nobody holds it."""
        for follower in [follower for follower in self._living if follower.worker is worker]:
            self._living.remove(follower)
            async with self._changed:
                self._changed.notify_all()
            await follower.let_go()
