"""Balance (`autobalance: true`): workers move to the stage that starves the others. Their number stays what it is.

A stage whose workers are busy nearly all the time holds up everybody after it, and before it. It is given a worker of
the stage that can best spare one: which keeps at least one, and stays well below that mark with those that are left.
The distance between the two marks, and that a stage must be in need for several looks running, keep a worker from
being moved to and fro.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from actors.control import Control
from actors.stages import Counts
from actors.streams import Pool
from actors.usage import Worked
from roles.config import Config

Movable = Literal["generator", "executor", "scorer"]
STARVES = 0.9  # a stage that is busy for so large a share of the time, others
SPARES = 0.7  # one that would be busy for less with a worker fewer, that worker
_LOOKS = 2  # running that must show the same
_SECONDS = 10.0  # of a look


@dataclasses.dataclass(frozen=True)
class Load:
    """How one stage did during a look."""

    workers: int
    busy: float  # share of their time that its workers were


@dataclasses.dataclass(frozen=True)
class Move:
    """One worker."""

    giver: Movable
    taker: Movable
    why: str


def decide(loads: Mapping[Movable, Load]) -> Move | None:
    """The move that helps most, if one does."""
    taker = max(loads, key=lambda role: loads[role].busy)
    spare = {
        role: load.busy * load.workers / (load.workers - 1)
        for role, load in loads.items()
        if load.workers > 1 and role != taker
    }
    giver = min(spare, key=spare.__getitem__, default=None)
    if loads[taker].busy < STARVES or giver is None or spare[giver] >= SPARES:
        return None
    why = (
        f"{taker}s ({loads[taker].workers}) were busy {loads[taker].busy:.0%} of the time, "
        f"{giver}s ({loads[giver].workers}) {loads[giver].busy:.0%}"
    )
    return Move(giver, taker, why)


def exchangeable(config: Config) -> tuple[Movable, ...]:
    """Roles whose workers take the same hardware."""
    return get_args(Movable) if config.model.device == "cpu" else ("generator", "scorer")


class Balance:
    def __init__(
        self, control: Control, pools: Mapping[Movable, Pool], counts: Counts, say: Callable[[str], None]
    ) -> None:
        """`pools` of the roles whose workers may be exchanged; `say` prints a line."""
        self._control, self._pools, self._counts, self._say = control, pools, counts, say

    async def run(self) -> None:
        """Look, and move one worker at a time, for ever."""
        last, running = None, 0
        while True:
            before = self._worked()
            await asyncio.sleep(_SECONDS)
            move = decide(self._loads(before)) if self._settled() else None
            route = None if move is None else (move.giver, move.taker)
            last, running = route, running + 1 if route == last else 1
            if move is not None and running >= _LOOKS:
                await self._make(move)
                last = None

    def _worked(self) -> dict[Movable, Worked]:
        return {role: pool.usage.worked for role, pool in self._pools.items()}

    def _loads(self, before: Mapping[Movable, Worked]) -> dict[Movable, Load]:
        loads = {}
        for role, now in self._worked().items():
            busy = now.busy - before[role].busy
            idle = now.waiting - before[role].waiting + now.blocked - before[role].blocked
            loads[role] = Load(len(self._pools[role].workers), busy / max(busy + idle, 1e-9))
        return loads

    def _settled(self) -> bool:
        """Whether everybody who is wanted is there; before that nobody's load says much."""
        return all(len(pool.workers) == self._control.wanted[role] for role, pool in self._pools.items())

    async def _make(self, move: Move) -> None:
        wanted = self._control.wanted
        await self._control.scale({move.giver: wanted[move.giver] - 1, move.taker: wanted[move.taker] + 1})
        line = f"a {move.giver} becomes one of the {move.taker}s: {move.why}"
        self._counts.moves.append(line)
        self._say(line)
