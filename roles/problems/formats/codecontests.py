"""CodeContests (Li et al., 2022), JSONL or Parquet with the fields as published; a problem's split is in `split`.

All tests are standard input and output: the public ones, then the private, then the generated ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roles.problems.files import Row, read_rows
from roles.problems.formats import transcripts
from roles.records import Problem, Test

_GROUPS = ("public_tests", "private_tests", "generated_tests")
_PYTHON_3 = (3, "PYTHON3")
_REFERENCES = 10  # of what may be hundreds


def load(path: Path) -> list[Problem]:
    """The problems of `path` that read standard input and have tests, in Python. Raises `SuiteError`."""
    problems = (_problem(row) for row in read_rows(path))
    return [problem for problem in problems if problem is not None]


def _problem(row: Row) -> Problem | None:
    if row.values.get("input_file") or row.values.get("output_file"):
        return None
    tests = tuple(_test(row, field, pair) for field in _GROUPS for pair in _pairs(row, field, "input", "output"))
    if not tests:
        return None
    solutions = [
        text for language, text in _pairs(row, "solutions", "language", "solution")
        if language in _PYTHON_3 and isinstance(text, str)
    ]  # fmt: skip
    name, source = row.get("name", str), row.values.get("source")  # a name is unique within a source
    return Problem(
        id=name if source is None else f"{source}/{name}", suite="codecontests",
        split=str(row.values.get("split", "test")), language="python",
        prompt=transcripts.prompt(row.get("description", str)), entry_point="main", tests=tests,
        references=tuple(transcripts.python_3(solutions[: 2 * _REFERENCES])[:_REFERENCES]),
    )  # fmt: skip


def _test(row: Row, field: str, pair: tuple[Any, Any]) -> Test:
    given, expected = pair
    if not isinstance(given, str) or not isinstance(expected, str):
        raise row.error(field, "inputs and outputs must be texts")
    return transcripts.test(given, expected)


def _pairs(row: Row, field: str, first: str, second: str) -> list[tuple[Any, Any]]:
    """The items of a list of objects, or of an object of two lists."""
    match row.values.get(field):
        case None:
            return []
        case list(items) if all(isinstance(item, dict) for item in items):
            return [(item.get(first), item.get(second)) for item in items]
        case {**lists}:
            here, there = lists.get(first), lists.get(second)
            if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
                return list(zip(here, there, strict=True))
    raise row.error(field, f"expected as many {first} as {second}")
