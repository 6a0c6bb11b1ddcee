"""HumanEval (Chen et al., 2021), the file as its authors publish it."""

from __future__ import annotations

import ast
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
    """One test for each assert when all of them stand alone, else the whole script as one test."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise row.error("test", f"not Python: {error}") from error
    check = next((node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None or len(check.args.args) != 1:
        raise row.error("test", "does not define check(candidate)")
    remote = frozenset([check.args.args[0].arg, entry_point])
    tests = []
    for statement in check.body:
        if _is_idle(statement):
            continue
        test = asserts.from_assert(statement, remote, entry_point, frozenset())
        if test is None:
            return (Test("", source, "script"),)
        tests.append(test)
    if not tests:
        raise row.error("test", "check(candidate) has no assert")
    return tuple(tests)


def _is_idle(statement: ast.stmt) -> bool:
    """A docstring, `pass`, `print(...)` or `assert True`."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Assert(test=ast.Constant(value=True)):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return True
    return False
