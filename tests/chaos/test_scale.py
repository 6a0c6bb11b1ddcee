"""Workers are added to a running job and taken away, five times; their number follows, and nothing is lost."""

import time

import pytest
from scenarios import actors, audit, driven, wait_for

import driver
from roles.run_folder import existing

MANY = ["generators=4", "executors=3", "scorers=2", "learners=2"]
FEW = ["generators=1", "executors=1", "scorers=1", "learners=1"]
KINDS = {
    "generator": "FaultyGenerator", "executor": "FaultyExecutor", "scorer": "FaultyScorer",
    "learner": "FaultyPolicyLearner",
}  # fmt: skip
SLOW = {"simulate": "{sample_seconds: [0.4], execute_seconds: 0.05}", "reward.groups_per_iteration": 300}


def workers() -> dict[str, int]:
    titles = [" ".join(process.cmdline()) for process in actors()]
    return {role: sum(kind in title for title in titles) for role, kind in KINDS.items()}


def rate(folder, seconds: float = 4) -> float:
    """Batches that reach the ledger in a second."""
    before = len(list(folder.glob("ledger/*-*")))
    time.sleep(seconds)
    return (len(list(folder.glob("ledger/*-*"))) - before) / seconds


@pytest.mark.long
def test_workers_are_scaled_up_and_down_five_times(ray_address, tmp_path):
    folder = tmp_path / "run"
    with driven(folder, ray_address, **SLOW) as process:
        wait_for(lambda: list(folder.glob("ledger/*-*")), process)
        rates = {"few": [rate(folder)], "many": []}
        for _ in range(5):
            for name, changes in (("many", MANY), ("few", FEW)):
                driver.scale(changes, folder)
                wanted = {change.partition("s=")[0]: int(change[-1]) for change in changes}
                wait_for(lambda: workers() == wanted, process)  # noqa: B023
                rates[name].append(rate(folder))
        print("batches per second:", {name: [round(r, 1) for r in found] for name, found in rates.items()})
        process.join(240)
        assert process.exitcode == 0
    audit(existing(folder))
