"""All actors of a run: where each of them is placed, started and closed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import ray

from actors.executor import BATCHES_AT_ONCE, Executor
from actors.generator import Generator
from actors.miner import Miner
from actors.policy_learner import PolicyLearner
from actors.reward_learner import RewardLearner
from actors.scorer import Scorer
from actors.telemetry import Timeline
from roles.config import Config, ConfigError
from roles.sampling.settings import ENGINE_ENV

ROLES = ("generator", "executor", "scorer", "learner")  # Ray resources; see cluster.yaml
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
        "namespace": "rewardranker", "log_to_driver": False, "logging_level": "ERROR",
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


@dataclasses.dataclass(frozen=True)
class Crew:
    generators: list[Any]
    executors: list[Any]
    scorers: list[Any]
    miner: Any
    reward_learner: Any
    policy_learner: Any

    @classmethod
    def hire(cls, config: Config, run_dir: Path, run_id: str) -> Crew:
        """Create the actors; they load their models in parallel."""
        model, device, seed = str(config.model.folder), config.model.device, config.seed

        def place(kind: type, role: str, *arguments: Any) -> Any:
            gpus = 1 if device == "cuda" and role != "executor" and kind is not Miner else 0
            options: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus, "resources": {role: 1}}
            if kind is Generator:
                options["max_concurrency"] = 64
            else:
                if kind is Executor:
                    options["max_concurrency"] = BATCHES_AT_ONCE
                options["concurrency_groups"] = {"control": 1}
            return ray.remote(**options)(kind).remote(*arguments)

        return cls(
            policy_learner=place(
                PolicyLearner, "learner", "policy learner", model, run_dir, config.policy, config.sampling.temperature,
                device, seed, config.learning,
            ),
            generators=[
                place(Generator, "generator", f"generator {i}", model, config.sampling.engine)
                for i in range(config.workers.generators)
            ],
            reward_learner=place(
                RewardLearner, "learner", "reward learner", model, run_dir, config.reward, device, seed, config.learning
            ),
            executors=[
                place(
                    Executor, "executor", f"executor {i}", config.executor.limits, config.executor.jails,
                    config.executor.minimum_tier,
                )
                for i in range(config.workers.executors)
            ],
            scorers=[
                place(Scorer, "scorer", f"scorer {i}", model, config.reward, device)
                for i in range(config.workers.scorers)
            ],
            miner=place(Miner, "learner", "miner", run_dir / "ledger", run_id, config.mining, seed),
        )  # fmt: skip

    @property
    def everyone(self) -> list[Any]:
        single = [self.miner, self.reward_learner, self.policy_learner]
        return [*self.generators, *self.executors, *self.scorers, *single]

    async def collect(self, timeline: Timeline, every_seconds: float) -> None:
        """Bring what the actors recorded into `timeline`, for ever."""

        async def one(actor: Any) -> None:
            while True:
                await asyncio.sleep(every_seconds)
                timeline.add(await actor.drain.remote())

        async with asyncio.TaskGroup() as tasks:
            for actor in self.everyone:
                tasks.create_task(one(actor))

    async def close(self, timeline: Timeline) -> None:
        """Collect once more, then end engines and jails."""
        drained = await asyncio.gather(*(actor.drain.remote() for actor in self.everyone), return_exceptions=True)
        for entry in drained:
            if not isinstance(entry, BaseException):
                timeline.add(entry)
        closing = [actor.close.remote() for actor in [*self.generators, *self.executors]]
        await asyncio.wait([asyncio.ensure_future(_quietly(reference)) for reference in closing], timeout=5)


async def _quietly(reference: ray.ObjectRef) -> None:
    with contextlib.suppress(ray.exceptions.RayError):  # it is dead already, which is what closing is for
        await reference
