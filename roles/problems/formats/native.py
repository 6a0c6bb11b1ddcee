"""Our own problem files: JSONL or Parquet with the fields of `records.Problem`."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from roles import languages
from roles.problems.files import Row, SuiteError, read_rows
from roles.records import Problem, RecordError, Test, TestKind, from_batch
from roles.sandbox.check import compile_check

_FIELDS = tuple(field.name for field in dataclasses.fields(Problem))
_SOURCES = ("given", "synthesised")


def load(path: Path) -> list[Problem]:
    """All problems of `path`; a name that ends in .parquet is read as Parquet. Raises `SuiteError`."""
    if path.suffix == ".parquet":
        return _from_parquet(path)
    return [_problem(row) for row in read_rows(path)]


def to_row(problem: Problem) -> dict[str, Any]:
    return dataclasses.asdict(problem)


def _from_parquet(path: Path) -> list[Problem]:
    try:
        problems = from_batch(Problem, pq.read_table(path))
    except (OSError, pa.ArrowException) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from error
    except RecordError as error:
        raise SuiteError(f"{path}: {error}") from error
    for number, problem in enumerate(problems, 1):
        _examine(Row(path, number, dataclasses.asdict(problem)), problem)
    return problems


def _problem(row: Row) -> Problem:
    row.known(_FIELDS)
    problem = Problem(
        id=row.get("id", str),
        suite=row.get("suite", str, row.path.name),
        split=row.get("split", str, "test"),
        language=row.get("language", str, "python"),
        prompt=row.get("prompt", str),
        entry_point=row.get("entry_point", str),
        tests=tuple(_test(row, test) for test in row.get("tests", list)),
        tests_source=row.get("tests_source", str, "given"),
        setup=row.get("setup", str, ""),
        references=tuple(row.strings("references", [])),
    )
    _examine(row, problem)
    return problem


def _test(row: Row, value: Any) -> Test:
    match value:
        case {"call": str(call), "check": str(check), **rest} if rest.keys() <= {"kind"}:
            kind = rest.get("kind", "call" if call else "script")
            if kind not in get_args(TestKind):
                raise row.error("tests", f"the kind {kind!r} is not known; allowed: {', '.join(get_args(TestKind))}")
            return Test(call, check, cast(TestKind, kind))
    raise row.error("tests", 'each test must be {"call": string, "check": string, "kind": string or absent}')


def _is_check(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef) and statement.name == "check"


def _examine(row: Row, problem: Problem) -> None:
    if not problem.id:
        raise row.error("id", "is empty")
    if problem.language not in languages.names():
        raise row.error("language", f"{problem.language!r} is not known; allowed: {', '.join(languages.names())}")
    if problem.tests_source not in _SOURCES:
        raise row.error("tests_source", f"{problem.tests_source!r} is not known; allowed: {', '.join(_SOURCES)}")
    if not problem.entry_point.isidentifier():
        raise row.error("entry_point", f"{problem.entry_point!r} is not a name")
    if not problem.tests:
        raise row.error("tests", "is empty")
    for number, test in enumerate(problem.tests, 1):
        try:
            _examine_test(problem.language, test)
        except SyntaxError as error:
            line = f", line {error.lineno}" if error.lineno else ""
            raise row.error("tests", f"problem {problem.id!r}, test {number}{line}: {error.msg}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise row.error("tests", f"problem {problem.id!r}, test {number}: {error}") from error


def _examine_test(language: str, test: Test) -> None:
    if test.kind == "script":
        if language != "python":
            raise ValueError("scripts that define check(candidate) are for Python only")
        if not any(_is_check(statement) for statement in ast.parse(test.check).body):
            raise ValueError("does not define check(candidate)")
        return
    if test.kind != "stdio" and not test.call.strip():
        raise ValueError("the call is empty")
    if test.kind == "program":
        if test.check:
            raise ValueError("a test program has no check: its exit status is all there is")
        return
    if test.kind == "call" and language == "python":
        ast.parse(test.call, mode="eval")
    compile_check(test.check)
