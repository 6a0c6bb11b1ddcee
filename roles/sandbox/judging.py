"""Judging files: problems and candidates in, a file of verdicts out, without a model and without Ray."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from roles import languages
from roles.problems import suites
from roles.problems.files import SuiteError, read_rows, write_rows
from roles.records import Candidate, Problem, Verdict
from roles.sandbox import jail
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

_FIELDS = ("id", "problem_id", "text", "kind")
_KINDS = ("program", "completion")


@dataclasses.dataclass(frozen=True)
class Summary:
    """How many verdicts have which status, how many are weak, how many jails broke and were replaced on the way."""

    statuses: dict[str, int]
    weak: int
    faults: int
    isolation_tier: int


def read_candidates(path: Path, problems: Iterable[Problem]) -> list[Candidate]:
    """The candidates of a JSONL file; a completion is put behind its problem's prompt.

    Raises `SuiteError` for a malformed row, an unknown field or problem, or an id twice.
    """
    known = {problem.id: problem for problem in problems}
    candidates: dict[str, Candidate] = {}
    for row in read_rows(path):
        row.known(_FIELDS)
        name, text = row.get("id", str), row.get("text", str)
        problem = known.get(row.get("problem_id", str))
        if problem is None:
            raise row.error("problem_id", f"there is no problem {row.values['problem_id']!r}")
        if name in candidates:
            raise row.error("id", f"{name!r} occurs twice")
        kind = row.get("kind", str, "program")
        if kind not in _KINDS:
            raise row.error("kind", f"{kind!r} is not known; allowed: {', '.join(_KINDS)}")
        if kind == "completion":
            text = languages.get(problem.language).assemble(problem, text)
        candidates[name] = Candidate(id=name, problem_id=problem.id, group_id=problem.id, text=text)
    if not candidates:
        raise SuiteError(f"{path}: no candidates")
    return list(candidates.values())


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """The verdict as a JSON object; `docs/formats.md` explains the fields."""
    return dataclasses.asdict(verdict)


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Writes JSONL under `path` once all `verdicts` have come. Raises `SuiteError` when it cannot."""
    write_rows(path, map(verdict_row, verdicts))


def judge_files(
    problems: str,
    candidates: Path,
    out: Path,
    limits: Limits | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Judges every candidate of a file against the suite named `problems` and writes the verdicts in its order.

    `workers` jails at a time, one for each core unless given. `progress` is called with the number judged and the
    total. Raises `SuiteError` before anything runs, `SandboxError` when there is no working sandbox.
    """
    suite = suites.load(problems)
    by_id = {problem.id: problem for problem in suite}
    wanted = read_candidates(candidates, suite)
    if not out.parent.is_dir():
        raise SuiteError(f"{out}: the folder {str(out.parent)!r} does not exist")
    jail.require(by_id[candidate.problem_id] for candidate in wanted)
    counts: collections.Counter[str] = collections.Counter()
    weak: list[bool] = []

    def counted(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        for done, verdict in enumerate(verdicts, 1):
            counts[verdict.status] += 1
            weak.append(verdict.weak)
            if progress:
                progress(done, len(wanted))
            yield verdict

    with Judge(limits, workers or len(os.sched_getaffinity(0))) as judge:
        work = [(by_id[candidate.problem_id], candidate) for candidate in wanted]
        write_verdicts(out, counted(judge.judge_all(work)))
        return Summary(dict(counts), sum(weak), judge.faults, judge.isolation.tier)
