"""Actors whose work only takes its time: the loop, its streams, weights, ledger and checkpoints without a model.

What they produce is a function of what they are given, so that whoever tests the loop can tell a lost batch, one that
was learnt twice, or a learner that continued from a wrong state: the weights of a version are a digest of everything
that it learnt, in its order.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from actors.messages import Executed, Request, Sampled, Scored
from actors.ranks import Rank
from actors.telemetry import Drained, Recorder
from roles.records import Candidate, Pair, Score, Status, Verdict, from_batch, to_batch
from roles.sandbox.judge import Load
from roles.simulation import Simulation

Packed = npt.NDArray[np.uint8]  # as in roles.weights
_TOKENS = 4  # of a candidate


class _Simulated:
    def __init__(self, name: str, times: Simulation) -> None:
        self._recorder = Recorder(name)
        self._times = times

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()


class SimulatedGenerator:
    """Takes up versions at once, also between the first and the last token of a request."""

    def __init__(self, name: str, times: Simulation) -> None:
        self._recorder = Recorder(name)
        self._times = times
        self._version = -1

    async def start(self, version: int) -> None:
        self._version = version

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    async def sample(self, problems: pa.RecordBatch, request: Request) -> tuple[Sampled, pa.RecordBatch]:
        with self._recorder.span(request.stage, request.n * problems.num_rows):
            first = self._version
            number = request.groups[0].partition("/")[0]
            times = self._times.sample_seconds
            await asyncio.sleep(times[int(number) % len(times)] if number.isdigit() else 0)
            versions = (first, *[self._version] * (_TOKENS - 1))
        tokens, log_probs = (2,) * _TOKENS, (-1.0,) * _TOKENS
        candidates = [
            Candidate(f"{group}/{i}", problem, group, f"{group}/{i}", (1,), tokens, log_probs, versions, "stop")
            for group, problem in zip(request.groups, problems.column("id").to_pylist(), strict=True)
            for i in range(request.n)
        ]
        table = to_batch(Candidate, candidates)
        return Sampled(_TOKENS * len(candidates), table.nbytes), table

    async def update(self, version: int, weights: Packed) -> None:
        self._version = version
        self._recorder.took_up("policy", version)

    async def drain(self) -> Drained:
        return self._recorder.drain()


class SimulatedExecutor(_Simulated):
    """Half of the programs pass."""

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def execute(self, problems: pa.RecordBatch, candidates: pa.RecordBatch) -> tuple[Executed, pa.RecordBatch]:
        with self._recorder.span("execute", candidates.num_rows):
            time.sleep(self._times.execute_seconds)
        statuses: list[Status] = ["passed" if _number(c) % 2 else "failed" for c in candidates.column("id").to_pylist()]
        names = zip(candidates.column("id").to_pylist(), statuses, strict=True)
        table = to_batch(Verdict, [Verdict(name, status, float(status == "passed"), ()) for name, status in names])
        load = Load(jails=1, busy=0, waiting=0, judged=0, repeated=0, retried=0, faults=0)
        return Executed(self._recorder.actor, Counter(statuses), load, table.nbytes), table


class SimulatedScorer(_Simulated):
    def __init__(self, name: str, times: Simulation) -> None:
        super().__init__(name, times)
        self._version = -1

    def update(self, version: int, weights: Packed) -> None:
        self._version = version
        self._recorder.took_up("reward", version)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def score(self, problems: pa.RecordBatch, candidates: pa.RecordBatch) -> tuple[Scored, pa.RecordBatch]:
        with self._recorder.span("score", candidates.num_rows):
            time.sleep(self._times.score_seconds)
        table = self._scores(candidates, self._version)
        return Scored(0.5, table.nbytes), table

    def rank(
        self, problems: pa.RecordBatch, candidates: pa.RecordBatch, head: str, reference: bool, version: int,
        weights: Packed,
    ) -> pa.RecordBatch:  # fmt: skip
        return self._scores(candidates, version)

    def _scores(self, candidates: pa.RecordBatch, version: int) -> pa.RecordBatch:
        names = candidates.column("id").to_pylist()
        return to_batch(Score, [Score(name, _number(f"{name} {version}") / 2**32, version) for name in names])


WORKERS = {"generator": SimulatedGenerator, "executor": SimulatedExecutor, "scorer": SimulatedScorer}


class _SimulatedLearner(_Simulated, Rank):
    """Its state is a digest; `learnt` counts how often it learnt each batch, lost lives not counted."""

    def __init__(self, name: str, times: Simulation) -> None:
        super().__init__(name, times)
        self._rank = 0
        self._state: dict[str, Any] = {"digest": b"", "version": 0, "steps": 0, "new": 0, "learnt": Counter()}

    def join(self, number: int, of: int, address: str, device: str) -> None:
        self._rank = number  # all of them compute the same

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def weights(self) -> tuple[int, Packed]:
        weights = np.zeros(self._times.weight_bytes, np.uint8)
        weights[:32] = np.frombuffer(self._state["digest"] or bytes(32), np.uint8)
        return self._state["version"], weights

    def save(self, model_folder: Path, checkpoint: Path, position: int) -> None:
        if self._rank:
            return
        aside = checkpoint.with_suffix(".part")
        aside.write_bytes(pickle.dumps({**self._state, "position": position}))
        os.replace(aside, checkpoint)

    def _restore(self, checkpoint: Path) -> int:
        self._state = pickle.loads(checkpoint.read_bytes())
        return int(self._state.pop("position"))

    def _learn(self, stage: str, seconds: float, *tables: pa.RecordBatch) -> None:
        with self._recorder.span(stage, tables[0].num_rows):
            time.sleep(seconds)
        digest = hashlib.sha256(self._state["digest"])
        for table in tables:
            digest.update(repr(table.to_pylist()).encode())
        self._state["digest"] = digest.digest()

    def _count(self, candidates: pa.RecordBatch) -> None:
        self._state["learnt"].update(set(candidates.column("group_id").to_pylist()))


class SimulatedPolicyLearner(_SimulatedLearner):
    def fine_tune(self, problems: pa.RecordBatch, settings: object) -> None:
        self._learn("fine-tune", self._times.policy_step_seconds, problems)
        self._state["version"] = 1

    def learn(self, batches: list[tuple[ray.ObjectRef, ray.ObjectRef, ray.ObjectRef]]) -> Any:
        from actors.policy_learner import PolicyProgress
        from roles.policy.trainer import PPOStep

        state = self._state
        tables = [table for references in batches for table in ray.get(list(references))]
        self._learn("train policy", self._times.policy_step_seconds, *tables)
        versions = [v for table in tables[::3] for of in table.column("policy_versions").to_pylist() for v in of]
        for table in tables[::3]:
            self._count(table)
        lags = [state["version"] - version for version in versions]
        oldest = [min(of) for table in tables[::3] for of in table.column("policy_versions").to_pylist()]
        samples_by_lag = Counter(state["version"] - version for version in oldest)
        rewards = tuple({version for table in tables[2::3] for version in table.column("reward_version").to_pylist()})
        state["version"] += 1
        state["steps"] += 1
        progress = PPOStep(0.5, sequences=sum(table.num_rows for table in tables[::3]))
        lag = sum(lags) / len(lags)
        return PolicyProgress(state["version"], state["steps"], lag, max(lags), samples_by_lag, rewards, progress)

    def restore(self, checkpoint: Path) -> tuple[int, int]:
        position = self._restore(checkpoint)
        return self._state["steps"], position


class SimulatedRewardLearner(_SimulatedLearner):
    def __init__(self, name: str, times: Simulation, groups_per_iteration: int) -> None:
        super().__init__(name, times)
        self._groups_per_iteration = groups_per_iteration

    def initialise(self, policy: Packed) -> None:
        self._state["digest"] = hashlib.sha256(policy.tobytes()).digest()

    def learn(
        self, problems: pa.RecordBatch, candidates: pa.RecordBatch, verdicts: pa.RecordBatch, pairs: pa.RecordBatch
    ) -> Any:
        from actors.reward_learner import RewardProgress
        from roles.reward.metrics import measure_pairs

        self._learn("train reward model", self._times.reward_batch_seconds, candidates, verdicts, pairs)
        self._count(candidates)
        state = self._state
        by_version = {pair.problem_id: pair.reward_version for pair in from_batch(Pair, pairs)}
        state["new"] += sum(version >= state["version"] for version in by_version.values())
        measured = {}
        if state["new"] >= self._groups_per_iteration:
            state["version"] += 1
            state["new"] = 0
            measured = {state["version"]: measure_pairs([np.array([1.0, -0.5])] * 4)}
        return RewardProgress(state["version"], state["new"], [], measured)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def control(self, settings: object) -> tuple[int, Packed]:
        return 0, np.zeros(self._times.weight_bytes, np.uint8)

    def restore(self, checkpoint: Path) -> tuple[Any, int]:
        from actors.reward_learner import RewardProgress

        position = self._restore(checkpoint)
        return RewardProgress(self._state["version"], self._state["new"], [], {}), position


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
