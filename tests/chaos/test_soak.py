"""Half an hour with a death every 20 seconds: nothing is lost, and nothing grows."""

import asyncio
import random
import statistics
import time

import psutil
import pytest
from scenarios import actors, check_learnt, check_ledger, drive, job, left, used_bytes

MINUTES, SECONDS_BETWEEN = 30, 20
SLOWER = {
    "simulate": "{sample_seconds: [0.4, 0.2, 0.8], execute_seconds: 0.2, policy_step_seconds: 0.3}",
    "policy.steps_per_iteration": 1_000_000,
}  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(2 * 60 * MINUTES)
def test_half_an_hour_of_deaths_loses_nothing_and_nothing_grows(ray_address, tmp_path):
    seen, killed, rng, this = [], [], random.Random(0), psutil.Process()

    async def kill(parts):
        end = time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            await asyncio.sleep(SECONDS_BETWEEN)
            victim = rng.choice(sorted(actors(), key=lambda process: process.pid))
            killed.append(" ".join(victim.cmdline()).partition(".")[0])
            victim.kill()
            seen.append((this.memory_info().rss, this.num_fds(), await asyncio.to_thread(used_bytes)))
        parts.control.stopping.set()

    run = job(tmp_path / "run", ray_address, **SLOWER)
    parts = drive(run, kill, seconds=90 * MINUTES)
    assert parts.stopped
    assert parts.supervisor.deaths.total() + parts.training.revivals.total() >= len(killed) - 2  # one may come twice
    check_ledger(run)
    check_learnt(run)
    assert left() == []
    third = len(seen) // 3
    bounds = {"memory": 64 << 20, "descriptors": 20, "object store": 4 << 20}
    for (name, more), values in zip(bounds.items(), zip(*seen, strict=True), strict=True):
        first, last = statistics.median(values[third : 2 * third]), statistics.median(values[-third:])
        print(f"{name}: {first:,} in the second third, {last:,} in the last")
        assert last - first < more, name
