"""Simulated workers that share a process behave as if each had its own."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
import ray

from actors.seats import Host, Seats
from actors.streams import Pool


class Meeting:
    """Answers once two of its process are in a call at the same time."""

    together = threading.Barrier(2, timeout=20)

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    def meet(self) -> str:
        Meeting.together.wait()
        self.calls += 1
        return self.name

    @ray.method(num_returns=2)
    async def called(self) -> tuple[str, int]:
        return self.name, self.calls


@pytest.fixture(scope="module", autouse=True)
def own_ray():
    here = Path(__file__).parent
    environment = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env={"env_vars": environment},
    )  # fmt: skip
    yield
    ray.shutdown()


def seats(each: int) -> tuple[Seats, list]:
    started = []

    def start():
        started.append(ray.remote(num_cpus=0, max_concurrency=10)(Host).remote(Meeting, each))
        return started[-1]

    return Seats(Meeting, each, start), started


def test_workers_of_one_process_serve_at_once_and_each_keeps_its_own_state():
    offered, started = seats(2)
    first, second = offered.take("first"), offered.take("second")

    async def scenario():
        pool = Pool([first, second])

        async def work(worker):
            return await worker.meet.remote()

        assert sorted(await asyncio.gather(pool.call(work), pool.call(work))) == ["first", "second"]
        name, calls = first.called.remote()
        assert (await name, await calls) == ("first", 1)

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert len(started) == 1
    assert not hasattr(first, "close")  # as an actor says it of a method that it lacks


def test_a_process_ends_with_its_last_worker_and_takes_nobody_once_one_has_left():
    offered, started = seats(3)
    first, second = offered.take("first"), offered.take("second")
    first.leave()
    third = offered.take("third")
    assert len(started) == 2
    assert ray.get(second.called.remote()) == ["second", 0]
    second.leave()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(second.called.remote(), timeout=20)
    assert ray.get(third.called.remote()) == ["third", 0]
