"""A learner of several processes, on as many GPUs or machines: to whoever calls it, one actor.

Each process is told the same; they compute together (`roles.engines`), and the first one answers. One that dies takes
the others with it: what they are in the middle of cannot be finished, and a new learner continues from the checkpoint.

Ray Train would have a trainer's function run to its end; a learner here waits for what it is told next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import ray

from actors.streams import is_death

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 10.0  # after one process failed, for another to show that its death was why


class Rank:
    """What a learner's actor has, so that it can be one of several."""

    def meeting_point(self) -> str:
        """host:port of this machine where others can find this actor, if it joins as the first."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def join(self, number: int, of: int, address: str, device: str) -> None:
        """Become process `number` of `of` that meet at `address`, or die."""
        from roles.engines import processes  # and torch, which simulated learners do without

        try:
            processes.join(number, of, address, device)
        except Exception:
            _log.exception("process %d of %d did not meet the others at %s", number, of, address)
            os._exit(1)  # alone it would learn something else


class Ranks:
    def __init__(self, actors: Sequence[Any], device: str) -> None:
        """`actors` have been told nothing yet."""
        self.actors = actors
        address = actors[0].meeting_point.remote()
        for number, actor in enumerate(actors):
            actor.join.remote(number, len(actors), address, device)

    def __getattr__(self, name: str) -> _Method:
        return _Method([getattr(actor, name) for actor in self.actors])


class _Method:
    def __init__(self, methods: Sequence[Any]) -> None:
        self._methods = methods

    def remote(self, *arguments: Any) -> Any:
        """As of a single actor: something to await; where there are several results, the first is that, the others are
        references."""
        called = [method.remote(*arguments) for method in self._methods]
        if isinstance(called[0], ray.ObjectRef):
            return asyncio.ensure_future(_together(called))
        firsts = [results[0] for results in called]
        return [asyncio.ensure_future(_together(firsts)), *called[0][1:]]


async def _together(calls: Sequence[ray.ObjectRef]) -> Any:
    """What the first returns once all have. Raises the death of one rather than what it makes of the others."""
    waiting = [asyncio.ensure_future(_result(call)) for call in calls]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors and not any(map(is_death, errors)):
            done, _ = await asyncio.wait(waiting, timeout=_GRACE_SECONDS)
            errors = [error for task in done if (error := task.exception()) is not None]
        if errors:
            raise next(filter(is_death, errors), errors[0])
        return waiting[0].result()
    finally:
        for task in waiting:
            task.cancel()


async def _result(call: ray.ObjectRef) -> Any:
    return await call
