"""Room for a program that has to run alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Quiet:
    """Many may be `busy` at a time; who is `alone` waits for them to finish and holds the next ones off."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._alone = 0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._alone += 1
            self._changed.wait_for(lambda: not self._busy)
            self._busy += 1  # one at a time among those who want to be alone
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._alone -= 1
                self._changed.notify_all()
