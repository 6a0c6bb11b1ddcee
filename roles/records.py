"""The words every part of the system speaks: one frozen dataclass and one Arrow schema per record.

Actors exchange Arrow record batches of these records; roles work on the dataclasses. `to_batch` and `from_batch` are
the only way between the two, so a schema that drifts from its dataclass fails at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

import pyarrow as pa

Status = Literal[
    "passed", "failed", "compile_error", "runtime_error", "timeout", "memory", "output", "sandbox_fault"
]
TestKind = Literal["call", "script", "stdio", "program"]
PairKind = Literal["random", "hard"]


class RecordError(ValueError):
    """A record batch or file does not have the fields or types of the record that it should hold."""


class UntrustedVerdict(ValueError):
    """A verdict that says too little about its program was about to become a reward."""


@dataclasses.dataclass(frozen=True)
class Test:
    """One test of a problem. `call` enters the program's jail, `check` never does.

    `call`: `call` is an expression in the problem's language, evaluated after the program, and `check` a Python
    expression over `result`, the value that came back. `stdio`: `call` is standard input and `result` the text of
    standard output. `script`: `check` is a Python script that defines `check(candidate)`; it runs in a process of its
    own and reaches the program only through calls. `program`: `call` is test code that runs behind the program in one
    process and passes by exit status 0, which a program can fake: weak evidence, good for evaluation only.
    """

    __test__: ClassVar[bool] = False  # it is no test of ours, whatever pytest thinks of its name

    call: str
    check: str
    kind: TestKind = "call"


@dataclasses.dataclass(frozen=True)
class Problem:
    """Produced by a suite (`roles/problems`), consumed by generators, executors and learners."""

    id: str
    suite: str
    split: str
    language: str
    prompt: str
    entry_point: str
    tests: tuple[Test, ...]
    tests_source: str = "given"  # given | synthesised
    setup: str = ""  # code that runs in the jail after the program and before the calls
    references: tuple[str, ...] = ()  # complete programs known to be right

    @property
    def weak(self) -> bool:
        """Whether a program could forge its verdict: then it is no training reward."""
        return any(test.kind == "program" for test in self.tests)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Produced by generators, consumed by executors, scorers, learners and the miner. `text` is a complete program."""

    id: str
    problem_id: str
    group_id: str  # the samples of one request share it
    text: str
    prompt_token_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()  # of each sampled token under the policy that sampled it, temperature included
    policy_versions: tuple[int, ...] = ()  # of each sampled token
    finish_reason: str = ""  # stop | length | abort


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Produced by executors, consumed by scorers, learners, the miner and the evaluator.

    `tests` holds one status per test, in the order of the problem's tests. `status` is `passed` only if all of them
    passed. A `sandbox_fault` says nothing about the program and never becomes a reward.
    """

    candidate_id: str
    status: Status
    pass_rate: float
    tests: tuple[str, ...]
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    peak_memory_bytes: int = 0
    stderr: str = ""
    isolation_tier: int = 0
    weak: bool = False  # some of its tests were test programs, whose exit status a program can fake

    def demand_truth(self) -> None:
        """Raises `UntrustedVerdict` unless the verdict may become a reward or a pair."""
        if self.weak or self.status == "sandbox_fault":
            why = "its tests can be fooled" if self.weak else "the sandbox broke"
            raise UntrustedVerdict(f"the verdict on {self.candidate_id!r} must not train a model: {why}")


@dataclasses.dataclass(frozen=True)
class Score:
    """Produced by scorers, consumed by the policy learner, the miner and the evaluator."""

    candidate_id: str
    reward: float
    reward_version: int


@dataclasses.dataclass(frozen=True)
class Pair:
    """Produced by the miner, consumed by the reward learner."""

    problem_id: str
    chosen_id: str
    rejected_id: str
    kind: PairKind
    margin_pass_rate: float
    margin_reward: float
    reward_version: int  # the version that scored both when they were mined


_strings = pa.list_(pa.string())
_test = pa.struct([pa.field(name, pa.string(), False) for name in ("call", "check", "kind")])


def _schema(**fields: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


SCHEMAS: dict[type, pa.Schema] = {
    Problem: _schema(
        id=pa.string(), suite=pa.string(), split=pa.string(), language=pa.string(), prompt=pa.string(),
        entry_point=pa.string(), tests=pa.list_(_test), tests_source=pa.string(), setup=pa.string(),
        references=_strings,
    ),
    Candidate: _schema(
        id=pa.string(), problem_id=pa.string(), group_id=pa.string(), text=pa.string(),
        prompt_token_ids=pa.list_(pa.int32()), token_ids=pa.list_(pa.int32()), log_probs=pa.list_(pa.float32()),
        policy_versions=pa.list_(pa.int32()), finish_reason=pa.string(),
    ),
    Verdict: _schema(
        candidate_id=pa.string(), status=pa.string(), pass_rate=pa.float64(), tests=_strings, wall_ms=pa.float64(),
        cpu_ms=pa.float64(), peak_memory_bytes=pa.int64(), stderr=pa.string(), isolation_tier=pa.int8(),
        weak=pa.bool_(),
    ),
    Score: _schema(candidate_id=pa.string(), reward=pa.float64(), reward_version=pa.int32()),
    Pair: _schema(
        problem_id=pa.string(), chosen_id=pa.string(), rejected_id=pa.string(), kind=pa.string(),
        margin_pass_rate=pa.float64(), margin_reward=pa.float64(), reward_version=pa.int32(),
    ),
}

R = TypeVar("R", Problem, Candidate, Verdict, Score, Pair)


def to_batch(kind: type[R], records: Sequence[R]) -> pa.RecordBatch:
    """One Arrow batch of `records`. Raises `RecordError` when a value does not fit the schema of `kind`."""
    schema = SCHEMAS[kind]
    rows = [{name: getattr(record, name) for name in schema.names} for record in records]
    if kind is Problem:
        for row in rows:
            row["tests"] = [dataclasses.asdict(test) for test in row["tests"]]
    try:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RecordError(f"{kind.__name__}: {error}") from error


def from_batch(kind: type[R], batch: pa.RecordBatch | pa.Table) -> list[R]:
    """The records of an Arrow batch or table. Raises `RecordError` when its schema is not that of `kind`."""
    expected = SCHEMAS[kind]
    if not batch.schema.equals(expected):
        raise RecordError(f"{kind.__name__}: expected the schema\n{expected}\nbut got\n{batch.schema}")
    return [_from_row(kind, row) for row in batch.to_pylist()]


def _from_row(kind: type[R], row: dict[str, Any]) -> R:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    if kind is Problem:
        values["tests"] = tuple(Test(**test) for test in values["tests"])
    return kind(**values)
