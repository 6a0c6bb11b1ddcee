"""Control: how another process tells a running job how many workers of each role somebody wants."""

from __future__ import annotations

import asyncio


class Control:
    """A named actor; the run waits in `after`, whoever scales it calls `ask`."""

    def __init__(self, wanted: dict[str, int]) -> None:
        self._wanted = dict(wanted)
        self._number = 0  # of requests so far
        self._changed = asyncio.Condition()

    async def ask(self, changes: dict[str, int]) -> dict[str, int]:
        """Want other numbers of some roles. Returns what is wanted of all."""
        async with self._changed:
            self._wanted |= changes
            self._number += 1
            self._changed.notify_all()
            return self._wanted

    async def after(self, number: int) -> tuple[int, dict[str, int]]:
        """Number of the newest request and what is wanted, once there is one beyond `number`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > number)
            return self._number, self._wanted
