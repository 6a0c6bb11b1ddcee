"""Simulated jobs driven inside the test's process, so that it holds their actors; and what must be true of each."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import pickle
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from faulty import WORKERS, FaultyMiner, FaultyPolicyLearner, FaultyRewardLearner
from ray._private.internal_api import node_stats
from wires import VARIABLE

import driver
from actors import admission, control, crew, stages, supervisor, training
from roles import config, run_folder
from roles.mining import ledger
from roles.problems import suites
from roles.ranking import report as reports
from roles.records import Candidate, Pair, Score, Verdict
from roles.run_folder import Inputs, Run

ROOT = Path(__file__).parent.parent.parent
GROUPS, STEPS, ITERATIONS, SAMPLES = 8, 3, 2, 4
SETTINGS = {
    "simulate": "{sample_seconds: [0.05, 0.02, 0.1], execute_seconds: 0.02, policy_step_seconds: 0.05}",
    "iterations": ITERATIONS, "sampling.n": SAMPLES, "sampling.problems_per_batch": 4,
    "reward.groups_per_iteration": 12, "policy.groups_per_step": GROUPS, "policy.steps_per_iteration": STEPS,
    "policy.checkpoint_every": 2, "evaluation.problems": 4, "evaluation.n": 2, "sft.problems": 8,
}  # fmt: skip
Scenario = Callable[["Parts"], Awaitable[None]]


@dataclasses.dataclass
class Parts:
    """Of a running job, in the order in which the driver makes them."""

    run: Any = None
    control: Any = None
    crew: Any = None
    admission: Any = None
    stages: Any = None
    supervisor: Any = None
    training: Any = None
    stopped: bool = False

    @property
    def pools(self) -> dict[str, Any]:
        found: dict[str, Any] = self.supervisor._pools
        return found


@functools.cache
def inputs() -> Inputs:
    train = suites.load("pocket", "train")
    return Inputs(train[:8], train[8:128], suites.load("pocket", "test")[:4], [])


def settings(folder: Path, address: str, **other: object) -> list[str]:
    values = {**SETTINGS, "run_dir": folder, "cluster.address": address, **other}
    return [f"{name}={value}" for name, value in values.items()]


def job(folder: Path, address: str, **other: object) -> Run:
    """A run in `folder`, new or to be continued."""
    run = run_folder.prepare(config.load(driver.POCKET, settings(folder, address, **other)))
    run_folder.begin(run)
    return run


def drive(run: Run, *scenarios: Scenario, seconds: float = 280) -> Parts:
    """Train, with the faulty actors, while the scenarios happen. Raises what the job raises."""
    with rigged(*scenarios, seconds=seconds) as parts:
        parts.stopped = not asyncio.run(driver.train(run, inputs()))
    return parts


@contextmanager
def rigged(*scenarios: Scenario, seconds: float = 280) -> Iterator[Parts]:
    """While the context lasts, training has the faulty actors and the scenarios happen to it.

    A scenario that is not through when the job ends has failed.
    """
    parts, train = Parts(), driver.train

    def kept(name: str, kind: type) -> Any:
        def make(*arguments: Any) -> Any:
            made = kind(*arguments)
            setattr(parts, name, made)
            return made

        return make

    async def disturbed(run: Run, inputs: Inputs) -> bool:
        parts.run = run
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            happening = [tasks.create_task(scenario(parts)) for scenario in scenarios]
            ended = await train(run, inputs)
            assert all(task.done() for task in happening), "the job ended before what was to happen to it"
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "train", disturbed)
        patch.setattr(crew, "_COLLECT_SECONDS", 0.1)
        patch.setattr(crew, "Miner", FaultyMiner)
        for role, kind in WORKERS.items():
            patch.setitem(crew.simulated.WORKERS, role, kind)
        patch.setattr(crew.simulated, "SimulatedPolicyLearner", FaultyPolicyLearner)
        patch.setattr(crew.simulated, "SimulatedRewardLearner", FaultyRewardLearner)
        for module, kind in (
            (control, "Control"), (crew, "Crew"), (admission, "Admission"), (stages, "Stages"),
            (supervisor, "Supervisor"), (training, "Training"),
        ):  # fmt: skip
            patch.setattr(module, kind, kept(kind.lower(), getattr(module, kind)))
        yield parts


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def batches(run: Run) -> list[str]:
    return ledger.batches(run.folder / "ledger")


def audit(run: Run) -> None:
    """Complete, nothing lost, nothing learnt twice, nothing left."""
    report = reports.read(run.report)
    wanted = GROUPS * run.config.policy.steps_per_iteration * run.config.iterations
    assert report.invariant == {
        "submitted": wanted, "trained": wanted, "dropped": 0, "running": 0, "trained_twice": 0,
    }  # fmt: skip
    assert report.counts["quarantined"] == 0
    assert len({row["policy"] for row in report.table}) == 2 + run.config.iterations
    check_ledger(run)
    check_learnt(run)
    assert left() == []


def check_ledger(run: Run) -> None:
    """Batches below the frontier are all there, with all their records, once."""
    folder, names = run.folder / "ledger", batches(run)
    numbers = [int(name.partition("-")[0]) for name in names]
    frontier = max((state["position"] for state in learners(run).values()), default=0)
    assert Counter(number for number in numbers if number < frontier) == Counter(range(frontier))
    for name in names:
        ids = [candidate.id for candidate in ledger.read_batch(folder, name, Candidate)]
        assert len(set(ids)) == len(ids) == run.config.sampling.problems_per_batch * run.config.sampling.n
        for kind in (Verdict, Score):
            assert [record.candidate_id for record in ledger.read_batch(folder, name, kind)] == ids
        assert {pair.chosen_id for pair in ledger.read_batch(folder, name, Pair)} <= set(ids)


def check_learnt(run: Run) -> None:
    """Each learner learnt what the ledger has for it below its position, once."""
    folder, learnt = run.folder / "ledger", learners(run)
    for kind, state in learnt.items():
        of_kind = [name for name in batches(run) if kind == "reward" or name.endswith("-policy")]
        below = [name for name in of_kind if int(name.partition("-")[0]) < state["position"]]
        if kind == "reward":
            below = [name for name in below if ledger.read_batch(folder, name, Pair)]
        groups = {candidate.group_id for name in below for candidate in ledger.read_batch(folder, name, Candidate)}
        assert state["learnt"] == Counter(groups), kind


def learners(run: Run) -> dict[str, dict[str, Any]]:
    """What the checkpoints hold."""
    paths = {kind: run.folder / "checkpoints" / f"{kind}.pt" for kind in ("policy", "reward")}
    return {kind: pickle.loads(path.read_bytes()) for kind, path in paths.items() if path.exists()}


def digests(run: Run) -> dict[str, str]:
    return {kind: state["digest"].hex() for kind, state in learners(run).items()}


def fill(disk: Path) -> None:
    """To the last byte."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


def used_bytes() -> int:
    """Of the object store."""
    (node,) = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return int(stats.store_stats.object_store_bytes_used)


def left(seconds: float = 15) -> list[str]:
    """Actors that are still there though their job is gone; they have some time to go."""
    _, living = psutil.wait_procs(actors(), timeout=seconds)
    return [str(process) for process in living]


def actors() -> list[psutil.Process]:
    """Processes of the actors of these tests."""
    return [process for process in psutil.process_iter() if _is_actor(process)]


def title(process: psutil.Process) -> str:
    """What an actor calls itself, or '' when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_actor(process: psutil.Process) -> bool:
    try:
        ours = title(process).startswith("ray::Faulty") and process.status() != "zombie"
        return ours and process.environ().get(VARIABLE) == os.environ[VARIABLE]
    except psutil.Error:
        return False


def driven(folder: Path, address: str, **other: object) -> AbstractContextManager[BaseProcess]:
    """A job with a process of its own as its driver, which dies with the context."""
    return started(_driven, folder, address, other)


@contextmanager
def started(target: Callable[..., None], *arguments: object) -> Iterator[BaseProcess]:
    """A process of its own for `target`, without what earlier tests left in this one. It dies with the context."""
    forking = multiprocessing.get_context("forkserver")  # it has imported what takes seconds to import
    forking.set_forkserver_preload(["scenarios", "actors.crew", "actors.results"])
    process = forking.Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _driven(folder: Path, address: str, other: dict[str, object]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        drive(job(folder, address, **other), seconds=580)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def wait_for(condition: Callable[[], object], process: BaseProcess) -> None:
    """Until `condition` holds of the job that `process` drives. Raises `AssertionError` when that ends before."""
    while not condition():
        assert process.is_alive(), f"exit status {process.exitcode}"
        time.sleep(0.02)
