"""Versions in Ray's object store: who gets them, in which order, and how long they live."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray._private.internal_api import node_stats

from actors.streams import Pool
from actors.weights import Followers, Versions, Weights
from roles import delta, weights
from roles.weights import Packed

MEGABYTES = 8


@pytest.fixture(scope="module", autouse=True)
def own_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@ray.remote(num_cpus=0)
class Learner:
    """Publishes arrays that are full of their version."""

    def __init__(self) -> None:
        self.version = 0

    @ray.method(num_returns=2)
    def weights(self) -> tuple[int, Packed]:
        self.version += 1
        return self.version, np.full(MEGABYTES << 20, self.version, np.uint8)

    @ray.method(num_returns=2)
    def base(self) -> tuple[int, Packed]:
        return 100, np.full(MEGABYTES << 20, 100, np.uint8)


@ray.remote(num_cpus=0, max_concurrency=2)
class Worker:
    def __init__(self) -> None:
        self.taken: list[tuple[int, ...]] = []

    def update(self, version: int, packed: Packed, base: Packed | None = None) -> None:
        assert packed[-1] == version
        self.taken.append((version,) if base is None else (version, int(base[-1])))

    def history(self) -> list[tuple[int, ...]]:
        return self.taken


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 60))


def stored() -> float:
    """Megabytes in the object store."""
    node = ray.nodes()[0]
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False)
    return stats.store_stats.object_store_bytes_used / 2**20


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, stored()
        await asyncio.sleep(0.05)


def test_a_version_is_freed_once_it_is_not_the_newest_and_nobody_holds_it():
    async def scenario() -> None:
        before = stored()
        versions, learner, worker = Versions("policy"), Learner.remote(), Worker.remote()
        followers = Followers(versions)
        held = await versions.publish(learner)
        follower = await followers.join(worker)
        following = asyncio.create_task(follower.run())
        for version in range(2, 6):
            await versions.publish(learner)
            await followers.reached(version)
        await until(lambda: stored() < before + 2.5 * MEGABYTES)  # the first, which is held, and the fifth
        assert stored() > before + 1.5 * MEGABYTES
        async with follower.held_at(held, Pool([worker])):
            assert await worker.history.remote() == [(1,), (2,), (3,), (4,), (5,), (1,)]
        assert (await worker.history.remote())[-1] == (5,)
        del held
        await until(lambda: stored() < before + 1.5 * MEGABYTES)
        assert stored() > before + 0.5 * MEGABYTES
        following.cancel()

    run(scenario())


def test_a_late_joiner_gets_the_newest_version_and_no_other():
    async def scenario() -> None:
        versions, learner, late = Versions("policy"), Learner.remote(), Worker.remote()
        followers = Followers(versions, version=0)
        assert (await followers.join(Worker.remote())).version == 0  # there is nothing to join with yet
        for _ in range(3):
            await versions.publish(learner)
        follower = await followers.join(late)
        assert await late.history.remote() == [(3,)]
        following = asyncio.create_task(follower.run())
        await versions.publish(learner)
        while follower.version < 4:
            await asyncio.sleep(0.01)
        assert await late.history.remote() == [(3,), (4,)]
        following.cancel()

    run(scenario())


def test_a_late_joiner_gets_a_delta_with_its_base_and_the_base_is_stored_once():
    async def scenario() -> None:
        before = stored()
        versions, learner, early, late = Versions("policy", 2), Learner.remote(), Worker.remote(), Worker.remote()
        followers = Followers(versions)
        await versions.publish(learner)
        await followers.join(early)
        assert await early.history.remote() == [(1,)]  # earlier than the base
        for _ in range(4):
            await versions.publish(learner)
        await followers.join(late)
        assert await late.history.remote() == [(5, 100)]
        await until(lambda: stored() < before + 2.5 * MEGABYTES)  # the base and the newest

    run(scenario())


def test_a_version_that_is_not_newer_is_refused():
    async def scenario() -> None:
        versions = Versions("policy")
        await versions.publish(Learner.remote())
        with pytest.raises(ValueError, match="policy v1 published after v1"):
            await versions.publish(Learner.remote())

    run(scenario())


def test_the_whole_of_a_delta_is_the_version_itself():
    base = weights.pack({"a": torch.ones(2, 3), "b": torch.ones(2)}, {delta.VERSION: "1"})
    small = delta.pack({"a": (torch.ones(2, 1), torch.ones(1, 3))}, 1, {delta.VERSION: "2", "probe": "x"})
    whole = ray.get(Weights(2, ray.put(small), ray.put(base)).whole().packed)
    assert weights.metadata(whole) == {delta.VERSION: "2", "probe": "x"}
    found = weights.unpack(whole)
    assert torch.equal(found["a"], torch.full((2, 3), 2.0))
    assert torch.equal(found["b"], torch.ones(2))
