"""Bytes that a node takes with it are made again, or come from the ledger; what waits stays within its bounds."""

import asyncio

import pytest
from losses import NEWEST, lose
from scenarios import audit, batches, drive, job, until, used_bytes

BOUND = 1 << 20


@pytest.mark.long
@pytest.mark.parametrize("name", NEWEST)
def test_a_batch_that_loses_its_bytes_is_made_or_read_again(name, ray_address, tmp_path, monkeypatch):
    done = lose(monkeypatch, name)
    run = job(tmp_path / "run", ray_address)
    drive(run)
    assert done == {name}
    audit(run)


@pytest.mark.long
def test_the_object_store_holds_no_more_than_the_configuration_allows(ray_address, tmp_path):
    """Behind a slow learner every stream fills up to its bytes, far below what the admission would let in."""
    used, waited, sizes = [], {}, [0]
    run = job(
        tmp_path / "run", ray_address,
        **{
            "simulate": "{sample_seconds: [0.01], execute_seconds: 0, score_seconds: 0, policy_step_seconds: 1}",
            "sampling.n": 256, "stream_bytes": BOUND, "stream_capacity": 100, "policy.max_staleness": 20,
            "policy.steps_per_iteration": 6,
        },
    )  # fmt: skip

    async def measure(parts):
        await until(lambda: batches(run))
        while parts.training._steps < 6:
            used.append(await asyncio.to_thread(used_bytes))
            stages = parts.stages
            for stream in (stages.candidates, stages.verdicts, stages.scored, stages.pairs, stages.rollouts):
                waited[stream.name] = stream.most_bytes
                sizes.extend(batch.bytes for _, batch in stream._items)
            await asyncio.sleep(0.2)

    parts = drive(run, measure)
    one = max(sizes)  # a batch
    at_work = len(parts.pools) + 2 * run.config.policy.groups_per_step // run.config.sampling.problems_per_batch
    allowed = len(waited) * BOUND + (at_work + 4) * one + 8 * run.config.simulate.weight_bytes
    print(f"used at most {max(used):,} of {allowed:,} bytes; a batch has {one:,}; waited at most {waited}")
    assert max(waited.values()) <= BOUND
    assert waited["rollouts"] > BOUND - one
    assert max(used) <= allowed
    assert parts.admission.limit // run.config.sampling.problems_per_batch * one > allowed
