"""Executors: candidates in, verdicts out. A few warm jails each."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import ray

from actors.messages import Executed
from actors.telemetry import Drained, Recorder
from roles.records import Candidate, Problem, Verdict, from_batch, to_batch
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

EXECUTED_AT_ONCE = 2  # so that the jails are busy while the last programs of a batch still run


class Executor:
    """Serves `EXECUTED_AT_ONCE` calls at a time on `jails` jails."""

    def __init__(self, name: str, limits: Limits, jails: int, minimum_tier: int) -> None:
        self._recorder = Recorder(name)
        with self._recorder.span("start", 1):
            self._judge = Judge(limits, jails, minimum_tier)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    def execute(self, problems: pa.RecordBatch, candidates: pa.RecordBatch) -> tuple[Executed, pa.RecordBatch]:
        """A receipt, and the verdicts in the order of the candidates."""
        by_id = {problem.id: problem for problem in from_batch(Problem, problems)}
        work = [(by_id[candidate.problem_id], candidate) for candidate in from_batch(Candidate, candidates)]
        with self._recorder.span("execute", len(work)):
            ordered = list(self._judge.judge_all(work))
        statuses: Counter[str] = Counter(verdict.status for verdict in ordered)
        table = to_batch(Verdict, ordered)
        return Executed(self._recorder.actor, statuses, self._judge.load, table.nbytes), table

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def drain(self) -> Drained:
        return self._recorder.drain()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def close(self) -> None:
        self._judge.close()
