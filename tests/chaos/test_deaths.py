"""Every kind of actor is killed in every state that it has; the job ends as if nothing had been."""

import pytest
from scenarios import audit, batches, digests, drive, job, until

STATES = {
    "generator": ("start", "idle", "lease", "update", "held-out"),
    "executor": ("idle", "lease", "held-out"),
    "scorer": ("idle", "lease", "update", "ranking"),
    "miner": ("idle", "lease", "append", "mined"),
    "policy learner": (
        "fine-tune", "idle", "lease", "learnt", "publication", "publication of v1", "checkpoint at 0", "checkpoint",
        "saved",
    ),
    "reward learner": (
        "initialise", "idle", "lease", "learnt", "publication", "checkpoint", "saved", "control",
    ),
}  # fmt: skip
PLACES = [f"{kind}.{state}" for kind, states in STATES.items() for state in states]
PHASED = {"schedule": "phased", "deterministic": "true"}


@pytest.fixture(scope="module")
def undisturbed(ray_address, tmp_path_factory):
    """What both learners are at the end of a deterministic job."""
    run = job(tmp_path_factory.mktemp("undisturbed") / "run", ray_address, **PHASED)
    drive(run)
    audit(run)
    return digests(run)


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_one_job_survives_all_deaths(processes, wires, ray_address, tmp_path, undisturbed):
    """With learners of two processes, it is now this one and now that one that dies."""
    run = job(tmp_path / "run", ray_address, **PHASED, **{"workers.learners": processes})
    later = ("miner.append", "miner.mined")  # with the death that comes first they would kill one batch three times
    for place in PLACES:
        if place not in later:
            wires.lay(place)

    async def one_after_another(_):
        for place in later:
            there = len(batches(run))
            await until(lambda: len(batches(run)) > there)  # noqa: B023
            wires.lay(place)
            await until(lambda: wires.tripped(place))  # noqa: B023

    parts = drive(run, one_after_another, seconds=500)
    assert [place for place in PLACES if not wires.tripped(place)] == []
    deaths = parts.supervisor.deaths + parts.training.revivals
    least = {kind: 1 if processes > 1 and kind.endswith("learner") else len(STATES[kind]) for kind in STATES}
    assert all(deaths[kind] >= least[kind] for kind in STATES), deaths  # two processes may die as one
    audit(run)
    assert digests(run) == undisturbed


@pytest.mark.long
@pytest.mark.parametrize("schedule", ["continuous", "phased"])
@pytest.mark.parametrize("place", PLACES)
def test_a_death_changes_nothing(place, schedule, wires, ray_address, tmp_path, undisturbed):
    run = job(tmp_path / "run", ray_address, **(PHASED if schedule == "phased" else {}))
    wires.lay(place)
    drive(run)
    assert wires.tripped(place)
    audit(run)
    if schedule == "phased":
        assert digests(run) == undisturbed
