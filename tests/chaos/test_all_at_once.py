"""All that can happen to a job, one after another; it ends with the weights of one to which nothing happened."""

import pytest
from losses import NEWEST, lose
from scenarios import (
    audit,
    batches,
    check_learnt,
    check_ledger,
    digests,
    drive,
    driven,
    fill,
    inputs,
    job,
    rigged,
    settings,
    until,
    wait_for,
)

import driver
from roles import run_folder
from roles.run_folder import existing

PHASED = {"schedule": "phased", "deterministic": "true", "cluster.heartbeat_seconds": 10}
DEATHS = (
    "generator.update", "scorer.ranking", "miner.append", "miner.mined", "policy learner.saved",
    "reward learner.learnt",
)  # fmt: skip


def test_a_job_ends_as_if_nothing_had_happened_to_it(wires, ray_address, small_disk, tmp_path, monkeypatch, capfd):
    undisturbed = job(tmp_path / "undisturbed", ray_address, **PHASED)
    drive(undisturbed)
    audit(undisturbed)
    last = len(batches(undisturbed)) - 1
    folder = small_disk / "run"
    grown = lambda share: len(list(folder.glob("ledger/*-*"))) >= share * last  # noqa: E731

    with driven(folder, ray_address, **PHASED) as process:  # which is killed
        wait_for(lambda: grown(0.1), process)

    with driven(folder, ray_address, **PHASED) as process:
        wait_for(lambda: grown(0.3), process)
        driver.stop(folder)
        process.join()
        assert process.exitcode == 0
    run = existing(folder)
    check_ledger(run)
    check_learnt(run)

    async def fill_disk(parts):
        await until(lambda: grown(0.5))
        fill(small_disk)

    monkeypatch.setattr(run_folder, "check", lambda config: inputs())
    with rigged(fill_disk), pytest.raises(SystemExit) as ended:
        driver.run(driver.POCKET, settings(folder, ray_address, **PHASED))
    assert ended.value.code == 1
    said = capfd.readouterr()
    assert "No space left on device" in said.out and "the same command continues it" in said.out
    assert "Traceback" not in said.out
    (small_disk / "filler").unlink()

    lost = lose(monkeypatch, *NEWEST)
    for place in DEATHS:
        wires.lay(place)
    wires.lay("executor.lease", "stop")  # it hangs
    run = job(folder, ray_address, **PHASED)
    drive(run)
    assert lost == set(NEWEST)
    assert [place for place in (*DEATHS, "executor.lease") if not wires.tripped(place)] == []
    audit(run)
    assert digests(run) == digests(undisturbed)
