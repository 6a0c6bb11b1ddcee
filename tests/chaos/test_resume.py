"""The driver is killed again and again; the job ends with the same weights, bit for bit, as if it had not been."""

import random
import shutil
import subprocess
import sys
import time

import pytest
from scenarios import ROOT, audit, batches, digests, drive, driven, job, learners, wait_for

import driver
from roles.run_folder import existing

KILLS = 10
PHASED = {"schedule": "phased", "deterministic": "true"}


def random_points(last: float) -> list[float]:
    return sorted(random.Random(0).uniform(0, last) for _ in range(KILLS))


def killed_at(points: list[float], folder, address) -> None:
    """Kill the driver when the ledger holds so many batches, and a little later by the point's fraction."""
    for point in points:
        with driven(folder, address, **PHASED) as driver:
            wait_for(lambda: len(list(folder.glob("ledger/*-*"))) >= point, driver)  # noqa: B023
            time.sleep(point % 1)
        run = existing(folder)
        newest, learnt = batches(run)[-1], [state["position"] for state in learners(run).values()]
        if int(newest.partition("-")[0]) >= max(learnt, default=0):
            shutil.rmtree(folder / "ledger" / newest)  # as if it had died between two batches of a step


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_job_whose_driver_is_killed_ends_with_the_weights_of_an_undisturbed_one(ray_address, tmp_path):
    undisturbed = job(tmp_path / "undisturbed", ray_address, **PHASED)
    drive(undisturbed)
    last = len(batches(undisturbed)) - 1
    points = random_points(last)
    killed_at(points, tmp_path / "run", ray_address)
    run = job(tmp_path / "run", ray_address, **PHASED)
    drive(run)
    audit(run)
    assert digests(run) == digests(undisturbed)


REAL = {  # the pocket models, as small as the loop goes
    **PHASED, "iterations": 2, "cluster.address": "local", "cluster.dashboard": "false",
    "sft.problems": 60, "sft.epochs": 1, "sampling.n": 4, "sampling.problems_per_batch": 4,
    "reward.groups_per_iteration": 8, "reward.groups_per_step": 4, "policy.groups_per_step": 8,
    "policy.steps_per_iteration": 3, "policy.checkpoint_every": 2, "evaluation.problems": 2, "evaluation.n": 2,
    "evaluation.control": "{epochs: 1, learning_rate: 1.0e-3}",
}  # fmt: skip


def start(folder) -> subprocess.Popen:
    overrides = [f"--set={name}={value}" for name, value in {**REAL, "run_dir": folder}.items()]
    command = [sys.executable, str(ROOT / "driver.py"), "run", str(driver.POCKET), *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(folder) -> dict[str, bytes]:
    """The weights of both models at the end."""
    running = start(folder)
    output, _ = running.communicate()
    assert running.returncode == 0, output
    return {kind: (folder / "models" / kind / "model.safetensors").read_bytes() for kind in ("policy", "reward")}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_run_of_real_models_that_is_killed_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    undisturbed = finish(tmp_path / "undisturbed")
    last = len(list((tmp_path / "undisturbed").glob("ledger/*-*"))) - 1
    folder = tmp_path / "run"
    for point in random_points(last):
        running = start(folder)
        while len(list(folder.glob("ledger/*-*"))) < point:
            assert running.poll() is None, running.communicate()[0]
            time.sleep(0.05)
        time.sleep(point % 1)
        running.kill()
        running.wait()
    assert finish(folder) == undisturbed
