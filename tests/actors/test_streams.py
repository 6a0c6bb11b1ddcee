"""Streams hold up who feeds them, pools hand out each worker as often as it may serve, admission bounds what is out."""

import asyncio
import contextlib
import dataclasses
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from actors import streams, usage
from actors.admission import Admission
from actors.streams import InOrder, Poisonous, Pool, Stream, serve
from actors.usage import Worked
from roles import config

POCKET = Path(__file__).parent.parent.parent / "configs" / "pocket.yaml"


def by(pool: Pool, work):
    """A step that has `work` done by a worker of `pool`."""
    return lambda item: pool.call(lambda worker: work(worker, item))


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
        task = asyncio.create_task(serve(stream, pool, by(pool, work), deliver))
        while len(done) < 20:
            await asyncio.sleep(0.002)
        task.cancel()
        return most, done

    most, done = asyncio.run(scenario())
    assert most == 4
    assert sorted(done) == list(range(20))


def test_an_item_that_died_with_one_that_kills_its_workers_is_not_given_up():
    async def scenario() -> list[object]:
        pool = Pool([0], calls_each=2)
        deaths: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

        async def work(worker: int, kills: bool) -> int:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.002 if kills else 0.05):
                    await deaths[worker].wait()
            if kills or deaths[worker].is_set():
                deaths[worker].set()
                raise ray.exceptions.ActorDiedError
            return worker

        async def replace() -> None:
            while True:
                await pool.add(await pool.death() + 1)

        replacing = asyncio.create_task(replace())
        calls = [pool.call(lambda worker, kills=kills: work(worker, kills)) for kills in (True, False)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        replacing.cancel()
        return ended

    poisonous, served = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert isinstance(poisonous, Poisonous)
    assert isinstance(served, int) and served > 0


def test_a_worker_is_free_for_others_while_its_result_waits_for_room():
    async def scenario() -> str:
        source: Stream[int] = Stream("numbers", 4)
        full: Stream[int] = Stream("full", 1)
        pool = Pool(["a"])

        async def work(worker: str, item: int) -> int:
            return item

        for number in range(4):
            await source.put(number)
        task = asyncio.create_task(serve(source, pool, by(pool, work), full.put))
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

        pool = Pool(["a"])
        await serve(stream, pool, by(pool, work), stream.put)

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


def test_admission_bounds_how_far_a_token_may_lie_behind():
    async def scenario() -> None:
        admission = Admission(config.load(POCKET, SETTINGS))
        assert await admitted(admission, groups(1, 2)) is False  # for the reward model alone
        await admission.new_reward_model(1)
        assert await admitted(admission, groups(*range(10, 18))) is True
        assert await admitted(admission, groups(*range(20, 28))) is True
        assert await admitted(admission, groups(*range(30, 38))) is None  # a third step, and no generator has the first
        await admission.was_trained(groups(*range(10, 18)))
        assert await admitted(admission, groups(*range(30, 38))) is None  # trained on, but not everywhere yet
        await admission.taken_up(1)
        assert await admitted(admission, groups(*range(30, 38))) is True
        assert admission.invariant() == {
            "submitted": 24, "trained": 8, "dropped": 0, "running": 16, "trained_twice": 0,
        }  # fmt: skip

    asyncio.run(scenario())


def test_what_was_dropped_makes_room_for_others():
    async def scenario() -> None:
        admission = Admission(config.load(POCKET, [*SETTINGS, "policy.max_staleness=0"]))
        await admission.new_reward_model(1)
        assert await admitted(admission, groups(*range(8))) is True
        assert await admitted(admission, groups(8)) is None
        await admission.was_dropped(groups(*range(4)), for_policy=True)
        assert await admitted(admission, groups(*range(10, 14))) is True
        assert await admitted(admission, groups(20)) is None
        assert admission.invariant()["submitted"] == 12 == admission.dropped + admission.invariant()["running"]

    asyncio.run(scenario())


def test_phases_follow_each_other():
    async def scenario() -> None:
        admission = Admission(config.load(POCKET, [*SETTINGS, "schedule=phased"]))
        await admission.new_reward_model(1)
        first, second = groups(*range(8)), groups(*range(8, 16))
        assert await admitted(admission, first) is True
        assert await admitted(admission, second) is None
        await admission.taken_up(1)
        await admission.was_trained(first)
        assert await admitted(admission, second) is None  # the reward learner is not past the first
        await admission.was_learned(first)
        assert await admitted(admission, second) is True

    asyncio.run(scenario())


def test_admission_ends_when_the_policy_has_its_steps_and_the_reward_model_its_groups():
    async def scenario() -> None:
        admission = Admission(config.load(POCKET, SETTINGS))
        await admission.new_reward_model(1)
        for start in range(0, 32, 8):
            batch = groups(*range(start, start + 8))
            assert await admitted(admission, batch) is True
            await admission.was_trained(batch)
            await admission.taken_up(start // 8 + 1)
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


def test_a_stream_is_bounded_by_bytes_too_and_lets_a_large_item_pass_alone():
    @dataclasses.dataclass(frozen=True)
    class Item:
        bytes: int

    async def scenario() -> list[int]:
        stream: Stream[Item] = Stream("items", 10, max_bytes=100)

        async def produce() -> None:
            for size in (40, 60, 1, 500, 3):
                await stream.put(Item(size))

        producer = asyncio.create_task(produce())
        await asyncio.sleep(0.01)
        assert (stream.depth, stream.bytes) == (2, 100)
        sizes, depths = [], []
        for _ in range(5):
            (item,) = await stream.take(1)
            await asyncio.sleep(0)
            await asyncio.sleep(0.005)
            sizes.append(item.bytes)
            depths.append(stream.bytes)
        await producer
        assert sizes == [40, 60, 1, 500, 3]
        assert depths == [61, 1, 500, 3, 0]
        return [stream.most_bytes]

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) == [500]


def test_items_are_passed_on_in_the_order_of_their_numbers():
    async def scenario() -> list[int]:
        passed: list[int] = []

        async def deliver(item: int) -> None:
            await asyncio.sleep(0)
            passed.append(item)

        in_order = InOrder(3, deliver)
        await asyncio.gather(*(in_order.put(number, number) for number in (7, 5, 3, 4)))
        assert passed == [3, 4, 5]
        await in_order.put(6, 6)
        return passed

    assert asyncio.run(scenario()) == [3, 4, 5, 6, 7]


def test_a_stage_of_phases_delivers_together_and_in_order():
    async def scenario() -> None:
        stream: Stream[int] = Stream("numbers", 10)
        pool = Pool(["a", "b", "c"])
        delivered: list[int] = []
        started: list[int] = []

        async def work(worker: str, item: int) -> int:
            started.append(item)
            await asyncio.sleep(0.02 if item == 0 else 0)
            return item

        async def deliver(item: int) -> None:
            delivered.append(item)

        task = asyncio.create_task(serve(stream, pool, by(pool, work), deliver, together=3))
        await stream.put(0)
        await stream.put(1)
        await asyncio.sleep(0.01)
        assert started == []  # the phase before is not done
        await stream.put(2)
        await asyncio.sleep(0.01)
        assert started == [0, 1, 2]
        assert delivered == []
        while len(delivered) < 3:
            await asyncio.sleep(0.005)
        assert delivered == [0, 1, 2]
        task.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_worker_that_is_set_aside_finishes_and_gets_nothing():
    async def scenario() -> None:
        pool = Pool(["a"])
        async with pool.lease():
            aside = asyncio.create_task(hold_aside(pool))
            await asyncio.sleep(0.01)
            assert not aside.done()
            assert pool.workers == ["a"]  # nobody hires another one for it
        waiting = asyncio.create_task(pool.call(lambda worker: asyncio.sleep(0, worker)))
        assert await aside is False  # nothing was served meanwhile
        assert await waiting == "a"

    async def hold_aside(pool: Pool) -> bool:
        async with pool.without("a"):
            busy = False
            for _ in range(5):
                await asyncio.sleep(0.002)
                busy |= pool.busy > 0
            return busy

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_worker_that_keeps_an_item_too_long_is_given_up_for_another():
    async def scenario() -> None:
        pool = Pool(["stuck"], seconds=0.02)

        async def work(worker: str) -> str:
            await asyncio.sleep(60 if worker == "stuck" else 0)
            return worker

        served = asyncio.create_task(pool.call(work))
        assert await pool.death() == "stuck"
        await pool.add("fresh")
        assert await served == "fresh"
        assert (pool.workers, pool.redelivered) == (["fresh"], 1)

    asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """The time that streams and pools see stands still until a test says `clock.now += seconds`."""
    clock = SimpleNamespace(now=100.0)
    for module in (streams, usage):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def settled() -> None:
    """Let every task go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_worker_seconds_say_who_waited_for_whom_and_add_up(clock):
    async def scenario() -> None:
        source: Stream[int] = Stream("numbers", 4)
        full: Stream[int] = Stream("full", 1)
        pool = Pool(["a", "b"], calls_each=2)

        async def work(worker: str, item: int) -> int:
            if item > 1:
                await asyncio.Event().wait()
            return item

        clock.now += 50  # engines are starting
        for number in range(2):
            await source.put(number)
        task = asyncio.create_task(serve(source, pool, by(pool, work), full.put))
        await settled()
        assert pool.usage.worked == Worked(0, 0, 0)
        clock.now += 10  # of 4 calls, 1 finds no room for its result, 3 have no input
        assert pool.usage.worked == Worked(busy=0, waiting=15, blocked=5)
        for number in range(2, 5):
            await source.put(number)
        await settled()
        clock.now += 10
        assert pool.usage.worked == Worked(busy=15, waiting=15, blocked=10)
        await pool.add("c")
        clock.now += 10  # and a third worker has no input either
        assert pool.usage.worked == Worked(busy=30, waiting=25, blocked=15)
        async with pool.without("c"):
            clock.now += 10
        assert pool.usage.worked == Worked(busy=55, waiting=25, blocked=20)
        task.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_a_stream_knows_how_long_items_stay_and_who_waits_for_it(clock):
    async def scenario() -> None:
        stream: Stream[int] = Stream("numbers", 2)
        clock.now += 5
        assert (stream.oldest_seconds, stream.empty.age) == (0, 0)
        taker = asyncio.create_task(stream.take(1))
        await settled()
        clock.now += 3
        await stream.put(0)
        await taker
        assert (stream.empty.seconds, stream.empty.age, stream.waited_seconds) == (3, 3, 0)
        for number in range(2):
            await stream.put(number)
        third = asyncio.create_task(stream.put(2))
        await settled()
        clock.now += 4
        assert (stream.oldest_seconds, stream.full.seconds) == (4, 4)
        await stream.take(2)
        await third
        assert (stream.depth, stream.oldest_seconds) == (1, 0)  # it came in only now
        clock.now += 1
        await stream.take(1)
        assert (stream.taken, stream.waited_seconds) == (4, 4 + 4 + 1)
        assert (stream.full.seconds, stream.empty.seconds) == (4, 3)

    asyncio.run(asyncio.wait_for(scenario(), 5))
