import os
import subprocess
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

pytest.register_assert_rewrite("scenarios")

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLENTY = dict.fromkeys(("generator", "executor", "scorer", "learner"), 1000.0)


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory):
    """A Ray for all jobs, whose actors find the trip-wires."""
    folder = tmp_path_factory.mktemp("wires")
    os.environ |= {
        "CHAOS_WIRES": str(folder), "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
        "RAY_worker_niceness": "0",
    }  # fmt: skip
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2, "resources": PLENTY, "object_store_memory": 100 << 20, "include_dashboard": False,
        },
    )  # fmt: skip
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def wires(ray_address):
    import wires

    wires.clear()
    yield wires
    wires.clear()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system takes more rights than we have")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
