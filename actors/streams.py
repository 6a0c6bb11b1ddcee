"""Bounded streams of references between the stages, and pools of workers that serve them.

A stream lives in the driver, which calls the workers and therefore owns every batch: a batch outlives the worker that
made it. Only references pass through; the bytes stay in Ray's object store.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import ray

_ATTEMPTS = 3
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


class Poisonous(RuntimeError):
    """Several workers died while they served the same item."""


class Pool:
    """Workers of one kind, each with a number of calls that it may serve at once. Workers come and go.

    Invariant: what is given to `call` is served once, or raises; a worker that died is never leased again.
    """

    def __init__(self, workers: Iterable[Any], calls_each: int = 1) -> None:
        self.calls_each = calls_each
        self.redelivered = 0  # calls that another worker had to serve
        self._room = dict.fromkeys(workers, calls_each)  # calls that each may still be given
        self._leaving: set[Any] = set()
        self._changed = asyncio.Condition()
        self._dead: asyncio.Queue[Any] = asyncio.Queue()

    @property
    def workers(self) -> list[Any]:
        """Those that are here to stay."""
        return [worker for worker in self._room if worker not in self._leaving]

    @property
    def capacity(self) -> int:
        return self.calls_each * len(self._room)

    @property
    def busy(self) -> int:
        return self.capacity - sum(self._room.values())

    async def add(self, worker: Any) -> None:
        async with self._changed:
            self._room[worker] = self.calls_each
            self._changed.notify_all()

    async def remove(self, worker: Any) -> None:
        """Give `worker` nothing more, and wait until it has served what it has."""
        async with self._changed:
            self._leaving.add(worker)
            await self._changed.wait_for(lambda: self._room.get(worker, self.calls_each) == self.calls_each)
            self._room.pop(worker, None)
            self._leaving.discard(worker)

    async def died(self, worker: Any) -> None:
        """Take `worker` out for good. Whoever noticed says so; it is told to `death` once."""
        async with self._changed:
            if self._room.pop(worker, None) is not None:
                self._dead.put_nowait(worker)
            self._changed.notify_all()

    async def death(self) -> Any:
        """The next worker that died, waiting for it."""
        return await self._dead.get()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Any]:
        """The worker with most room, once one has room for another call."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._freest() is not None)
            worker = self._freest()
            self._room[worker] -= 1
        try:
            yield worker
        finally:
            if worker in self._room:
                self._room[worker] += 1
            async with self._changed:
                self._changed.notify_all()

    async def call(self, work: Callable[[Any], Awaitable[U]]) -> U:
        """The result of `work` with a worker, or with another one if that dies. Raises `Poisonous`."""
        for _ in range(_ATTEMPTS):
            async with self.lease() as worker:
                try:
                    return await work(worker)
                except ray.exceptions.RayActorError as error:
                    last = error
                    await self.died(worker)
                    self.redelivered += 1
        raise Poisonous(f"{_ATTEMPTS} workers in turn died while serving the same item; the last: {last}") from last

    def _freest(self) -> Any:
        return max(filter(self._room.__getitem__, self.workers), key=self._room.__getitem__, default=None)


async def serve(
    source: Stream[T], pool: Pool, work: Callable[[Any, T], Awaitable[U]], deliver: Callable[[U], Awaitable[None]]
) -> None:
    """Hand every item of `source` to a worker of `pool`, as many at once as the pool serves, and `deliver` the results.

    While a result waits for room in the next stream its worker is free for other callers, but no further item is taken.
    """
    on_their_way: set[asyncio.Task[None]] = set()

    async def one(item: T) -> None:
        await deliver(await pool.call(lambda worker: work(worker, item)))

    async with asyncio.TaskGroup() as tasks:
        while True:
            while len(on_their_way) >= max(1, pool.capacity):
                _, on_their_way = await asyncio.wait(on_their_way, return_when=asyncio.FIRST_COMPLETED)
            (item,) = await source.take(1)
            on_their_way.add(tasks.create_task(one(item)))
