"""A node dies with all actors on it, and with the bytes that it kept."""

import pytest
from ray.cluster_utils import Cluster
from ray.util import placement_group_table
from scenarios import audit, batches, drive, job, until

WORKERS = ("generator", "executor", "scorer")
SOON = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture
def cluster(ray_address):
    """A head without any role, on which no bytes are kept that another node made."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False,
            "_system_config": {**SOON, "max_direct_call_object_size": 256},
        },
    )  # fmt: skip
    yield cluster
    cluster.shutdown()


def add(cluster, *roles):
    resources = dict.fromkeys(roles, 1000.0)
    return cluster.add_node(num_cpus=1, resources=resources, object_store_memory=100 << 20)


@pytest.mark.long
@pytest.mark.parametrize("roles", [WORKERS, ("learner",), (*WORKERS, "learner")], ids=["workers", "learners", "all"])
def test_a_node_dies_and_another_takes_its_place(roles, cluster, tmp_path):
    others = [role for role in (*WORKERS, "learner") if role not in roles]
    if others:
        add(cluster, *others)
    doomed = add(cluster, *roles)

    async def die(parts):
        for size in (3, 9):
            await until(lambda: len(batches(parts.run)) > size)  # noqa: B023
            nonlocal doomed
            cluster.remove_node(doomed, allow_graceful=False)
            doomed = add(cluster, *roles)

    run = job(tmp_path / "run", cluster.address)
    drive(run, die)
    audit(run)


@pytest.mark.long
def test_learners_that_have_no_room_are_asked_of_the_cluster_and_join_when_it_grows(cluster, tmp_path):
    add(cluster, *WORKERS)
    cluster.add_node(num_cpus=1, resources={"learner": 3}, object_store_memory=100 << 20)  # two learners and a miner

    def processes(parts):
        return set(parts.training.processes().values())

    async def grow(parts):
        parts.control.wanted["learner"] = 2
        await until(lambda: [group["state"] for group in placement_group_table().values()].count("PENDING") == 2)
        assert processes(parts) == {1}
        add(cluster, "learner")
        await until(lambda: processes(parts) == {2})
        parts.control.wanted["learner"] = 1
        await until(lambda: processes(parts) == {1})
        assert {group["state"] for group in placement_group_table().values()} == {"REMOVED"}
        parts.control.stopping.set()

    endless = {"iterations": 50, "reward.groups_per_iteration": 100, "policy.steps_per_iteration": 10_000}
    run = job(tmp_path / "run", cluster.address, **endless)
    assert drive(run, grow).stopped
