"""What the driver knows of a running job, gathered as numbers: the live view, `status` and the metrics show these."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from actors.admission import Admission
from actors.control import Control
from actors.crew import WorkerRole
from actors.evaluation import HeldOut
from actors.stages import Counts
from actors.streams import Pool, Stream
from actors.supervisor import Supervisor
from actors.telemetry import Timeline
from actors.training import Training
from actors.usage import Worked
from actors.weights import Versions
from roles.run_status import (
    Facts,
    PolicyFacts,
    RewardModelFacts,
    RewardVersionFacts,
    SandboxFacts,
    StageFacts,
    StreamFacts,
    WorkerFacts,
)


@dataclasses.dataclass(frozen=True)
class Sources:
    """Everything that knows something."""

    counts: Counts
    streams: Sequence[Stream[Any]]
    pools: Mapping[WorkerRole, Pool]
    versions: Sequence[Versions]
    held_out: HeldOut
    admission: Admission
    control: Control
    supervisor: Supervisor
    training: Training
    timeline: Timeline

    def facts(self, doing: str, samples_per_second: float, memory_bytes: int, peak_memory_bytes: int) -> Facts:
        counts = self.counts
        return Facts(
            doing=doing,
            seconds=time.time() - self.timeline.start,
            samples=counts.samples,
            samples_per_second=samples_per_second,
            held_out_samples=self.held_out.sampled,
            tokens=counts.tokens,
            reward=_defined(counts.mean_reward),
            verdicts=dict(counts.verdicts),
            batches={"resumed": counts.resumed, "lost": counts.lost, "quarantined": counts.quarantined},
            groups=self.admission.invariant(),
            groups_limit=self.admission.limit,
            pairs=counts.pairs,
            hard_pairs=counts.hard_pairs,
            false_favourites=counts.false_favourites,
            stages=self._stages(),
            streams={stream.name: _stream(stream) for stream in self.streams},
            workers={role: self._workers(role, pool) for role, pool in self.pools.items()},
            learner_processes=self.training.processes(),
            learner_deaths=dict(self.training.revivals),
            sandbox=self._sandbox(),
            versions={versions.model: max(versions.newest, 0) for versions in self.versions},
            updates=dict(self.timeline.updates),
            pause_seconds=self.timeline.pause_seconds,
            mismatch=self.timeline.mismatch,
            trained_by_lag=dict(counts.trained_by_lag),
            reward_model=_reward_model(counts),
            policy=_policy(counts),
            memory_bytes=memory_bytes,
            peak_memory_bytes=peak_memory_bytes,
        )

    def _stages(self) -> dict[str, StageFacts]:
        streams, pools = {stream.name: stream for stream in self.streams}, self.pools
        worked = {
            "sample": pools["generator"].usage.worked,
            "execute": pools["executor"].usage.worked,
            "score": pools["scorer"].usage.worked,
            "mine": pools["miner"].usage.worked,
            "train reward model": _learner(streams["pairs"]),
            "train policy": _learner(streams["rollouts"]),
        }
        return {
            stage: StageFacts(
                worker_seconds={"busy": seconds.busy, "waiting": seconds.waiting, "blocked": seconds.blocked},
                items=self.timeline.items[stage],
            )
            for stage, seconds in worked.items()
        }

    def _workers(self, role: WorkerRole, pool: Pool) -> WorkerFacts:
        return WorkerFacts(
            wanted=self.control.wanted[role],
            actual=len(pool.workers),
            calls=pool.busy,
            calls_at_once=pool.capacity,
            deaths=self.supervisor.deaths[role],
            redelivered=pool.redelivered,
        )

    def _sandbox(self) -> SandboxFacts:
        loads = list(self.counts.executors.values())
        gone = max(0, len(loads) - len(self.pools["executor"].workers))  # the first: they have not spoken since
        return SandboxFacts(
            jails=sum(load.jails for load in loads[gone:]),
            busy=sum(load.busy for load in loads[gone:]),
            waiting=sum(load.waiting for load in loads[gone:]),
            judged=sum(load.judged for load in loads),
            repeated=sum(load.repeated for load in loads),
            retried=sum(load.retried for load in loads),
            faults=sum(load.faults for load in loads),
        )


def _learner(source: Stream[Any]) -> Worked:
    """A learner takes and works in turn, and puts into no stream: it is busy when it does not wait for input."""
    waiting = source.empty.seconds
    return Worked(max(0.0, source.empty.age - waiting), waiting, 0.0)


def _stream(stream: Stream[Any]) -> StreamFacts:
    return StreamFacts(
        items=stream.depth,
        capacity=stream.capacity,
        oldest_seconds=stream.oldest_seconds,
        taken=stream.taken,
        waited_seconds=stream.waited_seconds,
        bytes=stream.bytes,
        capacity_bytes=stream.max_bytes,
    )


def _reward_model(counts: Counts) -> RewardModelFacts | None:
    if not counts.reward or not counts.reward.steps:
        return None
    complete = None
    if counts.reward.measured:
        version, measured = max(counts.reward.measured.items())
        complete = RewardVersionFacts(
            version=version,
            pair_accuracy=_defined(measured.pair_accuracy),
            temperature=_defined(measured.temperature),
            calibration_error=_defined(measured.calibration_error),
        )
    last = counts.reward.steps[-1]
    return RewardModelFacts(loss=_defined(last.loss), pair_accuracy=_defined(last.pair_accuracy), complete=complete)


def _policy(counts: Counts) -> PolicyFacts | None:
    if not counts.policy:
        return None
    ppo = counts.policy.ppo
    return PolicyFacts(
        steps=counts.policy.steps,
        reward=_defined(ppo.reward),
        kl=_defined(ppo.kl),
        behaviour_gap=_defined(ppo.behaviour_gap),
        lag=counts.policy.lag,
        max_lag=counts.policy.max_lag,
    )


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
