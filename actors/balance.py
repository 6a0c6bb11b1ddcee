"""Balance (`autobalance: true`): workers move to the stage that starves the others. Their number stays what it is.

A stage that is busy nearly all the time while its input waits holds up everybody after it. It is given a worker of
the stage that can best spare one: which keeps at least one, and stays well below that mark with those that are left.
The distance between the two marks, and that a stage must be in need for several looks running, keep a worker from
being moved to and fro.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from actors.control import SCALABLE, Control, Scalable
from actors.stages import Counts
from actors.streams import Pool, Stream
from roles.config import Config

STARVES = 0.9  # a stage that is busy for so large a share of the time, others
SPARES = 0.7  # one that would be busy for less with a worker fewer, that worker
_LOOKS = 2  # running that must show the same
_SECONDS = 5.0  # of a look
_GLANCES = 25  # of a look


@dataclasses.dataclass(frozen=True)
class Load:
    """How one stage did during a look."""

    workers: int
    busy: float  # mean share of its workers
    waiting: float  # share of the time in which its input waited


@dataclasses.dataclass(frozen=True)
class Move:
    """One worker."""

    giver: Scalable
    taker: Scalable
    why: str


def decide(loads: Mapping[Scalable, Load]) -> Move | None:
    """The move that helps most, if one does."""
    starving = [role for role, load in loads.items() if load.busy >= STARVES and load.waiting >= 0.5]
    spare = {
        role: load.busy * load.workers / (load.workers - 1)
        for role, load in loads.items()
        if load.workers > 1 and role not in starving
    }
    giver = min(spare, key=spare.__getitem__, default=None)
    if not starving or giver is None or spare[giver] >= SPARES:
        return None
    taker = max(starving, key=lambda role: loads[role].busy)
    why = (
        f"its {loads[taker].workers} workers were busy {loads[taker].busy:.0%} of the time with work waiting, "
        f"the {loads[giver].workers} {giver}s {loads[giver].busy:.0%}"
    )
    return Move(giver, taker, why)


def exchangeable(config: Config) -> tuple[Scalable, ...]:
    """Roles whose workers take the same hardware."""
    return SCALABLE if config.model.device == "cpu" else ("generator", "scorer")


class Balance:
    def __init__(
        self,
        control: Control,
        pools: Mapping[Scalable, Pool],
        inputs: Mapping[Scalable, Stream[Any]],
        counts: Counts,
        say: Callable[[str], None],
    ) -> None:
        """`pools` of what may be exchanged. A role without one of `inputs` asks for its work itself."""
        self._control, self._pools, self._inputs, self._counts, self._say = control, pools, inputs, counts, say

    async def run(self) -> None:
        """Look, and move one worker at a time, for ever."""
        last, running = None, 0
        while True:
            loads = await self._look()
            move = decide(loads) if self._settled() else None
            route = None if move is None else (move.giver, move.taker)
            running = running + 1 if route == last else 1
            last = route
            if move is not None and running >= _LOOKS:
                await self._make(move)
                last = None

    async def _look(self) -> dict[Scalable, Load]:
        busy, waiting = dict.fromkeys(self._pools, 0.0), dict.fromkeys(self._pools, 0.0)
        for _ in range(_GLANCES):
            await asyncio.sleep(_SECONDS / _GLANCES)
            for role, pool in self._pools.items():
                source = self._inputs.get(role)
                busy[role] += pool.busy / max(1, pool.capacity) / _GLANCES
                waiting[role] += (source is None or source.depth > 0) / _GLANCES
        return {role: Load(len(pool.workers), busy[role], waiting[role]) for role, pool in self._pools.items()}

    def _settled(self) -> bool:
        """Whether everybody who is wanted is there; before that nobody's load says much."""
        return all(len(pool.workers) == self._control.wanted[role] for role, pool in self._pools.items())

    async def _make(self, move: Move) -> None:
        wanted = self._control.wanted
        await self._control.scale({move.giver: wanted[move.giver] - 1, move.taker: wanted[move.taker] + 1})
        self._counts.moves.append(f"{move.giver} to {move.taker}: {move.why}")
        self._say(f"a {move.giver} becomes a {move.taker}: {move.why}")
