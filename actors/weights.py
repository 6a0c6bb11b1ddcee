"""Weight versions: put once into the object store, registered under a number, pulled by whoever needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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


async def follow(versions: Versions, workers: Sequence[Any], have: int = -1) -> None:
    """Keep `workers` at the newest version for ever."""

    async def one(worker: Any) -> None:
        held = have
        while True:
            held, weights = await versions.after(held)
            await worker.update.remote(held, weights)

    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(one(worker))
