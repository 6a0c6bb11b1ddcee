"""HumanEval (Chen et al., 2021), the file as its authors publish it."""

from __future__ import annotations

from pathlib import Path

from roles.problems.files import Row, read_rows
from roles.problems.formats import asserts
from roles.records import Problem, Test


def load(path: Path) -> list[Problem]:
    """All problems of `path`; the suite has one split, `test`. Raises `SuiteError`."""
    return [_problem(row) for row in read_rows(path)]


def _problem(row: Row) -> Problem:
    prompt, entry_point = row.get("prompt", str), row.get("entry_point", str)
    solution = row.get("canonical_solution", str, "")
    return Problem(
        id=row.get("task_id", str),
        suite="humaneval",
        split="test",
        language="python",
        prompt=prompt,
        entry_point=entry_point,
        tests=_tests(row, row.get("test", str), entry_point),
        references=(prompt + solution,) if solution else (),
    )


def _tests(row: Row, source: str, entry_point: str) -> tuple[Test, ...]:
    try:
        return asserts.from_check(source, entry_point)
    except (SyntaxError, RecursionError) as error:
        raise row.error("test", f"not Python: {error}") from error
    except ValueError as error:
        raise row.error("test", str(error)) from error
