"""Workers are added to a running job and taken away, five times; their number follows, and nothing is lost."""

import time

import pytest
from scenarios import actors, batches, check_learnt, check_ledger, driven, left, title, wait_for

import driver
from roles.run_folder import existing

MANY = ["generators=4", "executors=3", "scorers=2", "learners=2"]
FEW = ["generators=1", "executors=1", "scorers=1", "learners=1"]
KINDS = {
    "generator": "FaultyGenerator", "executor": "FaultyExecutor", "scorer": "FaultyScorer",
    "learner": "FaultyPolicyLearner",
}  # fmt: skip
SLOW = {"simulate": "{sample_seconds: [0.4], execute_seconds: 0.05}", "policy.steps_per_iteration": 10_000}


def workers() -> dict[str, int]:
    titles = list(map(title, actors()))
    return {role: sum(kind in title for title in titles) for role, kind in KINDS.items()}


def written(folder) -> int:
    """Batches in the ledger."""
    return len(list(folder.glob("ledger/*-*")))


def rate(folder, process, seconds: float = 6) -> float:
    """Batches that reach the ledger in a second, once those that are being started work."""
    before = written(folder)
    wait_for(lambda: written(folder) > before + 4, process)
    before = written(folder)
    time.sleep(seconds)
    return (written(folder) - before) / seconds


@pytest.mark.long
def test_workers_are_scaled_up_and_down_five_times(ray_address, tmp_path):
    folder = tmp_path / "run"
    with driven(folder, ray_address, **SLOW) as process:
        rates = {"few": [rate(folder, process)], "many": []}
        for _ in range(5):
            for name, changes in (("many", MANY), ("few", FEW)):
                driver.scale(changes, folder)
                wanted = {change.partition("s=")[0]: int(change[-1]) for change in changes}
                wait_for(lambda: workers() == wanted, process)  # noqa: B023
                rates[name].append(rate(folder, process))
        print("batches per second:", {name: [round(r, 1) for r in found] for name, found in rates.items()})
        driver.stop(folder)
        process.join(60)
        assert process.exitcode == 0
    run = existing(folder)
    assert [int(name.partition("-")[0]) for name in batches(run)] == list(range(len(batches(run))))
    check_ledger(run)
    check_learnt(run)
    assert left() == []
