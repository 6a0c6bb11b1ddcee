"""Many simulated workers in one process: each has a seat in an actor, and is called as an actor of its own would be."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray


class Host:
    """The actor. Its workers keep their state apart, and one that blocks has a thread to itself."""

    def __init__(self, kind: type, seats: int, *arguments: Any) -> None:
        self._kind, self._arguments = kind, arguments
        self._workers: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(seats)

    async def call(self, worker: str, method: str, *arguments: Any) -> Any:
        if worker not in self._workers:
            self._workers[worker] = self._kind(worker, *self._arguments)
        called = getattr(self._workers[worker], method)
        if inspect.iscoroutinefunction(called):
            return await called(*arguments)
        if method == "drain":  # at once, also while all threads are busy
            return called()
        return await asyncio.get_running_loop().run_in_executor(self._threads, called, *arguments)


class Seat:
    """The handle of one worker. Equal to itself alone, though others share its actor."""

    def __init__(self, host: _Shared, kind: type, name: str) -> None:
        self._host, self._kind, self._name = host, kind, name

    def __getattr__(self, method: str) -> _Method:
        returns = getattr(getattr(self._kind, method), "__ray_num_returns__", 1)
        call = self._host.actor.call.options(num_returns=returns)
        return _Method(functools.partial(call.remote, self._name, method))

    def leave(self) -> None:
        """Give the seat up, to nobody: an actor that one has left takes no more. It ends with its last one."""
        self._host.leave(self)


class Seats:
    """The actors of one role. Not for workers that compute: those of an actor share one interpreter."""

    def __init__(self, kind: type, each: int, start: Callable[[], Any]) -> None:
        """`start` gives a new `Host` of `each` seats."""
        self._kind, self._each, self._start = kind, each, start
        self._newest: _Shared | None = None

    def take(self, name: str) -> Seat:
        if self._newest is None or self._newest.left or len(self._newest.seats) >= self._each:
            self._newest = _Shared(self._start())
        seat = Seat(self._newest, self._kind, name)
        self._newest.seats.append(seat)
        return seat


class _Method:
    def __init__(self, remote: Callable[..., Any]) -> None:
        self.remote = remote


class _Shared:
    def __init__(self, actor: Any) -> None:
        self.actor, self.seats, self.left = actor, list[Seat](), False

    def leave(self, seat: Seat) -> None:
        self.left = True
        self.seats.remove(seat)
        if not self.seats:
            ray.kill(self.actor)
