"""All actors of a run: where each of them is placed, started and closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import ray

from actors.control import Control
from actors.executor import BATCHES_AT_ONCE, Executor
from actors.generator import Generator
from actors.miner import Miner
from actors.policy_learner import PolicyLearner
from actors.reward_learner import RewardLearner
from actors.scorer import Scorer
from actors.telemetry import Timeline
from roles.config import Config, ConfigError
from roles.sampling.settings import ENGINE_ENV

WorkerRole = Literal["generator", "executor", "scorer"]
ROLES = ("generator", "executor", "scorer", "learner")  # Ray resources; see cluster.yaml
NAMESPACE = "rewardranker"
_COLLECT_SECONDS = 2.0
_LEARNERS = 2  # of the policy and of the reward model
_PLENTY = 1000.0  # a Ray of our own has room for every worker: the processes share the cores
_ROOT = Path(__file__).parent.parent


def connect(config: Config) -> str:
    """Join the Ray cluster of this machine, or start a Ray of the run's own. Returns the dashboard's address or ''.

    Raises `ConfigError` when the cluster does not offer the resources that the roles are placed by.
    """
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of calls that nobody awaits when a run is broken off
    environment = {**ENGINE_ENV, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    options: dict[str, Any] = {
        "namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR",
        "runtime_env": {"env_vars": environment},
    }  # fmt: skip
    address = config.cluster.address
    if address not in ("auto", "local"):
        _answers(address)
    try:
        if address == "local":
            raise ConnectionError
        context = ray.init(address=address, **options)
    except ConnectionError:
        if address not in ("auto", "local"):
            raise
        os.environ.setdefault("RAY_worker_niceness", "0")  # the default, 15, lets anything else starve a run
        context = ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            resources=dict.fromkeys(ROLES, _PLENTY),
            object_store_memory=config.cluster.object_store_bytes,
            include_dashboard=config.cluster.dashboard,
            **options,
        )
    missing = [role for role in ROLES if role not in ray.cluster_resources()]
    if missing:
        ray.shutdown()
        raise ConfigError(f"cluster.address = {address!r}: no node offers the resources {missing}")
    if config.model.device == "cuda":
        needed = config.workers.generators + config.workers.scorers + _LEARNERS
        if (there := int(ray.cluster_resources().get("GPU", 0))) < needed:
            ray.shutdown()
            raise ConfigError(
                f"model.device = cuda: generators, scorers and learners need {needed} GPUs, and there are {there}; "
                "allowed are fewer workers, more GPUs, or cpu"
            )
    return context.dashboard_url or ""


def _answers(address: str) -> None:
    """Ray itself tries for minutes. Raises `ConfigError`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cluster.address = {address!r}: no Ray answers ({error}); allowed are auto, local and host:port"
        ) from error


def control_name(run_dir: Path) -> str:
    """Of the actor by which a run is scaled, in Ray's namespace `NAMESPACE`."""
    return f"control of {run_dir}"


class Crew:
    """The actors of a run. They load their models in parallel."""

    def __init__(self, config: Config, run_dir: Path, run_id: str) -> None:
        self._config, self._hired = config, Counter[str]()
        model, device, seed, learning = str(config.model.folder), config.model.device, config.seed, config.learning
        self.policy_learner = self._place(
            PolicyLearner, "learner", "policy learner", model, run_dir, config.policy, config.sampling.temperature,
            device, seed, learning,
        )  # fmt: skip
        self.generators = [self._new("generator") for _ in range(config.workers.generators)]
        self.reward_learner = self._place(
            RewardLearner, "learner", "reward learner", model, run_dir, config.reward, device, seed, learning
        )
        self.executors = [self._new("executor") for _ in range(config.workers.executors)]
        self.scorers = [self._new("scorer") for _ in range(config.workers.scorers)]
        self.miner = self._place(Miner, "learner", "miner", run_dir / "ledger", run_id, config.mining, seed)
        self._workers: dict[WorkerRole, list[Any]] = {
            "generator": self.generators, "executor": self.executors, "scorer": self.scorers,
        }  # fmt: skip
        wanted = {role: len(workers) for role, workers in self._workers.items()}
        self.control = ray.remote(num_cpus=0)(Control).options(name=control_name(run_dir)).remote(wanted)

    @property
    def learners(self) -> list[Any]:
        """Those that hold state."""
        return [self.miner, self.reward_learner, self.policy_learner]

    def hire(self, role: WorkerRole) -> Any:
        """A new worker, which may still be on its way up."""
        worker = self._new(role)
        self._workers[role].append(worker)
        return worker

    def dismiss(self, role: WorkerRole, worker: Any) -> None:
        """End a worker, dead or not, if it is still one."""
        if worker in self._workers[role]:
            self._workers[role].remove(worker)
            ray.kill(worker)

    async def collect(self, timeline: Timeline) -> None:
        """Bring what the learners recorded into `timeline`, for ever. Raises Ray's error when one of them dies."""
        await asyncio.gather(*(self._collect(learner, timeline) for learner in self.learners))

    async def collect_from(self, worker: Any, timeline: Timeline) -> None:
        """Bring what `worker` recorded into `timeline` for as long as it lives."""
        with contextlib.suppress(ray.exceptions.RayActorError):
            await self._collect(worker, timeline)

    async def farewell(self, actor: Any, timeline: Timeline) -> None:
        """Collect once more, and end the engine or the jails of `actor` if it has some."""
        with contextlib.suppress(ray.exceptions.RayError):  # it is dead already, which is what closing is for
            timeline.add(await actor.drain.remote())
            if hasattr(actor, "close"):
                await actor.close.remote()

    async def close(self, timeline: Timeline) -> None:
        everyone = [*self.generators, *self.executors, *self.scorers, *self.learners]
        leaving = [asyncio.ensure_future(self.farewell(actor, timeline)) for actor in everyone]
        await asyncio.wait(leaving, timeout=5)

    async def _collect(self, actor: Any, timeline: Timeline) -> None:
        while True:
            await asyncio.sleep(_COLLECT_SECONDS)
            timeline.add(await actor.drain.remote())

    def _new(self, role: WorkerRole) -> Any:
        config, model = self._config, str(self._config.model.folder)
        name = f"{role} {self._hired[role]}"
        self._hired[role] += 1
        if role == "generator":
            return self._place(Generator, role, name, model, config.sampling.engine)
        if role == "executor":
            executor = config.executor
            return self._place(Executor, role, name, executor.limits, executor.jails, executor.minimum_tier)
        return self._place(Scorer, role, name, model, config.reward, config.model.device)

    def _place(self, kind: type, role: str, *arguments: Any) -> Any:
        gpus = 1 if self._config.model.device == "cuda" and role != "executor" and kind is not Miner else 0
        options: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus, "resources": {role: 1}}
        if kind is Generator:
            options["max_concurrency"] = 64
        else:
            if kind is Executor:
                options["max_concurrency"] = BATCHES_AT_ONCE
            options["concurrency_groups"] = {"control": 1}
        return ray.remote(**options)(kind).remote(*arguments)
