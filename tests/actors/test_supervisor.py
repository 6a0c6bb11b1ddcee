"""Workers that die are replaced, and what they were serving is served by others: once."""

import asyncio
import os
import time

import pytest
import ray

from actors.streams import Poisonous, Pool, Stream, serve


@pytest.fixture(scope="module", autouse=True)
def own_ray():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@ray.remote(num_cpus=0, max_concurrency=2)
class Doubler:
    def double(self, number: int, poison: int = -1) -> int:
        if number == poison:
            os._exit(1)
        time.sleep(0.05)
        return 2 * number


def drive(pool: Pool, at_least: int, during, poison: int = -1) -> list[int]:
    """What became of 0, 1, 2, ..., of so many of them and until `during` is over."""

    async def scenario() -> list[int]:
        source: Stream[int] = Stream("numbers", 8)
        done: list[int] = []

        async def work(worker, number):
            return await worker.double.remote(number, poison)

        async def deliver(number):
            done.append(number)

        async def replace():
            while True:
                await pool.death()
                worker = Doubler.remote()
                await worker.double.remote(0)
                await pool.add(worker)

        async with asyncio.TaskGroup() as tasks:
            stage = serve(source, pool, lambda item: pool.call(lambda worker: work(worker, item)), deliver)
            background = [tasks.create_task(stage), tasks.create_task(replace())]
            disturbing, number = tasks.create_task(during()), 0
            while number < at_least or not disturbing.done():
                await source.put(number)
                number += 1
            while len(done) < number:
                await asyncio.sleep(0.01)
            for task in background:
                task.cancel()
        return done

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def test_every_item_is_served_once_though_workers_are_killed():
    pool = Pool([Doubler.remote(), Doubler.remote()], calls_each=2)

    async def kill():
        for _ in range(4):
            while pool.busy < 3:
                await asyncio.sleep(0.005)
            victim = pool.workers[0]
            ray.kill(victim)
            while victim in pool.workers:
                await asyncio.sleep(0.005)

    done = drive(pool, 50, kill)
    assert sorted(done) == [2 * number for number in range(len(done))]
    assert pool.redelivered > 0


def test_an_item_that_kills_its_workers_is_given_up_by_name():
    async def nothing():
        pass

    with pytest.raises(ExceptionGroup) as raised:
        drive(Pool([Doubler.remote()]), 4, nothing, poison=2)
    group = raised.value
    while isinstance(group, ExceptionGroup):
        group = group.exceptions[0]
    assert isinstance(group, Poisonous)
    assert "3 workers in turn died" in str(group)


def test_a_worker_that_leaves_serves_what_it_has_and_gets_no_more():
    async def scenario():
        first, second = Doubler.remote(), Doubler.remote()
        pool = Pool([first], calls_each=1)
        served = []

        async def work(worker):
            served.append(worker)
            return await worker.double.remote(1)

        running = asyncio.create_task(pool.call(work))
        await asyncio.sleep(0)
        leaving = asyncio.create_task(pool.remove(first))
        await asyncio.sleep(0.01)
        assert not leaving.done()
        assert (pool.workers, pool.capacity, pool.busy) == ([], 1, 1)
        waiting = asyncio.create_task(pool.call(work))
        await pool.add(second)
        assert await running == 2
        await leaving
        assert await waiting == 2
        assert served == [first, second]
        assert (pool.workers, pool.capacity, pool.busy) == ([second], 1, 0)

    asyncio.run(asyncio.wait_for(scenario(), 60))
