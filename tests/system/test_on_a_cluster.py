"""`ray up`, a run of the whole loop from where that was typed, and `ray down`: over sshd, with Ray's local provider."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml
from machine import Machine
from test_whole_loop import ROOT, SMALL

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
SETTINGS = {**SMALL, "cluster.address": "auto", "iterations": 3}


class Laptop:
    """Somebody with the project in a folder, a home, and ssh to a machine."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.project = machine, folder / "project"
        self.temporary, home = folder / "tmp", folder / "home"
        for path in (home, self.temporary):
            path.mkdir(parents=True)
        shutil.copytree(ROOT, self.project, ignore=shutil.ignore_patterns(".*", "runs", "build", "__pycache__"))
        shutil.copy(ROOT / ".gitignore", self.project)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {
            "PATH": path, "HOME": str(home), "TMPDIR": str(self.temporary), "RAY_TMPDIR": "/tmp", "LANG": "C.UTF-8",
            "RAY_UP_enable_autoscaler_v2": "0",  # see clusters/bare-metal.yaml
            "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
        }  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        return self.machine.start(command, self.project, self.temporary, self.environment)

    def type(self, *command: str, timeout: int = 400) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        process = self.start(*command)
        out, error = process.communicate(timeout=timeout)
        return process.returncode, out, error

    def driver(self, *command: str, timeout: int = 400) -> tuple[int, str, str]:
        return self.type("python", "driver.py", *command, timeout=timeout)


@pytest.fixture(scope="module")
def machines():
    """A head and a worker, and a key for both."""
    with tempfile.TemporaryDirectory(prefix="cluster") as folder:
        key = Path(folder) / "key"
        head = Machine(Path(folder) / "head", "10.77.0.1", key)
        worker = Machine(Path(folder) / "worker", "10.77.0.2", key)
        head.connect(worker)
        yield head, worker, key
        head.close()
        worker.close()


@pytest.fixture(scope="module")
def laptop(machines, tmp_path_factory):
    """A cluster is up, as clusters/bare-metal.yaml describes it, but that the executors are on the worker alone."""
    head, worker, key = machines
    laptop = Laptop(head, tmp_path_factory.mktemp("laptop"))
    text = (ROOT / "clusters" / "bare-metal.yaml").read_text()
    both = """"executor": '$(nproc --all)'}"""
    assert text.count(both) == 2
    cluster = yaml.safe_load(text.replace(f', {both}', "}", 1))
    cluster["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address]}
    cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(key)}
    cluster["setup_commands"] = [f"ln -sfn {sys.prefix} ~/rewardranker/.venv"]
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        commands[1] = f"until {commands[1]}; do ray stop; done"  # a busy machine may need more than its 30 seconds
    (laptop.project / "cluster.yaml").write_text(yaml.safe_dump(cluster, width=1000))
    status, out, error = laptop.driver("status")
    assert (status, "there is no run" in out) == (2, True), "nothing is up, so this machine is asked" + error
    assert laptop.type("ray", "get-auth-token", "--generate")[0] == 0
    status, out, error = laptop.type("ray", "up", "-y", "cluster.yaml", timeout=600)
    assert status == 0, out + error
    return laptop


def run(**other: object) -> list[str]:
    return ["run", "configs/pocket.yaml", *(f"--set={name}={value}" for name, value in {**SETTINGS, **other}.items())]


def executors(machine: Machine) -> int:
    return len([line for line in machine.processes() if line.startswith("ray::Executor")])


def jobs(machine: Machine) -> str:
    """The ends of what all jobs printed."""
    return "\n".join(path.read_text()[-2000:] for path in machine.ray.glob("session_2*/logs/job-driver-*"))


def of_ray(machine: Machine) -> list[str]:
    program = re.compile(r"ray::|raylet|gcs_server|site-packages/ray/|driver\.py")
    return [line for line in machine.processes() if program.search(line)]


def until(condition, process: subprocess.Popen[str], seconds: float = 900):
    """What `condition` returns, once it is true, while `process` goes on."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def test_a_run_is_carried_out_on_the_cluster_and_scaled_and_watched_from_here(laptop, machines):
    process = laptop.start("python", "driver.py", *run(run_dir="runs/first"))
    head, worker, _ = machines
    folder = head.home / "rewardranker" / "runs" / "first"
    until((folder / "control").exists, process)  # while the engines start, which gives the time for what follows
    status, out, error = laptop.driver("scale", "executors=2")
    assert status == 0, out + error + jobs(head)
    assert "2 executors" in out
    status, out, error = laptop.driver("status")
    assert status == 0, out + error
    assert out.startswith(f"{folder}: running"), out + jobs(head)
    until(lambda: executors(worker) == 2, process)
    assert executors(head) == 0
    out, error = process.communicate(timeout=1200)
    assert process.returncode == 0, out + error
    assert "gap closed" in out
    assert "Running entrypoint" not in out
    assert "on the cluster rewardranker" in error
    assert (folder / "report.json").exists()
    assert not (laptop.project / "runs").exists()
    assert "executor 1" in (folder / "timeline.json").read_text()
    status, table, error = laptop.driver("report")
    assert status == 0, table + error
    assert "gap closed" in table


def test_the_status_of_a_command_on_the_cluster_is_its_status_here(laptop):
    status, out, error = laptop.driver(*run(run_dir="runs/second", suite="/nowhere.jsonl"))
    assert status == 2, out + error
    assert "/nowhere.jsonl" in out
    status, out, error = laptop.driver("run", "configs/pocket.yaml", "--set=iterations=0")
    assert (status, "iterations = 0" in out) == (2, True), "said before anything is submitted"
    assert "job" not in error


def test_ctrl_c_leaves_the_run_going_stop_ends_it_and_ray_down_everything(laptop, machines):
    process = laptop.start("python", "driver.py", *run(run_dir="runs/third"))
    head, worker, _ = machines
    folder = head.home / "rewardranker" / "runs" / "third"
    until((folder / "status.json").exists, process)
    psutil.Process(process.pid).children()[0].send_signal(signal.SIGINT)  # `nsenter` does not pass it on
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert re.search(r"goes on as job raysubmit_\w+", error), error
    status, out, _ = laptop.driver("status", "runs/third")
    assert status == 0
    assert out.startswith(f"{folder}: running"), out
    status, out, error = laptop.driver("stop", "--now", "runs/third")
    assert status == 0, out + error
    assert "was stopped" in out
    status, out, error = laptop.type("ray", "down", "-y", "cluster.yaml")
    assert status == 0, out + error
    assert not of_ray(head)
    deadline = time.monotonic() + 180
    while of_ray(worker):  # nobody tells it; without a head it gives up after a minute
        assert time.monotonic() < deadline
        time.sleep(1)
    status, out, _ = laptop.driver("status", "runs/third")
    assert (status, "holds no run" in out) == (2, True), "the cluster is not up any more, so this machine is asked"
