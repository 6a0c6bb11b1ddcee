"""Results by content: what was compiled or judged once is not compiled or judged again."""

from __future__ import annotations

import collections
import hashlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Keeps the results used last, at most `capacity` of them together, each weighing `weight(result)`. Thread-safe."""

    def __init__(self, capacity: int, weight: Callable[[T], int] = lambda _: 1) -> None:
        self.hits = 0
        self.misses = 0
        self._capacity = capacity
        self._weight = weight
        self._held = 0
        self._lock = threading.Lock()
        self._results: collections.OrderedDict[bytes, T] = collections.OrderedDict()

    def get(self, key: bytes) -> T | None:
        with self._lock:
            if key not in self._results:
                self.misses += 1
                return None
            self.hits += 1
            self._results.move_to_end(key)
            return self._results[key]

    def put(self, key: bytes, result: T) -> None:
        with self._lock:
            if key in self._results:
                return
            self._results[key] = result
            self._held += self._weight(result)
            while self._held > self._capacity and self._results:
                self._held -= self._weight(self._results.popitem(last=False)[1])


def key(*parts: object) -> bytes:
    """Two keys are equal only if their parts are."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=24).digest()
