"""Half an hour with a death every 20 seconds: nothing is lost, and nothing grows."""

import asyncio
import multiprocessing
import random
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest
from scenarios import actors, check_learnt, check_ledger, drive, job, left, started, used_bytes

from roles.run_folder import existing

MINUTES, SECONDS_BETWEEN = 30, 20
SLOWER = {
    "simulate": "{sample_seconds: [0.4, 0.2, 0.8], execute_seconds: 0.2, policy_step_seconds: 0.3}",
    "policy.steps_per_iteration": 1_000_000,
}  # fmt: skip


def half_an_hour(folder: Path, address: str, telling: Connection) -> None:
    """Drive a job and kill its actors; tell whether it stopped, the deaths counted, and what was seen at each kill."""
    seen, rng, this = [], random.Random(0), psutil.Process()

    async def kill(parts):
        end = time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            await asyncio.sleep(SECONDS_BETWEEN)
            rng.choice(sorted(actors(), key=lambda process: process.pid)).kill()
            seen.append((this.memory_info().rss, this.num_fds(), await asyncio.to_thread(used_bytes)))
        parts.control.stopping.set()

    parts = drive(job(folder, address, **SLOWER), kill, seconds=90 * MINUTES)
    telling.send((parts.stopped, parts.supervisor.deaths.total() + parts.training.revivals.total(), seen))


@pytest.mark.long
@pytest.mark.timeout(2 * 60 * MINUTES)
def test_half_an_hour_of_deaths_loses_nothing_and_nothing_grows(ray_address, tmp_path):
    hearing, telling = multiprocessing.Pipe(duplex=False)
    with started(half_an_hour, tmp_path / "run", ray_address, telling) as process:
        telling.close()  # so that its end is heard
        stopped, deaths, seen = hearing.recv()
        process.join(60)
        assert process.exitcode == 0
    assert stopped
    assert deaths >= len(seen) - 2  # one may come twice
    run = existing(tmp_path / "run")
    check_ledger(run)
    check_learnt(run)
    assert left() == []
    third = len(seen) // 3
    bounds = {"memory": 64 << 20, "descriptors": 20, "object store": 4 << 20}
    for (name, more), values in zip(bounds.items(), zip(*seen, strict=True), strict=True):
        print(f"{name}, every {SECONDS_BETWEEN} s: {values}")
        first, last = statistics.median(values[third : 2 * third]), statistics.median(values[-third:])
        assert last - first < more, f"{name}: {first:,} in the second third, {last:,} in the last"
