"""The simulated actors, and the miner, with a place for a trip-wire in each of their states (see `wires`)."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from types import SimpleNamespace

import ray
import wires

from actors.miner import Miner
from actors.simulated import (
    SimulatedExecutor,
    SimulatedGenerator,
    SimulatedPolicyLearner,
    SimulatedRewardLearner,
    SimulatedScorer,
)
from roles.mining import ledger


class _Watched:
    """An actor that is idle when nobody waits for what it does."""

    kind: str
    _busy = 0
    _joined = False

    @contextmanager
    def _at_work(self, *states: str):
        self._busy += 1
        try:
            for state in states:
                self._pass_by(state)
            yield
        finally:
            self._busy -= 1

    def _updated(self):
        states = ("update",) if self._joined else ("join", "update")
        self._joined = True
        return self._at_work(*states)

    def _pass_by(self, state: str) -> None:
        wires.pass_by(f"{self.kind}.{state}")

    def _drained(self, drained):
        if not self._busy:
            self._pass_by("idle")
        return drained


class FaultyGenerator(_Watched, SimulatedGenerator):
    kind = "generator"

    async def start(self, version):
        with self._at_work("start"):
            await super().start(version)

    @ray.method(num_returns=2)
    async def sample(self, problems, request):
        with self._at_work():
            sampled = await super().sample(problems, request)
            self._pass_by("lease" if request.stage == "sample" else "held-out")
            return sampled

    async def update(self, version, weights):
        with self._updated():
            await super().update(version, weights)

    async def drain(self):
        return self._drained(await super().drain())


class _Threaded(_Watched):
    @ray.method(concurrency_group="control")
    def drain(self):
        return self._drained(super().drain())


class FaultyExecutor(_Threaded, SimulatedExecutor):
    kind = "executor"

    @ray.method(num_returns=2)
    def execute(self, problems, candidates):
        with self._at_work("held-out" if problems.column("split")[0].as_py() == "test" else "lease"):
            return super().execute(problems, candidates)


class FaultyScorer(_Threaded, SimulatedScorer):
    kind = "scorer"

    def update(self, version, weights):
        with self._updated():
            super().update(version, weights)

    @ray.method(num_returns=2)
    def score(self, problems, candidates):
        with self._at_work("lease"):
            return super().score(problems, candidates)

    def rank(self, *arguments):
        with self._at_work("ranking"):
            return super().rank(*arguments)


class FaultyMiner(_Threaded, Miner):
    kind = "miner"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        write, written = ledger.pq.write_table, []

        def write_table(table, file, **options):
            written.append(table)
            self._pass_by("disk")
            if len(written) % 4 == 3:  # two of the four files of a batch are there
                self._pass_by("append")
            write(table, file, **options)

        ledger.pq = SimpleNamespace(write_table=write_table, read_table=ledger.pq.read_table)

    @ray.method(num_returns=2)
    def mine(self, *arguments):
        with self._at_work("lease"):
            mined = super().mine(*arguments)
            self._pass_by("mined")  # the batch is in the ledger, and nobody was told
            return mined


class _FaultyLearner(_Threaded):
    def _learn(self, stage, seconds, *tables):
        self._pass_by("fine-tune" if stage == "fine-tune" else "lease")
        super()._learn(stage, seconds, *tables)

    @ray.method(num_returns=2)
    def weights(self):
        with self._at_work("publication", f"publication of v{self._state['version']}"):
            return super().weights()

    def save(self, model_folder, checkpoint, position):
        if self._rank:
            return
        with self._at_work():
            checkpoint.with_suffix(".part").write_bytes(pickle.dumps({"half": position})[:-1])
            self._pass_by("disk")
            self._pass_by("checkpoint" if position else "checkpoint at 0")
            super().save(model_folder, checkpoint, position)
            if position:
                self._pass_by("saved")  # and nobody was told

    def restore(self, checkpoint):
        with self._at_work("restore"):
            return super().restore(checkpoint)


class FaultyPolicyLearner(_FaultyLearner, SimulatedPolicyLearner):
    kind = "policy learner"

    def fine_tune(self, *arguments):
        with self._at_work():
            return super().fine_tune(*arguments)

    def learn(self, *arguments):
        with self._at_work():
            learnt = super().learn(*arguments)
            self._pass_by("learnt")
            return learnt


class FaultyRewardLearner(_FaultyLearner, SimulatedRewardLearner):
    kind = "reward learner"

    def initialise(self, policy):
        with self._at_work("initialise"):
            super().initialise(policy)

    def learn(self, *arguments):
        with self._at_work():
            learnt = super().learn(*arguments)
            self._pass_by("learnt")
            return learnt

    @ray.method(num_returns=2)
    def control(self, settings):
        with self._at_work("control"):
            return super().control(settings)


WORKERS = {"generator": FaultyGenerator, "executor": FaultyExecutor, "scorer": FaultyScorer}
