"""A disk that is slow only takes its time."""

import pytest
from scenarios import audit, drive, job


@pytest.mark.long
def test_a_slow_disk_takes_its_time(wires, ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address)
    for kind in ("miner", "policy learner", "reward learner"):
        wires.lay(f"{kind}.disk", "slow")
    drive(run)
    audit(run)
