"""Streams hold up who feeds them, pools hand out each worker as often as it may serve, admission bounds what is out."""

import asyncio
from pathlib import Path

import pytest

from actors.admission import Admission
from actors.streams import Pool, Stream, serve
from roles import config

POCKET = Path(__file__).parent.parent.parent / "configs" / "pocket.yaml"


def test_a_full_stream_holds_up_its_producer():
    async def scenario() -> list[int]:
        stream: Stream[int] = Stream("numbers", 2)
        put = []

        async def produce() -> None:
            for number in range(5):
                await stream.put(number)
                put.append(number)

        producer = asyncio.create_task(produce())
        await asyncio.sleep(0.01)
        waiting = list(put)
        assert await stream.take(5) == [0, 1, 2, 3, 4]
        await producer
        return waiting

    assert asyncio.run(scenario()) == [0, 1]


def test_a_pool_serves_as_many_at_once_as_its_workers_may_and_not_more():
    async def scenario() -> tuple[int, list[int]]:
        stream: Stream[int] = Stream("numbers", 100)
        pool = Pool(["a", "b"], calls_each=2)
        running, most, done = 0, 0, []

        async def work(worker: str, item: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.002)
            running -= 1
            return item

        async def deliver(item: int) -> None:
            done.append(item)

        for number in range(20):
            await stream.put(number)
        task = asyncio.create_task(serve(stream, pool, work, deliver))
        while len(done) < 20:
            await asyncio.sleep(0.002)
        task.cancel()
        return most, done

    most, done = asyncio.run(scenario())
    assert most == 4
    assert sorted(done) == list(range(20))


def test_a_worker_is_free_for_others_while_its_result_waits_for_room():
    async def scenario() -> str:
        source: Stream[int] = Stream("numbers", 4)
        full: Stream[int] = Stream("full", 1)
        pool = Pool(["a"])

        async def work(worker: str, item: int) -> int:
            return item

        for number in range(4):
            await source.put(number)
        task = asyncio.create_task(serve(source, pool, work, full.put))
        await asyncio.sleep(0.01)
        assert (full.depth, source.depth) == (1, 2)  # one delivered, one waits for room, two were not taken
        async with pool.lease() as worker:
            task.cancel()
            return worker

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == "a"


def test_a_failing_worker_stops_the_stage_with_its_error():
    async def scenario() -> None:
        stream: Stream[int] = Stream("numbers", 2)
        await stream.put(1)

        async def work(worker: str, item: int) -> None:
            raise RuntimeError("broken")

        await serve(stream, Pool(["a"]), work, stream.put)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(scenario())
    assert caught.group_contains(RuntimeError, match="broken")


SETTINGS = [
    "policy.groups_per_step=8", "policy.steps_per_iteration=2", "policy.max_staleness=1",
    "reward.groups_per_iteration=10", "iterations=2",
]  # fmt: skip


def groups(*numbers: int) -> tuple[str, ...]:
    return tuple(f"g{number}" for number in numbers)


async def admitted(admission: Admission, of: tuple[str, ...]) -> bool | None:
    """What `admit` says, or None when it keeps waiting."""
    try:
        return await asyncio.wait_for(admission.admit(of), 0.02)
    except TimeoutError:
        return None


def test_admission_bounds_the_groups_between_sampling_and_training():
    async def scenario() -> None:
        admission = Admission(config.load(POCKET, SETTINGS))
        assert await admitted(admission, groups(1, 2)) is False  # for the reward model alone
        await admission.new_reward_model(1)
        assert await admitted(admission, groups(*range(10, 18))) is True
        assert await admitted(admission, groups(*range(20, 28))) is True
        assert await admitted(admission, groups(*range(30, 38))) is None  # (1 + 1) * 8 are out
        await admission.was_trained(groups(*range(10, 18)))
        assert await admitted(admission, groups(*range(30, 38))) is True
        assert admission.invariant() == {
            "submitted": 24, "trained": 8, "dropped": 0, "running": 16, "trained_twice": 0,
        }  # fmt: skip

    asyncio.run(scenario())


def test_admission_ends_when_the_policy_has_its_steps_and_the_reward_model_its_groups():
    async def scenario() -> None:
        admission = Admission(config.load(POCKET, SETTINGS))
        await admission.new_reward_model(1)
        for start in range(0, 32, 8):
            batch = groups(*range(start, start + 8))
            assert await admitted(admission, batch) is True
            await admission.was_trained(batch)
        assert await admitted(admission, groups(100)) is False  # the second reward model is still to come
        await admission.was_mined(10, 10, True, reward_version=0)  # scored by the model before: they do not count
        assert await admitted(admission, groups(102)) is False
        await admission.was_mined(10, 10, True, reward_version=1)
        assert await admitted(admission, groups(101)) is None
        await admission.new_reward_model(2)
        assert await admitted(admission, groups(101)) is None
        await admission.was_trained(groups(0))
        assert admission.invariant()["trained_twice"] == 1

    asyncio.run(scenario())
