"""A promise that holds without what is built for it is no promise: what happens with the gate, or redelivery, off."""

import asyncio
from collections import Counter

import pytest
import ray
from scenarios import audit, batches, drive, job, until

from actors import admission, crew
from actors.streams import Pool
from roles.mining import ledger
from roles.records import Candidate

LONG = "{sample_seconds: [0.1, 0.1, 0.1, 2.0], execute_seconds: 0.02, policy_step_seconds: 0.05, score_seconds: 0.01}"
FOUR = {"workers.generators": 4, "simulate": LONG, "policy.steps_per_iteration": 8}


class NoGate(admission.Admission):
    """Admits whatever there is room for."""

    def _for_policy(self, count):
        return self.reward_version > 0 and self.submitted - self.dropped + count <= self._total


class AtRest(Exception):
    pass


class OnlyOnce(Pool):
    """Gives nothing to a second worker."""

    async def call(self, work):
        async with self.lease() as worker:
            try:
                return await work(worker)
            except ray.exceptions.RayActorError:
                await self.died(worker)
                await asyncio.Event().wait()


def lags(run) -> list[int]:
    """Of every step, the number of steps that its oldest token lies behind."""
    per_step = run.config.policy.groups_per_step // run.config.sampling.problems_per_batch
    names = [name for name in batches(run) if name.endswith("-policy")]
    steps = [names[i : i + per_step] for i in range(0, len(names), per_step)]
    found = []
    for step, of_step in enumerate(steps):
        candidates = [c for name in of_step for c in ledger.read_batch(run.folder / "ledger", name, Candidate)]
        found.append(1 + step - min(version for c in candidates for version in c.policy_versions))
    return found


@pytest.mark.long
def test_with_the_gate_no_token_is_older_than_promised_and_long_programs_get_their_share(ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address, **FOUR)
    drive(run)
    audit(run)
    assert max(lags(run)) == run.config.policy.max_staleness
    trained = [int(name.partition("-")[0]) for name in batches(run) if name.endswith("-policy")]
    assert Counter(number % 4 for number in trained) == dict.fromkeys(range(4), len(trained) // 4)


@pytest.mark.long
def test_without_the_gate_tokens_are_older_than_promised(ray_address, tmp_path, monkeypatch):
    monkeypatch.setattr(admission, "Admission", NoGate)
    run = job(tmp_path / "run", ray_address, **FOUR)
    drive(run)
    assert max(lags(run)) > run.config.policy.max_staleness


@pytest.mark.long
def test_without_redelivery_a_sample_is_lost(wires, ray_address, tmp_path, monkeypatch):
    async def come_to_rest(parts):
        await until(lambda: wires.tripped("executor.lease"))
        before = None
        while (now := (batches(run), [pool.busy for pool in parts.pools.values()])) != before or any(now[1]):
            before = now
            await asyncio.sleep(2)
        raise AtRest

    monkeypatch.setattr(crew, "Pool", OnlyOnce)
    run = job(tmp_path / "run", ray_address, **{"workers.executors": 2})
    wires.lay("executor.lease")
    with pytest.raises(ExceptionGroup) as raised:
        drive(run, come_to_rest)
    assert raised.group_contains(AtRest)
    names = {int(name.partition("-")[0]) for name in batches(run)}
    assert set(range(max(names))) - names
