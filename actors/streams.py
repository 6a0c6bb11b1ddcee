"""Bounded streams of references between the stages, and pools of workers that serve them.

A stream lives in the driver, which calls the workers and therefore owns every batch: a batch outlives the worker that
made it. Only references pass through; the bytes stay in Ray's object store.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import ray

T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True)
class Batch:
    """A few groups on their way: what they are, and references to their records as far as these exist."""

    groups: tuple[str, ...]
    for_policy: bool  # also trains the policy; the others are for the reward model alone
    problems: ray.ObjectRef
    candidates: ray.ObjectRef | None = None
    verdicts: ray.ObjectRef | None = None
    scores: ray.ObjectRef | None = None
    pairs: ray.ObjectRef | None = None


class Stream(Generic[T]):
    """A bounded queue: `put` waits while it is full, iteration waits while it is empty."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self._queue: asyncio.Queue[T] = asyncio.Queue(capacity)

    @property
    def depth(self) -> int:
        return self._queue.qsize()

    async def put(self, item: T) -> None:
        await self._queue.put(item)

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            yield await self._queue.get()

    async def take(self, count: int) -> list[T]:
        """The next `count` items, waiting for them."""
        return [await self._queue.get() for _ in range(count)]


class Pool:
    """Workers of one kind, each with a number of calls that it may serve at once."""

    def __init__(self, workers: Sequence[Any], calls_each: int = 1) -> None:
        self.workers = list(workers)
        self._free: asyncio.Queue[Any] = asyncio.Queue()
        for _ in range(calls_each):
            for worker in self.workers:
                self._free.put_nowait(worker)
        self.capacity = self._free.qsize()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Any]:
        """A worker with room for one more call."""
        worker = await self._free.get()
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)

    @property
    def busy(self) -> int:
        return self.capacity - self._free.qsize()


async def serve(
    source: Stream[T], pool: Pool, work: Callable[[Any, T], Awaitable[U]], deliver: Callable[[U], Awaitable[None]]
) -> None:
    """Hand every item of `source` to a worker of `pool`, as many at once as the pool serves, and `deliver` the results.

    While a result waits for room in the next stream its worker is free for other callers, but no further item is taken.
    """
    async with asyncio.TaskGroup() as tasks:

        async def one() -> None:
            async for item in source:
                async with pool.lease() as worker:
                    result = await work(worker, item)
                await deliver(result)

        for _ in range(pool.capacity):
            tasks.create_task(one())
