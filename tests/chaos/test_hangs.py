"""An actor that hangs is ended and replaced, learners too."""

import pytest
from scenarios import audit, drive, job, until

PLACES = [
    "generator.idle", "generator.lease", "generator.update", "executor.lease", "scorer.lease", "scorer.update",
    "scorer.ranking", "miner.append", "miner.mined", "policy learner.lease", "policy learner.checkpoint",
    "policy learner.publication", "reward learner.lease", "reward learner.saved",
]  # fmt: skip
SOON = {"cluster.heartbeat_seconds": 3}


@pytest.mark.long
def test_an_executor_and_a_learner_that_hang_are_replaced(wires, ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address, **SOON)
    wires.lay("executor.lease", "stop")
    wires.lay("policy learner.lease", "stop")
    parts = drive(run)
    assert wires.tripped("executor.lease") and wires.tripped("policy learner.lease")
    assert parts.supervisor.deaths["executor"] >= 1
    assert parts.training.revivals["policy learner"] >= 1
    audit(run)


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
def test_whoever_hangs_is_replaced(place, wires, ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address, **SOON)
    wires.lay(place, "stop")
    drive(run)
    assert wires.tripped(place)
    audit(run)


@pytest.mark.long
@pytest.mark.parametrize("role", ["generator", "scorer"])
def test_whoever_hangs_at_its_first_version_is_replaced(role, wires, ray_address, tmp_path):
    async def replace_one(parts):
        await until(lambda: parts.admission and parts.admission.reward_version)
        wires.lay(f"{role}.join", "stop")
        wires.lay(f"{role}.lease")

    run = job(tmp_path / "run", ray_address, **SOON)
    parts = drive(run, replace_one)
    assert wires.tripped(f"{role}.join") and wires.tripped(f"{role}.lease")
    assert parts.supervisor.deaths[role] >= 2
    audit(run)


@pytest.mark.long
@pytest.mark.parametrize("role", ["policy learner", "reward learner"])
def test_a_learner_that_hangs_as_soon_as_it_is_there_is_replaced(role, wires, ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address, **SOON)
    wires.lay(f"{role}.saved")
    wires.lay(f"{role}.restore", "stop")
    parts = drive(run)
    assert wires.tripped(f"{role}.restore")
    assert parts.training.revivals[role] >= 2
    audit(run)


@pytest.mark.long
def test_an_executor_that_keeps_a_batch_for_too_long_is_replaced(wires, ray_address, tmp_path):
    """It answers, and yet it hangs: its lease ends."""
    run = job(tmp_path / "run", ray_address, **{"cluster.lease_seconds": 3})
    wires.lay("executor.lease", "sleep")
    parts = drive(run)
    assert parts.supervisor.deaths["executor"] >= 1
    audit(run)
