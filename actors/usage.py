"""Who waited for whom: seconds of workers that served, that had nothing to do, or whose result found no room."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Level:
    """How many are at something, integrated over time: two that wait for three seconds are six seconds."""

    def __init__(self) -> None:
        self._count = 0
        self._seconds = 0.0
        self._since = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        return self._seconds + self._count * (time.monotonic() - self._since)

    @property
    def age(self) -> float:
        """Seconds since the first one came; 0 before."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, for as long as the context lasts."""
        if self._began is None:
            self._began = time.monotonic()
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._seconds, self._since = self.seconds, time.monotonic()
        self._count += by


@dataclasses.dataclass(frozen=True)
class Worked:
    """Worker-seconds of a stage since its first item."""

    busy: float
    waiting: float  # for input
    blocked: float  # on output


class Usage:
    """What the workers of a pool did. A worker that may serve several calls at once counts by the share that it serves.

    Invariant: the three add up to the number of workers, integrated over the time since the first call.
    """

    def __init__(self, calls_at_once: Callable[[], int], calls_each: int) -> None:
        """`calls_at_once` says how many calls the workers that are there now may serve, `calls_each` how many each."""
        self._calls_at_once, self._calls_each = calls_at_once, calls_each
        self._serving = self._delivering = 0
        self._busy = self._waiting = self._blocked = 0.0  # call-seconds
        self._since: float | None = None

    @property
    def worked(self) -> Worked:
        self.settle()
        busy, waiting, blocked = (part / self._calls_each for part in (self._busy, self._waiting, self._blocked))
        return Worked(busy, waiting, blocked)

    @contextmanager
    def serving(self, calls: int = 1) -> Iterator[None]:
        self._since = self._since or time.monotonic()
        self.settle()
        self._serving += calls
        try:
            yield
        finally:
            self.settle()
            self._serving -= calls

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """A result of a worker is on its way into the next stream, and no item is taken in its place."""
        self.settle()
        self._delivering += 1
        try:
            yield
        finally:
            self.settle()
            self._delivering -= 1

    def settle(self) -> None:
        """Book the time until now. Comes before every change, also of the number of workers."""
        if self._since is None:
            return
        now, calls = time.monotonic(), self._calls_at_once()
        busy = min(self._serving, calls)
        blocked = min(self._delivering, calls - busy)
        elapsed, self._since = now - self._since, now
        self._busy += elapsed * busy
        self._blocked += elapsed * blocked
        self._waiting += elapsed * (calls - busy - blocked)
