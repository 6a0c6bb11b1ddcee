"""Batches whose bytes are lost on their way."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import ray

from actors.streams import Stream

NEWEST = {
    "candidates": "candidates", "verdicts": "verdicts", "scored": "scores", "pairs": "pairs", "rollouts": "candidates",
}  # fmt: skip


@ray.remote(num_cpus=0)
class Owner:
    def put(self) -> list[ray.ObjectRef]:
        return [ray.put(bytes(1 << 20))]


async def lost() -> ray.ObjectRef:
    """A reference to what is gone with its owner."""
    owner = Owner.remote()
    (reference,) = await owner.put.remote()
    ray.kill(owner)
    errors = ray.exceptions
    for kind, gone in ((errors.RayActorError, owner.put.remote), (errors.ObjectLostError, lambda: reference)):
        with pytest.raises(kind):
            while True:  # until all of Ray knows
                await asyncio.sleep(0.05)
                await gone()
    return reference


def lose(monkeypatch, *names: str) -> set[str]:
    """Have one batch that enters each of the streams named lose its newest bytes. Returns the names of those that did.
    """
    put, done = Stream.put, set()

    async def losing(stream, batch):
        if stream.name in names and stream.name not in done and batch.number > 1:
            done.add(stream.name)
            batch = dataclasses.replace(batch, **{NEWEST[stream.name]: await lost()})
        await put(stream, batch)

    monkeypatch.setattr(Stream, "put", losing)
    return done
