"""Bounded streams of references between the stages, and pools of workers that serve them.

A stream lives in the driver, which calls the workers and therefore owns every batch: a batch outlives the worker that
made it. Only references pass through; the bytes stay in Ray's object store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import ray

from actors.messages import Mined
from actors.usage import Level, Usage
from roles.sampling.died import EngineDied

_ATTEMPTS = 3
T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True)
class Batch:
    """A few groups on their way: what they are, and references to their records as far as these exist."""

    number: int  # in the order of admission; names the batch in the ledger too
    groups: tuple[str, ...]
    for_policy: bool  # also trains the policy; the others are for the reward model alone
    problems: ray.ObjectRef
    candidates: ray.ObjectRef | None = None
    verdicts: ray.ObjectRef | None = None
    scores: ray.ObjectRef | None = None
    pairs: ray.ObjectRef | None = None
    mined: Mined | None = None  # once it is in the ledger
    bytes: int = 0  # of all these records
    quarantined: bool = False  # nobody could serve it

    @property
    def name(self) -> str:
        return f"{self.number:06}-{'policy' if self.for_policy else 'reward'}"


class Stream(Generic[T]):
    """A queue bounded by items and bytes: `put` waits while there is no room, iteration waits while it is empty.

    An item that is larger than all the room there is passes alone. Items without a size are bounded by number.
    """

    def __init__(self, name: str, capacity: int, max_bytes: int | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.bytes = 0
        self.most_bytes = 0  # that ever waited
        self.empty, self.full = Level(), Level()  # takers that wait for an item, putters that wait for room
        self.taken, self.waited_seconds = 0, 0.0  # items that left, and how long they were in here, together
        self._items: deque[tuple[float, T]] = deque()  # since when each has been here
        self._changed = asyncio.Condition()

    @property
    def depth(self) -> int:
        return len(self._items)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest item has been in here; 0 of an empty stream."""
        return time.monotonic() - self._items[0][0] if self._items else 0.0

    async def put(self, item: T) -> None:
        size = getattr(item, "bytes", 0)
        async with self._changed:
            with self.full.one():
                await self._changed.wait_for(lambda: self._has_room(size))
            self._items.append((time.monotonic(), item))
            self.bytes += size
            self.most_bytes = max(self.most_bytes, self.bytes)
            self._changed.notify_all()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            (item,) = await self.take(1)
            yield item

    async def take(self, count: int) -> list[T]:
        """The next `count` items, waiting for them."""
        taken: list[T] = []
        async with self._changed:
            while len(taken) < count:
                with self.empty.one():
                    await self._changed.wait_for(lambda: self._items)
                since, item = self._items.popleft()
                taken.append(item)
                self.taken += 1
                self.waited_seconds += time.monotonic() - since
                self.bytes -= getattr(item, "bytes", 0)
                self._changed.notify_all()
        return taken

    async def discard(self) -> None:
        """Let everything go, for ever."""
        async for _ in self:
            pass

    def _has_room(self, size: int) -> bool:
        if not self._items:
            return True
        fits = self.max_bytes is None or self.bytes + size <= self.max_bytes
        return fits and len(self._items) < self.capacity


class InOrder(Generic[T]):
    """Passes items on in the order of their numbers, in whichever order they come."""

    def __init__(self, first: int, deliver: Callable[[T], Awaitable[None]]) -> None:
        self._next, self._deliver = first, deliver
        self._waiting: dict[int, T] = {}
        self._delivering = asyncio.Lock()

    async def put(self, number: int, item: T) -> None:
        self._waiting[number] = item
        async with self._delivering:
            while self._next in self._waiting:
                item = self._waiting.pop(self._next)
                self._next += 1
                await self._deliver(item)


class Poisonous(RuntimeError):
    """Several workers died, or never answered, while they served the same item."""


class Pool:
    """Workers of one kind, each with a number of calls that it may serve at once. Workers come and go.

    Invariant: what is given to `call` is served once, or raises; a worker that died is never leased again.
    """

    def __init__(self, workers: Iterable[Any] = (), calls_each: int = 1, seconds: float | None = None) -> None:
        """A worker that keeps a call for more than `seconds` is taken for dead."""
        self.calls_each = calls_each
        self.seconds = seconds
        self.redelivered = 0  # calls that another worker had to serve
        self._room = dict.fromkeys(workers, calls_each)  # calls that each may still be given
        self._leaving: set[Any] = set()
        self._aside: set[Any] = set()
        self._changed = asyncio.Condition()
        self._dead: asyncio.Queue[Any] = asyncio.Queue()
        self.usage = Usage(lambda: self.capacity, calls_each)

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
            self.usage.settle()
            self._room[worker] = self.calls_each
            self._changed.notify_all()

    async def remove(self, worker: Any) -> None:
        """Give `worker` nothing more, and wait until it has served what it has."""
        async with self._changed:
            self._leaving.add(worker)
            await self._changed.wait_for(lambda: self._is_idle(worker))
            self.usage.settle()
            self._room.pop(worker, None)
            self._leaving.discard(worker)

    @asynccontextmanager
    async def without(self, worker: Any) -> AsyncIterator[None]:
        """Give `worker` nothing while the context lasts, which begins when it has served what it has.

        It counts as busy then: whoever wants that has other work for it.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: worker not in self._aside)
            self._aside.add(worker)
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._is_idle(worker))
            with self.usage.serving(self.calls_each):
                yield
        finally:
            async with self._changed:
                self._aside.discard(worker)
                self._changed.notify_all()

    async def died(self, worker: Any) -> None:
        """Take `worker` out for good. Whoever noticed says so; it is told to `death` once."""
        async with self._changed:
            self.usage.settle()
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
            with self.usage.serving():
                yield worker
        finally:
            if worker in self._room:
                self._room[worker] += 1
            async with self._changed:
                self._changed.notify_all()

    @asynccontextmanager
    async def lease_alone(self) -> AsyncIterator[Any]:
        """A worker that serves nothing else meanwhile."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._freest() is not None)
                worker = self._freest()
            async with self.without(worker):
                if worker in self._room:  # it may have died before it was idle
                    self._room[worker] -= 1
                    try:
                        yield worker
                    finally:
                        if worker in self._room:
                            self._room[worker] += 1
                    return

    async def call(self, work: Callable[[Any], Awaitable[U]]) -> U:
        """The result of `work` with a worker, or with another one if that dies or hangs. Raises `Poisonous`.

        Of the calls that a worker died with, any may have killed it: each is served alone from then on.
        """
        last: Exception | None = None
        for _ in range(_ATTEMPTS):
            async with self.lease() if last is None else self.lease_alone() as worker:
                try:
                    async with asyncio.timeout(self.seconds):  # `wait_for` may swallow a cancellation
                        return await work(worker)
                except (ray.exceptions.RayError, TimeoutError) as error:
                    if not is_death(error):
                        raise
                    last = error
                    await self.died(worker)
                    self.redelivered += 1
        raise Poisonous(f"{_ATTEMPTS} workers in turn died while serving the same item; the last: {last}") from last

    def _freest(self) -> Any:
        free = [worker for worker in self.workers if self._room[worker] and worker not in self._aside]
        return max(free, key=self._room.__getitem__, default=None)

    def _is_idle(self, worker: Any) -> bool:
        return self._room.get(worker, self.calls_each) == self.calls_each


def is_death(error: BaseException) -> bool:
    """Whether an error of a call says that its actor is of no use any more: dead, hung, or without its engine."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return isinstance(error.cause, EngineDied)
    return isinstance(error, (ray.exceptions.RayActorError, TimeoutError))


def is_loss(error: BaseException) -> bool:
    """Whether an error of a call says that the bytes behind a reference are gone, with the node that kept them."""
    cause = getattr(error, "cause", None)
    return isinstance(error, ray.exceptions.ObjectLostError) or isinstance(cause, ray.exceptions.ObjectLostError)


async def serve(
    source: Stream[T],
    pool: Pool,
    step: Callable[[T], Awaitable[U]],
    deliver: Callable[[U], Awaitable[None]],
    together: int = 1,
) -> None:
    """Take every item of `source` through `step`, as many at once as `pool` serves, and `deliver` the results.

    While a result waits for room in the next stream its worker is free for other callers, but no further item is taken.
    With `together` > 1 so many items are taken at once, and delivered in their order when the last of them is done.
    """

    async def pass_on(result: U) -> None:
        with pool.usage.delivering():
            await deliver(result)

    running, one_less = 0, asyncio.Event()

    async def one(item: T) -> None:
        nonlocal running
        try:
            await pass_on(await step(item))
        finally:
            running -= 1
            one_less.set()

    async with asyncio.TaskGroup() as tasks:
        while together > 1:
            started = [tasks.create_task(_result(step(item))) for item in await source.take(together)]
            for result in await asyncio.gather(*started):
                await pass_on(result)
        while True:
            while running >= max(1, pool.capacity):
                one_less.clear()
                await one_less.wait()
            (item,) = await source.take(1)
            running += 1
            tasks.create_task(one(item))


async def _result(step: Awaitable[U]) -> U:
    return await step
