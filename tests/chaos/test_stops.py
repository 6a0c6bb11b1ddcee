"""A job that is asked to stop finishes what runs; one that is stopped now drops it; both go on as if nothing were."""


import pytest
from scenarios import audit, batches, check_learnt, check_ledger, drive, driven, job, left, until, wait_for

import driver
from roles.run_folder import existing


@pytest.mark.long
@pytest.mark.parametrize("now", [False, True])
def test_a_job_that_was_stopped_goes_on(now, ray_address, tmp_path):
    folder = tmp_path / "run"
    with driven(folder, ray_address) as process:
        wait_for(lambda: len(list(folder.glob("ledger/*-policy"))) > 1, process)
        driver.stop(folder, now)
        process.join(60)
        assert process.exitcode == (130 if now else 0)
    run = existing(folder)
    assert not run.complete and left() == []
    check_ledger(run)
    check_learnt(run)
    if not now:  # what ran was finished
        assert [int(name.partition("-")[0]) for name in batches(run)] == list(range(len(batches(run))))
    run = job(folder, ray_address)
    drive(run)
    audit(run)


@pytest.mark.long
def test_a_job_can_be_stopped_while_the_control_is_trained(wires, ray_address, tmp_path):
    async def stop(parts):
        await until(lambda: wires.tripped("reward learner.control"))
        parts.control.stopping.set()

    run = job(tmp_path / "run", ray_address)
    wires.lay("reward learner.control", "hold")
    assert drive(run, stop).stopped
    run = job(run.folder, ray_address)
    drive(run)
    audit(run)
