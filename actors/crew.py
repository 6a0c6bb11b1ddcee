"""All actors of a run: where each of them is placed, started and closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from actors import simulated
from actors.control import Control
from actors.executor import EXECUTED_AT_ONCE, Executor
from actors.generator import Generator
from actors.miner import MINED_AT_ONCE, Miner
from actors.policy_learner import PolicyLearner
from actors.ranks import Ranks
from actors.reward_learner import RewardLearner
from actors.scorer import Scorer
from actors.seats import Host, Seat, Seats
from actors.streams import Pool
from actors.telemetry import Timeline
from roles.config import Config, ConfigError
from roles.sampling.settings import ENGINE_ENV
from roles.simulation import Simulation

WorkerRole = Literal["generator", "executor", "scorer", "miner"]
LearnerRole = Literal["policy learner", "reward learner"]
ROLES = ("generator", "executor", "scorer", "learner")  # Ray resources; see cluster.yaml
RESOURCE = dict.fromkeys(("miner", *get_args(LearnerRole)), "learner")
NAMESPACE = "rewardranker"
_AT_ONCE = {"executor": EXECUTED_AT_ONCE, "miner": MINED_AT_ONCE}
_COLLECT_SECONDS = 2.0
_COLLECTED_A_SECOND = 100  # workers at most: heartbeats are not to keep the driver busy
_LEARNERS = 2  # of the policy and of the reward model
_STARTS = 3  # of Ray
_PLENTY = 1000.0  # a Ray of our own has room for every worker: the processes share the cores
_CLUSTER = Path("~/ray_bootstrap_config.yaml")  # on the head of a cluster that `ray up` made; the head comes first
_NODES_SECONDS = 1800.0  # for machines to be had and set up
_ROOT = Path(__file__).parent.parent


def connect(config: Config) -> str:
    """Join the Ray cluster of this machine, or start a Ray of the run's own. Returns the dashboard's address or ''.

    Waits for nodes that `ray up` is still making. Raises `ConfigError` when the cluster does not offer the resources
    that the roles are placed by.
    """
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of calls that nobody awaits when a run is broken off
    environment = {**ENGINE_ENV, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    options: dict[str, Any] = {
        "namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR",
        "runtime_env": {"env_vars": environment},
    }  # fmt: skip
    address = config.cluster.address
    if address == "auto":
        address = _started() or "local"
    being_made = address != "local" and _CLUSTER.expanduser().exists()
    if address == "local":
        os.environ.setdefault("RAY_worker_niceness", "0")  # the default, 15, lets anything else starve a run
        options |= {
            "num_cpus": os.cpu_count(), "resources": dict.fromkeys(ROLES, _PLENTY),
            "object_store_memory": config.cluster.object_store_bytes, "include_dashboard": config.cluster.dashboard,
        }  # fmt: skip
    elif (refused := _refused(address)) is not None:
        raise ConfigError(
            f"cluster.address = {address!r}: no Ray answers ({refused}); allowed are auto, local and host:port"
        )
    context = _init(address, options)
    _await_roles(address, _NODES_SECONDS if being_made else 0.0)
    engines = config.workers.generators * config.engine.tensor_parallel_size
    needed = engines + config.workers.scorers + _LEARNERS * config.workers.learners
    there = int(ray.cluster_resources().get("GPU", 0))
    if config.model.device == "cuda" and there < needed and not being_made:  # to such a cluster Ray adds nodes
        ray.shutdown()
        raise ConfigError(
            f"model.device = cuda: generators, scorers and learners need {needed} GPUs, and there are {there}; "
            "allowed are fewer workers, more GPUs, or cpu"
        )
    return context.dashboard_url or ""


def _init(address: str, options: dict[str, Any]) -> Any:
    """What `ray.init` returns. It gives up after 30 seconds, which a busy machine may need: then it is asked again."""
    for attempt in range(1, _STARTS + 1):
        try:
            return ray.init(address=address, **options)
        except Exception as error:
            ray.shutdown()
            if attempt == _STARTS or "timed out during startup" not in str(error):
                raise


def _await_roles(address: str, seconds: float) -> None:
    """Until there is a node for each role. Raises `ConfigError`."""
    begun, awaited = time.monotonic(), None
    while missing := [role for role in ROLES if role not in ray.cluster_resources()]:
        if time.monotonic() - begun >= seconds:
            ray.shutdown()
            raise ConfigError(f"cluster.address = {address!r}: no node offers the resources {missing}")
        if missing != awaited:
            print(f"waiting for nodes of the cluster that offer the resources {missing}", flush=True)
        awaited = missing
        time.sleep(2)


def _started() -> str | None:
    """The address of the Ray that `ray start` left on this machine.

    What Ray itself finds by `auto` may be one that another run has for its own, and takes away when it ends.
    """
    noted = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    address = os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.exists() else "")
    return address if address and _refused(address) is None else None


def _refused(address: str) -> Exception | None:
    """Why nobody answers at host:port; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        return error
    return None


class Crew:
    """The actors of a run. They load their models in parallel."""

    def __init__(self, config: Config, run_dir: Path, control: Control, timeline: Timeline) -> None:
        self._config, self._run_dir, self._control, self._timeline = config, run_dir, control, timeline
        self._hired = Counter[str]()
        self._classes: dict[str, Any] = {}  # by role: Ray keeps each that is made, for as long as the run lasts
        self._seats: dict[str, Seats] = {}  # of simulated workers that share actors
        self._room: dict[LearnerRole, PlacementGroup] = {}  # asked for processes that are wanted and not there
        self._learners: dict[LearnerRole, tuple[Any, asyncio.Task[None]]] = {}  # with what says that it has come up
        for role in get_args(LearnerRole):
            self._bring(role, config.workers.learners)
        self._workers: dict[WorkerRole, list[Any]] = {role: [] for role in get_args(WorkerRole)}

    def pools(self) -> dict[WorkerRole, Pool]:
        """A pool for the workers of each role, which are still to come."""
        config = self._config
        calls = {"miner": MINED_AT_ONCE}
        if config.simulate is None:
            calls |= {"generator": config.sampling.batches_in_flight, "executor": EXECUTED_AT_ONCE}
        return {
            role: Pool(calls_each=calls.get(role, 1), seconds=config.cluster.lease_seconds)
            for role in get_args(WorkerRole)
        }

    def hire(self, role: WorkerRole) -> Any:
        """A new worker, which may still be on its way up."""
        worker = self._new(role)
        self._workers[role].append(worker)
        return worker

    def dismiss(self, role: WorkerRole, worker: Any) -> None:
        """End a worker, dead or not, if it is still one."""
        if worker in self._workers[role]:
            self._workers[role].remove(worker)
            end(worker)

    async def learner(self, role: LearnerRole) -> Any:
        """The learner, once it has come up. Raises Ray's error when it died before."""
        learner, up = self._learners[role]
        await asyncio.shield(up)  # others wait for it too
        return learner

    def replace(self, role: LearnerRole, processes: int) -> None:
        """Put a new learner, without any state, in the place of one, dead or not."""
        end(self._learners[role][0])
        self._bring(role, processes)

    async def fitting(self, role: LearnerRole) -> int:
        """How many processes a learner should have: as many as are wanted, once there is room for them.

        Until then the room is asked of Ray, which a cluster's autoscaler hears.
        """
        wanted, there = self._control.wanted["learner"], self.processes(role)
        more = wanted - there
        if role in self._room and self._room[role].bundle_count != more:
            remove_placement_group(self._room.pop(role))
        if more <= 0:
            return wanted
        if role not in self._room:
            bundle = {"learner": 1, "GPU": gpus_of(self._config, role)}
            self._room[role] = placement_group([{name: n for name, n in bundle.items() if n}] * more)
            await asyncio.to_thread(self._room[role].wait, 1)  # there may be room already
        if placement_group_table(self._room[role])["state"] != "CREATED":
            return there
        remove_placement_group(self._room.pop(role))
        return wanted

    def processes(self, role: LearnerRole) -> int:
        learner, _ = self._learners[role]
        return len(learner.actors) if isinstance(learner, Ranks) else 1

    async def collect(self, actor: Any) -> None:
        """Bring what `actor` recorded since the last time into the timeline. Raises Ray's error when it is dead."""
        try:
            self._timeline.add(await actor.drain.remote())
        except ray.exceptions.ObjectLostError as error:
            raise ray.exceptions.RayActorError(error_msg="its node died, with what it had recorded") from error

    async def collect_from(self, worker: Any) -> None:
        """Collect from `worker` for as long as it lives.

        Raises Ray's error when it dies, and `TimeoutError` when it does not answer.
        """
        while True:
            everyone = sum(map(len, self._workers.values()))
            await asyncio.sleep(max(_COLLECT_SECONDS, everyone / _COLLECTED_A_SECOND))
            async with asyncio.timeout(self._config.cluster.heartbeat_seconds):  # `wait_for` may swallow a cancellation
                await asyncio.shield(self.collect(worker))  # what it hands over is not lost

    async def collect_from_learners(self) -> None:
        """For ever; end one that does not answer."""
        await asyncio.gather(*(self._collect_from_learner(role) for role in get_args(LearnerRole)))

    async def farewell(self, actor: Any) -> None:
        """Collect once more, and end the engine or the jails of `actor` if it has some."""
        with contextlib.suppress(ray.exceptions.RayError):  # it is dead already, which is what closing is for
            await self.collect(actor)
            if hasattr(actor, "close"):
                await actor.close.remote()

    async def close(self) -> None:
        everyone = [worker for workers in self._workers.values() for worker in workers]
        everyone += [learner for learner, _ in self._learners.values()]
        leaving = [asyncio.ensure_future(self.farewell(actor)) for actor in everyone]
        await asyncio.wait(leaving, timeout=5)

    async def _collect_from_learner(self, role: LearnerRole) -> None:
        while True:
            learner, up = self._learners[role]
            try:
                await asyncio.shield(up)  # which may take long
                await self.collect_from(learner)
            except ray.exceptions.RayActorError:
                await asyncio.sleep(_COLLECT_SECONDS)  # whoever works with it has it replaced
            except TimeoutError:
                end(learner)

    def _bring(self, role: LearnerRole, processes: int) -> None:
        actors = [self._new(role) for _ in range(processes)]
        learner = actors[0] if processes == 1 else Ranks(actors, self._config.model.device)
        self._learners[role] = learner, asyncio.create_task(self.collect(learner))

    def _new(self, role: WorkerRole | LearnerRole) -> Any:
        config = self._config
        name = f"{role} {self._hired[role]}" if role in get_args(WorkerRole) else role
        self._hired[role] += 1
        model, device, seed = str(config.model.folder), config.model.device, config.seed
        if (times := config.simulate) is not None and role != "miner":
            return self._simulated(role, name, times)
        match role:
            case "generator":
                return self._place(Generator, role, name, model, config.engine, config.parity_limit)
            case "executor":
                executor = config.executor
                return self._place(Executor, role, name, executor.limits, executor.jails, executor.minimum_tier)
            case "scorer":
                return self._place(Scorer, role, name, model, config.reward, device)
            case "miner":
                return self._place(Miner, role, name, self._run_dir / "ledger", config.mining, seed)
            case "policy learner":
                return self._place(
                    PolicyLearner, role, name, model, self._run_dir, config.policy, config.sampling.temperature,
                    device, seed, config.learning,
                )  # fmt: skip
            case "reward learner":
                return self._place(
                    RewardLearner, role, name, model, self._run_dir, config.reward, device, seed, config.learning
                )

    def _simulated(self, role: WorkerRole | LearnerRole, name: str, times: Simulation) -> Any:
        if role == "policy learner":
            return self._place(simulated.SimulatedPolicyLearner, role, name, times)
        if role == "reward learner":
            groups = self._config.reward.groups_per_iteration
            return self._place(simulated.SimulatedRewardLearner, role, name, times, groups)
        kind, each = simulated.WORKERS[role], times.workers_per_process
        if each == 1:
            return self._place(kind, role, name, times)
        if role not in self._seats:
            self._seats[role] = Seats(kind, each, lambda: self._place(Host, role, kind, each, times))
        return self._seats[role].take(name)

    def _place(self, kind: type, role: WorkerRole | LearnerRole, *arguments: Any) -> Any:
        if role not in self._classes:
            self._classes[role] = self._class(kind, role)
        return self._classes[role].remote(*arguments)

    def _class(self, kind: type, role: WorkerRole | LearnerRole) -> Any:
        gpus = gpus_of(self._config, role)
        options: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus, "resources": {RESOURCE.get(role, role): 1}}
        if kind is Host:
            options["max_concurrency"] = 1000
        elif role == "generator":
            options["max_concurrency"] = 64
        else:
            if role in _AT_ONCE:
                options["max_concurrency"] = _AT_ONCE[role]
            options["concurrency_groups"] = {"control": 1}
        return ray.remote(**options)(kind)


def end(actor: Any) -> None:
    """Kill `actor`, whatever it is doing."""
    if isinstance(actor, Seat):
        actor.leave()
    elif isinstance(actor, Ranks):
        for each in actor.actors:
            ray.kill(each)
    else:
        ray.kill(actor)


def gpus_of(config: Config, role: WorkerRole | LearnerRole) -> int:
    """What an actor takes of its node, all of it of one node: the parts of an engine are not spread."""
    if config.model.device == "cpu" or role in ("executor", "miner"):
        return 0
    return config.engine.tensor_parallel_size if role == "generator" else 1
