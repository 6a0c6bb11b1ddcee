"""MBPP (Austin et al., 2021), the file as its authors publish it, or the sanitized one as JSONL.

The challenge tests of a few tasks are left out, as in the published results.
"""

from __future__ import annotations

import ast
from pathlib import Path

from roles.problems.files import Row, read_rows
from roles.problems.formats import asserts
from roles.records import Problem, Test

SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}


def load(path: Path) -> list[Problem]:
    """All problems of `path`. Raises `SuiteError`."""
    return [_problem(row) for row in read_rows(path)]


def _problem(row: Row) -> Problem:
    number = row.get("task_id", int)
    field = "text" if "text" in row.values else "prompt"
    text = row.get(field, str)
    code = row.get("code", str).replace("\r\n", "\n")
    setup = _setup(row)
    lines = row.strings("test_list")
    if not lines:
        raise row.error("test_list", "is empty")
    defined = _defined(row, "code", code)
    known = defined | _defined(row, "test_setup_code", setup)
    tests: list[Test] = []
    entry_point = ""
    for line in lines:
        statements = _parse(row, "test_list", line)
        called = _called(statements, defined)
        if not called:
            raise row.error("test_list", f"calls nothing that the code defines: {line[:80]!r}")
        entry_point = entry_point or called[0]
        test = None
        if len(statements) == 1:
            test = asserts.from_assert(statements[0], frozenset([called[0]]), called[0], known)
        tests.append(test or asserts.script(statements))
    return Problem(
        id=str(number),
        suite="mbpp",
        split=next((name for name, numbers in SPLITS.items() if number in numbers), "other"),
        language="python",
        prompt=_prompt(text, lines[0]),
        entry_point=entry_point,
        tests=tuple(tests),
        setup=setup,
        references=(code,),
    )


def _setup(row: Row) -> str:
    if "test_imports" in row.values:
        return "\n".join(row.strings("test_imports"))
    return row.get("test_setup_code", str, "").replace("\r\n", "\n")


def _prompt(text: str, example: str) -> str:
    body = f"{text.strip()}\n{example.strip()}".replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""\n{body}\n"""\n'


def _parse(row: Row, field: str, source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise row.error(field, f"not Python: {error}") from error


def _defined(row: Row, field: str, source: str) -> frozenset[str]:
    """Names that `source` binds at its top level."""
    names: set[str] = set()
    for statement in _parse(row, field, source):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in statement.names)
        else:
            names.update(node.id for node in ast.walk(statement)
                         if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))  # fmt: skip
    return frozenset(names)


def _called(statements: list[ast.stmt], defined: frozenset[str]) -> list[str]:
    """Functions of the program that the statements call, the outermost first."""
    return [
        node.func.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined
    ]

